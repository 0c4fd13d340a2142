"""The optimiser and the learning rate. Imports torch alone, as `objective` does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from srtlib.model.srt import SRT, part_of

if TYPE_CHECKING:
    from srtlib.params import TrainParams


def always(part: str, epoch: int) -> float:
    """The learning-rate factor of training everything alike: 1.

    Args:
        part: of the model (`part_of`).
        epoch: from 0.
    """
    return 1.0


def make_optimizer(
    model: SRT, params: TrainParams, rate: Callable[[str, int], float] = always
) -> torch.optim.Optimizer:
    """Adam or AdamW, fused, or Muon for the matrices of the layers and AdamW for all else. AdamW and Muon leave vectors
    (biases, norms) undecayed; Adam decays all, as the authors do.

    Parameters are grouped by their weight decay and their factors, which stand in the group under "rates".

    Args:
        model: what is trained.
        params: the training.
        rate: learning-rate factor of a part of the model (`part_of`) in an epoch, 0 for frozen.
    """
    groups: dict[Any, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        decay = params.weight_decay if params.optimizer == "adam" or parameter.dim() > 1 else 0.0
        rates = [rate(part_of(name), epoch) for epoch in range(math.ceil(params.epochs))]
        matrix = params.optimizer == "muon" and name.startswith("blocks.") and parameter.dim() == 2
        group = groups.setdefault((matrix, decay, *rates), {"params": [], "weight_decay": decay, "rates": rates})
        group["params"].append(parameter)
    if params.optimizer == "adam":
        return torch.optim.Adam(list(groups.values()), lr=params.learning_rate, fused=True)
    others = [group for (matrix, *_), group in groups.items() if not matrix]
    adamw = torch.optim.AdamW(others, lr=params.learning_rate, betas=(0.9, 0.98), fused=True)
    if params.optimizer == "adamw":
        return adamw
    matrices = [group for (matrix, *_), group in groups.items() if matrix]
    # Its updates are as large as AdamW's, so that both take the same rate.
    return Joined(torch.optim.Muon(matrices, lr=params.learning_rate, adjust_lr_fn="match_rms_adamw"), adamw)


class Joined(torch.optim.Optimizer):
    """Several optimisers of different parameters as one: its groups and its state are theirs.

    Args:
        parts: the optimisers.
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts
        self._share()

    def _share(self) -> None:
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of each."""
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of all.

        Args:
            state_dict: as from `state_dict`.
        """
        super().load_state_dict(state_dict)
        self._share()


def running_mean(model: SRT, decay: float) -> AveragedModel:
    """The exponential running mean of a model's weights, which starts at the first ones that it is given.

    Args:
        model: whose weights are averaged.
        decay: share of the mean that stays at each step.
    """
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))


def follow_schedule(
    optimizer: torch.optim.Optimizer, params: TrainParams, epoch: int, share: float, n_steps: int
) -> None:
    """Set what the schedule says of each group for the next step.

    Args:
        optimizer: as from `make_optimizer`.
        params: the training.
        epoch: that the step is in, from 0.
        share: of the training, done after the step.
        n_steps: of the whole training.
    """
    for group in optimizer.param_groups:
        group["lr"] = params.learning_rate * group["rates"][epoch] * learning_rate_factor(share, params, n_steps)
        if params.schedule == "one_cycle":
            group["betas"] = (_cycle(share, params, n_steps, 0.95, 0.85, 0.95), group["betas"][1])


def learning_rate_factor(share: float, params: TrainParams, n_steps: int = 1_000_000) -> float:
    """Learning rate over its peak in a step.

    linear: up over `warmup`, then down to 0. one_cycle: half a cosine from 1/25 up over `warmup`, half a cosine down to
    1/10. That is torch's OneCycleLR with final_div_factor=0.4, as in all of the authors' recorded runs; Adam's beta1
    goes .95 -> .85 -> .95 with it.

    Args:
        share: of the training, done after the step.
        params: the training.
        n_steps: of the whole training.

    >>> from srtlib.params import TrainParams
    >>> learning_rate_factor(0.5, TrainParams(warmup=0.5))
    1.0
    >>> learning_rate_factor(1.0, TrainParams(schedule="one_cycle"))
    0.1
    """
    if params.schedule == "linear":
        return share / params.warmup if share < params.warmup else (1 - share) / (1 - params.warmup)
    return _cycle(share, params, n_steps, 1 / 25, 1.0, 1 / 10)


def _cycle(share: float, params: TrainParams, n_steps: int, start: float, top: float, end: float) -> float:
    """OneCycleLR counts steps from 0, so that its top and end come one step early."""
    step, at_top, last = share * n_steps - 1, params.warmup * n_steps - 1, n_steps - 1
    if step < at_top:
        return top + (start - top) / 2 * (1 + math.cos(math.pi * step / at_top))
    return end + (top - end) / 2 * (1 + math.cos(math.pi * (step - at_top) / (last - at_top)))
