"""The objective of a batch.

Like the modules that it builds on (packing, model, losses, flops) it imports torch and numpy only, so that a step can
be measured where nothing else is installed (benchmarks/gpu.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srtlib.model.flops import BatchShape
from srtlib.model.memory import take
from srtlib.model.packing import Batch
from srtlib.model.srt import SRT, BagFeatures, Features
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
