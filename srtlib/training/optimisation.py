"""The optimiser and the learning rate. Imports torch alone, as `objective` does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from srtlib.model.srt import SRT, part_of

if TYPE_CHECKING:
    from srtlib.params import TrainParams


def always(part: str, epoch: int) -> float:
    """The learning-rate factor of training everything alike."""
    return 1.0


def make_optimizer(
    model: SRT, params: TrainParams, rate: Callable[[str, int], float] = always
) -> torch.optim.Optimizer:
    """Adam or AdamW, fused. AdamW leaves vectors (biases, norms) undecayed; Adam decays all, as the authors do.

    rate: learning-rate factor of a part of the model (`part_of`) in an epoch. Parameters are grouped by
    their weight decay and their factors, which stand in the group under "rates".
    """
    groups: dict[Any, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        decay = params.weight_decay if params.optimizer == "adam" or parameter.dim() > 1 else 0.0
        rates = [rate(part_of(name), epoch) for epoch in range(params.epochs)]
        group = groups.setdefault((decay, *rates), {"params": [], "weight_decay": decay, "rates": rates})
        group["params"].append(parameter)
    if params.optimizer == "adam":
        return torch.optim.Adam(list(groups.values()), lr=params.learning_rate, fused=True)
    return torch.optim.AdamW(list(groups.values()), lr=params.learning_rate, betas=(0.9, 0.98), fused=True)


def learning_rate_factor(share: float, params: TrainParams) -> float:
    """Learning rate over its peak when `share` of the training is done.

    linear: up over `warmup`, then down to 0. one_cycle: two half cosines, from 1/25 up over `warmup`, then down
    to 1/250,000 (torch's OneCycleLR).

    >>> from srtlib.params import TrainParams
    >>> learning_rate_factor(0.5, TrainParams(warmup=0.5))
    1.0
    """
    if params.schedule == "linear":
        return share / params.warmup if share < params.warmup else (1 - share) / (1 - params.warmup)
    start, end = 1 / 25, 1 / 250_000
    if share < params.warmup:
        return start + (1 - start) * (1 - math.cos(math.pi * share / params.warmup)) / 2
    return end + (1 - end) * (1 + math.cos(math.pi * (share - params.warmup) / (1 - params.warmup))) / 2
