"""The objective of a batch.

Like the modules that it builds on (packing, model, losses, flops) it imports torch and numpy only, so that a step can
be measured where nothing else is installed (benchmarks/gpu.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srtlib.extensions import look_up
from srtlib.model.flops import BatchShape
from srtlib.model.packing import Batch
from srtlib.model.srt import SRT
from srtlib.training.losses import OBJECTIVES, NegativeSampler, Scored

if TYPE_CHECKING:
    from srtlib.params import TrainParams


class Objective(nn.Module):
    """The loss of a batch: encodes each item once, runs the transformer, and has one of `OBJECTIVES` score.

    `transform` is the transformer as it is called.

    Args:
        model: what learns.
        features: what its item encoder reads of the catalogue.
        n_items: of the catalogue.
        params: the training. ValueError for an objective that is not known.
    """

    def __init__(self, model: SRT, features: Any, n_items: int, params: TrainParams) -> None:
        super().__init__()
        self.model = model
        self.params = params
        self.loss = look_up(OBJECTIVES, params.objective, "objective")
        self.n_items = n_items
        self.features = features
        self.transform = model.forward

    def compile_transformer(self) -> None:
        """Compile the transformer for batches of one shape; items, negatives and scores stay as they are, since how
        many distinct items a batch has differs."""
        self.transform = torch.compile(self.model.forward, dynamic=False)

    def draw(self, sampler: NegativeSampler, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Negatives, int64 [K] shared by the batch, or [targets, K], and their log q, float32 [I]; K = 0 where the
        objective needs none.

        Args:
            sampler: what draws them.
            targets: int [S], of the batch.
        """
        k = 0 if self.loss.whole_catalogue else self.params.n_negatives
        if k and self.params.in_batch:
            return sampler.beside(k, targets)
        return sampler.draw((k,) if self.params.shared_negatives else (len(targets), k)), sampler.log_q

    def forward(self, batch: Batch, negative_ids: Tensor, log_q: Tensor) -> tuple[Tensor, BatchShape]:
        """The loss of a batch.

        Args:
            batch: what is learnt from.
            negative_ids: int64, as from `draw`.
            log_q: float32 [I], as from `draw`.

        Returns:
            The mean loss over the batch's targets, in nats, and what was computed on.
        """
        items, targets = batch.items.long(), batch.targets.long()
        rows: Tensor | None
        if self.loss.whole_catalogue:
            used = candidates = torch.arange(self.n_items, device=items.device)
            inputs, target_rows, rows = items, targets, None
        else:
            candidates = negative_ids
            used, places = torch.unique(torch.cat([items, targets, candidates.flatten()]), return_inverse=True)
            inputs, target_rows, others = places.split([len(items), len(targets), candidates.numel()])
            rows = others.view(candidates.shape)
        shape = self._shape(batch, used, candidates.shape[-1])  # read before a GPU has much to finish
        vectors = self.model.encode(self.features, used)
        outputs = self.transform(F.embedding(inputs, vectors), batch.layout)
        if self.params.supervise == "last" or len(batch.supervised) < len(outputs):
            outputs = outputs.index_select(0, batch.supervised)  # whose gradient, unlike that of [], needs no sorting
        own = None if rows is None or not self.params.in_batch else _own(batch, len(candidates) - len(targets))
        loss = self.loss(Scored(outputs, vectors, targets, candidates, target_rows, rows, log_q, own), self.params)
        return loss, shape

    def shape(self, batch: Batch, negative_ids: Tensor) -> BatchShape:
        """What `forward` computes on, by itself.

        Args:
            batch: what is learnt from.
            negative_ids: int64, as from `draw`.
        """
        if self.loss.whole_catalogue:
            return self._shape(batch, torch.arange(self.n_items, device=batch.items.device), self.n_items)
        used = torch.unique(torch.cat([batch.items.long(), batch.targets.long(), negative_ids.flatten()]))
        return self._shape(batch, used, negative_ids.shape[-1])

    def _shape(self, batch: Batch, used: Tensor, n_scored: int) -> BatchShape:
        return BatchShape(
            tokens=batch.layout.n_tokens,
            attention_pairs=batch.layout.attention_pairs,
            encoder=self.model.encoder_flops(self.features, used),
            scored_pairs=len(batch.supervised) * n_scored,
        )


def _own(batch: Batch, first_column: int) -> tuple[Tensor, Tensor]:
    """Places (row, column) where a target of the batch, in the columns from the first on, is of the row's own sequence:
    what its user takes too is there whatever its frequency, so that no correction fits it."""
    sequence = torch.cumsum(batch.layout.positions == 0, 0)[batch.supervised]
    rows, columns = (sequence.unsqueeze(1) == sequence).nonzero(as_tuple=True)
    return rows, columns + first_column
