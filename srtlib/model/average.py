"""Two models as one whose scores are summed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from srtlib.model.srt import SRT

if TYPE_CHECKING:
    import pandas as pd

    from srtlib.model.item_encoder import Catalogue
    from srtlib.model.packing import Layout


class Average(SRT):
    """Scores of one model plus `weight` times those of another, such as one of text and one of item IDs.

    An item's vector is that of both side by side, and so is a query: scoring stays one dot product, and search one
    search. To whoever judges or serves it, it is an SRT; it is not trained, nor saved: its two models are.

    first, second: models of any encoders, on one device. weight: of the second's scores;
    `srtlib.studies.judging.best_weight` finds it on validation.

    >>> from srtlib.params import ModelParams
    >>> one, two = (SRT(ModelParams(d_model=d, n_layers=1, encoder="item_ids", n_items=5)) for d in (8, 4))
    >>> rows = torch.arange(5)
    >>> Average(one, two, 0.5).encode((rows, rows), torch.tensor([3, 1])).shape
    torch.Size([2, 12])
    """

    def __init__(self, first: SRT, second: SRT, weight: float) -> None:
        nn.Module.__init__(self)
        self.first, self.second, self.weight = first, second, weight
        longest = min(first.params.max_len, second.params.max_len)
        self.params = first.params.model_copy(update={"max_len": longest})
        self.tokenizer, self.origin = None, None

    @property
    def device(self) -> torch.device:
        return self.first.device

    def features(self, items: Catalogue | pd.DataFrame) -> tuple[Any, Any]:
        """What the two encoders read of a catalogue; ValueError as either says."""
        return self.first.features(items), self.second.features(items)

    def encode(self, features: tuple[Any, Any], items: Tensor) -> Tensor:
        """Item vectors, float [n, D + D'].

        Args:
            features: as from `features`.
            items: int [n], indices into that catalogue.
        """
        pairs = zip((self.first, self.second), features, strict=True)
        return torch.cat([model.encode(part, items) for model, part in pairs], dim=1)

    def forward(self, vectors: Tensor, layout: Layout) -> Tensor:
        """Outputs of packed sequences, float [T, D + D'], the second's times the weight.

        Args:
            vectors: float [T, D + D'], of the packed items.
            layout: how sequences make up the packed axis.
        """
        one, two = vectors.split([self.first.width, self.second.width], dim=1)
        return torch.cat([self.first(one, layout), self.weight * self.second(two, layout)], dim=1)

    def parameter_counts(self) -> dict[str, int]:
        """Numbers of parameters by group, of both."""
        first, second = self.first.parameter_counts(), self.second.parameter_counts()
        return {name: n + second[name] for name, n in first.items()}

    def save_pretrained(self, folder: Path) -> None:
        """ValueError: there is no folder of an average."""
        raise ValueError(f"an average is not saved to {folder}: save its two models, and make it anew")
