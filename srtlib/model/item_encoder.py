"""What every item encoder says of itself and does, and what it reads. Shapes: n items to encode, I items of the
catalogue, D = d_model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import pandas as pd
    from tokenizers import Tokenizer

    from srtlib.model.flops import Parts
    from srtlib.params import ModelParams


class Catalogue(Protocol):
    """Items that are to be encoded: a `Dataset`, or an `ItemTable`.

    name: of the data set, for errors. catalogue: one row per item with item_id, title, brand, categories (text).
    vectors: float32 [I, F] or None, fixed item vectors.
    """

    @property
    def name(self) -> str: ...

    @property
    def catalogue(self) -> pd.DataFrame: ...

    @property
    def vectors(self) -> np.ndarray | None: ...


@dataclass(frozen=True)
class ItemTable:
    """A table of items, with a column `vector` if they have fixed ones, that belongs to no data set."""

    catalogue: pd.DataFrame
    name: str = "items"

    @cached_property
    def vectors(self) -> np.ndarray | None:
        """float32 [I, F]; ValueError where widths differ."""
        if "vector" not in self.catalogue:
            return None
        vectors = [np.asarray(vector, dtype=np.float32) for vector in self.catalogue["vector"]]
        if len(shapes := {vector.shape for vector in vectors}) > 1:
            raise ValueError(f"{self.name}: vectors have the shapes {sorted(shapes)}; expected one width")
        return np.stack(vectors)


class ItemEncoder(nn.Module, ABC):
    """What every item encoder says of itself, and does.

    needs: the parameters (`ModelParams`) that must be given for it, and "tokenizer" if it reads text with one, learnt
    from the data set. known_by: what it knows items by, in words. transfers: whether it encodes items that it was not
    trained on. Tables that are looked up in belong in a module named `tables`: they are counted as embedding.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    known_by: ClassVar[str]
    transfers: ClassVar[bool] = True

    @abstractmethod
    def __init__(self, params: ModelParams, tokenizer: Tokenizer | None) -> None:
        super().__init__()

    def fit(self, items: Catalogue) -> None:
        """Take from a catalogue what is fixed before training.

        Args:
            items: of the data set that the model is made for.
        """

    @abstractmethod
    def features(self, items: Catalogue, device: torch.device) -> Any:
        """What `forward` reads of a catalogue, on the device if it fits.

        Args:
            items: the catalogue.
            device: of the model.

        Raises ValueError where the catalogue lacks what the encoder needs.
        """

    @abstractmethod
    def forward(self, features: Any, items: Tensor) -> Tensor:
        """Vectors of some items.

        Args:
            features: what `features` made of the catalogue.
            items: int [n], indices into that catalogue.

        Returns:
            float [n, D].
        """

    @abstractmethod
    def flops(self, features: Any, items: Tensor) -> Parts:
        """FLOPs of `forward` with these arguments, a multiply-accumulate as 2.

        Args:
            features: what `features` made of the catalogue.
            items: int [n], indices into that catalogue.

        Returns:
            By child module, from the lowest up, each child with weights among them (a look-up costs 0). A mapping in
            place of a number is a branch: the parts of a child that reads features, and nothing of the children below.
        """
