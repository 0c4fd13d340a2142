"""The neighbours of a history by fixed vectors: what an SRT can add to its scores. Nothing of it is trained. Shapes: I
items, F numbers of a fixed vector, T packed tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from srtlib.model.memory import resident
from srtlib.model.vector_encoders import ReadsVectors, Whitening

if TYPE_CHECKING:
    from srtlib.model.item_encoder import Catalogue
    from srtlib.model.packing import Layout
    from srtlib.params import ModelParams


class Neighbours(ReadsVectors):
    """Adds to scores `weight` times the cosine of an item's whitened vector and the history's: the sum of its items'
    vectors, each `decay` times the one after it.

    The whitening belongs to a catalogue and is fitted again for another one; weight and decay move along.
    `srtlib.training.weighing.weigh_neighbours` finds both on validation; until then the weight is 0, which is off.

    >>> from srtlib.params import ModelParams
    >>> from srtlib.model.packing import Layout
    >>> path = Neighbours(ModelParams(neighbours=True, vector_dim=2))
    >>> path.decay.fill_(0.5), path.weight.fill_(1.0)
    (tensor([0.5000]), tensor([1.]))
    >>> layout = Layout.buckets([(1, 2)], torch.arange(2))
    >>> path(torch.tensor([[0.0, 1.5], [1.0, 0.0]]), layout).round(decimals=2)
    tensor([[0.0000, 1.0000],
            [0.8000, 0.6000]])
    """

    weight: Tensor
    decay: Tensor

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.read_from(params)
        self.max_len = params.max_len
        self.whitening = Whitening(params.vector_dim, params.vector_dim)
        self.register_buffer("weight", torch.zeros(1))
        self.register_buffer("decay", torch.zeros(1))

    def fit(self, items: Catalogue) -> None:
        """Fit the whitening to a catalogue's vectors, and remember the text model that made them.

        Args:
            items: that are to be ranked.
        """
        self.remember_text_model()
        self.whitening.fit(self.vectors_of(items), shrink=True)

    def features(self, items: Catalogue, device: torch.device) -> Tensor | None:
        """Whitened vectors of length 1, float32 [I, F]; None where the weight is 0.

        Args:
            items: the catalogue.
            device: of the model.

        Raises ValueError where the catalogue has no such vectors.
        """
        if not self.weight:
            return None
        return resident(self.whitening(self.vectors_of(items)) / math.sqrt(self.vector_dim), device)

    def forward(self, vectors: Tensor, layout: Layout) -> Tensor:
        """What to look for after each token, float [T, F], of length `weight`.

        Args:
            vectors: float [T, F], of the packed items, from `features`.
            layout: how sequences make up the packed axis.
        """
        history, step = vectors, 1
        while step < self.max_len:  # each time the history reaches twice as far back
            known = (layout.positions >= step).unsqueeze(1)
            history = history + self.decay**step * torch.where(known, history.roll(step, 0), 0.0)
            step *= 2
        return self.weight * F.normalize(history, dim=1)
