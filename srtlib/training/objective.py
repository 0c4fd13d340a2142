"""What one training step is made of: the objective of a batch, the optimiser, the learning rate.

Like the modules that it builds on (packing, model, losses, flops) it imports torch and numpy only, so that a step can
be measured where nothing else is installed (benchmarks/gpu.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srtlib.model.flops import BatchShape
from srtlib.model.memory import take
from srtlib.model.packing import Batch
from srtlib.model.srt import SRT, BagFeatures, Features, part_of
from srtlib.training.losses import full_softmax, sampled_softmax

if TYPE_CHECKING:
    from srtlib.params import TrainParams


class Objective(nn.Module):
    """The loss of a batch: encodes each item once, runs the transformer, scores targets against negatives.

    `transform` is the transformer as it is called.
    """

    def __init__(self, model: SRT, features: Features, n_items: int, params: TrainParams) -> None:
        super().__init__()
        self.model = model
        self.params = params
        self.n_items = n_items
        self.features = features
        self.transform = model.forward

    def compile_transformer(self) -> None:
        """Compile the transformer for batches of one shape; items, negatives and scores stay as they are, since how
        many distinct items a batch has differs."""
        self.transform = torch.compile(self.model.forward, dynamic=False)

    def forward(self, batch: Batch, negative_ids: Tensor, log_q: Tensor) -> tuple[Tensor, BatchShape]:
        """Mean loss over the batch's targets, and what was computed on."""
        full = self.params.objective == "full_softmax"
        if full:
            used, places = torch.arange(self.n_items, device=batch.items.device), None
            inputs, targets = batch.items.long(), batch.targets.long()
        else:
            everything = torch.cat([batch.items.long(), batch.targets.long(), negative_ids.flatten()])
            used, places = torch.unique(everything, return_inverse=True)
            n_tokens, n_targets = len(batch.items), len(batch.targets)
            inputs, targets, negatives = places.split([n_tokens, n_targets, negative_ids.numel()])
        vectors = self.model.encode(self.features, used)
        outputs = self.transform(F.embedding(inputs, vectors), batch.layout)
        if self.params.supervise == "last" or len(batch.supervised) < len(outputs):
            outputs = outputs[batch.supervised]
        if full:
            loss = full_softmax(outputs, vectors, targets)
        else:
            loss = sampled_softmax(
                outputs,
                F.embedding(targets, vectors),
                F.embedding(negatives.view(negative_ids.shape), vectors),
                batch.targets.long(),
                negative_ids,
                log_q,
                self.params.logq_on_positive,
            )
        return loss, self._shape(batch, used, negative_ids)

    def _shape(self, batch: Batch, used: Tensor, negative_ids: Tensor) -> BatchShape:
        n_scored = self.n_items if self.params.objective == "full_softmax" else negative_ids.shape[-1]
        item_tokens = 0
        if isinstance(self.features, BagFeatures):
            item_tokens = sum(int((take(o, used + 1) - take(o, used)).sum()) for o in self.features.offsets.values())
        return BatchShape(
            tokens=batch.layout.n_tokens,
            attention_pairs=batch.layout.attention_pairs,
            encoded_items=len(used),
            item_tokens=item_tokens,
            scored_pairs=len(batch.supervised) * n_scored,
        )


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
