"""Item encoders: what makes a vector of an item. One interface, found by name in `ENCODERS`; nothing else in the
library knows one by name.

To add one, write a class of `ItemEncoder` and put it into `ENCODERS`: then `ModelParams(encoder=...)` names it, and
training, saving, loading and recommending work with it. Shapes: n items to encode, I items of the catalogue, D =
d_model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from srtlib.extensions import look_up
from srtlib.model.csr import ranges
from srtlib.model.memory import resident, take

if TYPE_CHECKING:
    import pandas as pd
    from tokenizers import Tokenizer

    from srtlib.data.text import TokenBags
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
    trained on. Tables that are looked up in belong in a child named `tables`: they are counted as embedding.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    known_by: ClassVar[str]
    transfers: ClassVar[bool] = True

    @abstractmethod
    def __init__(self, params: ModelParams, tokenizer: Tokenizer | None) -> None:
        super().__init__()

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
    def flops(self, features: Any, items: Tensor) -> dict[str, int]:
        """FLOPs of `forward` with these arguments, a multiply-accumulate as 2.

        Args:
            features: what `features` made of the catalogue.
            items: int [n], indices into that catalogue.

        Returns:
            By child module, from the lowest up, each child with weights among them (a look-up costs 0).
        """


@dataclass(frozen=True)
class BagFeatures:
    """Token bags of a catalogue, on the model's device if they fit: per field ids int32 [tokens] and offsets int64
    [I + 1]."""

    ids: dict[str, Tensor]
    offsets: dict[str, Tensor]

    @classmethod
    def on(cls, device: torch.device, bags: TokenBags) -> Self:
        """Token bags on a device, where they fit.

        Args:
            device: where they are wanted.
            bags: of a catalogue, in main memory or mapped from files.
        """
        return cls(
            ids={name: resident(array, device) for name, array in bags.ids.items()},
            offsets={name: resident(array, device) for name, array in bags.offsets.items()},
        )


class TokenBag(ItemEncoder):
    """Item encoder of the paper's code: per field the sum of token embeddings, concatenated, then linear."""

    needs = ("fields", "tokenizer")
    known_by = "their text"

    def __init__(self, params: ModelParams, tokenizer: Tokenizer | None) -> None:
        super().__init__(params, tokenizer)
        assert tokenizer is not None
        self.tokenizer, self.fields = tokenizer, params.fields
        size = tokenizer.get_vocab_size()
        self.tables = nn.ModuleDict({name: nn.EmbeddingBag(size, params.d_model, mode="sum") for name in params.fields})
        self.project = nn.Linear(len(params.fields) * params.d_model, params.d_model)

    def features(self, items: Catalogue, device: torch.device) -> BagFeatures:
        """Token bags; those of a data set come from the cache.

        Args:
            items: the catalogue; text fields that it lacks read "unknown".
            device: of the model.
        """
        from srtlib.data.dataset import Dataset
        from srtlib.data.text import dataset_bags, token_bags

        if isinstance(items, Dataset):
            return BagFeatures.on(device, dataset_bags(items, self.tokenizer, self.fields))
        return BagFeatures.on(device, token_bags(items.catalogue, self.tokenizer, self.fields))

    def forward(self, features: BagFeatures, items: Tensor) -> Tensor:
        """Vectors of some items: embeddings summed in each field, concatenated, projected.

        Args:
            features: token bags of the catalogue.
            items: int [n], indices into it.

        Returns:
            float [n, D].
        """
        bags = [table(*gather_bags(features, name, items)) for name, table in self.tables.items()]
        return self.project(torch.cat(bags, dim=1))

    def flops(self, features: BagFeatures, items: Tensor) -> dict[str, int]:
        """FLOPs of `forward`: an addition per token and dimension, and the projection.

        Args:
            features: token bags of the catalogue.
            items: int [n], indices into it.
        """
        n_tokens = sum(int((take(o, items + 1) - take(o, items)).sum()) for o in features.offsets.values())
        d = self.project.out_features
        return {"tables": n_tokens * d, "project": 2 * len(items) * self.project.in_features * d}


def gather_bags(features: BagFeatures, field: str, items: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids and bag starts of some items, as EmbeddingBag takes them.

    Args:
        features: token bags of the catalogue.
        field: whose bags.
        items: int [n], indices into the catalogue.

    Returns:
        ids int32 [tokens], and int32 [n], where each item's begin.
    """
    starts = take(features.offsets[field], items)
    lengths = take(features.offsets[field], items + 1) - starts
    begins = torch.cumsum(lengths, 0) - lengths
    return take(features.ids[field], ranges(starts, lengths)), begins.to(torch.int32)


class FixedVectors(ItemEncoder):
    """Item encoder of figure 2: fixed, task-agnostic vectors and a trained projection."""

    needs = ("vector_dim",)
    known_by = "fixed vectors"

    def __init__(self, params: ModelParams, tokenizer: Tokenizer | None = None) -> None:
        super().__init__(params, tokenizer)
        self.project = nn.Linear(params.vector_dim, params.d_model)

    def features(self, items: Catalogue, device: torch.device) -> Tensor:
        """The items' vectors, float32 [I, vector_dim].

        Args:
            items: the catalogue, with vectors.
            device: of the model.

        Raises ValueError where there are none of this width, or one is not finite.
        """
        vectors, width = items.vectors, self.project.in_features
        if vectors is None or vectors.shape[1:] != (width,):
            raise ValueError(
                f"{items.name} has no item vectors of width {width}, which this model reads: "
                "give a table of items a column vector, a data set Dataset.with_vectors"
            )
        if n := int((wrong := ~np.isfinite(vectors).all(axis=1)).sum()):
            first = items.catalogue["item_id"].iloc[int(wrong.argmax())]
            raise ValueError(f"{items.name}: the vectors of {n:,} items are not finite numbers, of {first!r} first")
        return resident(vectors, device)

    def forward(self, features: Tensor, items: Tensor) -> Tensor:
        """Projected vectors of some items.

        Args:
            features: float32 [I, vector_dim].
            items: int [n], rows of it.

        Returns:
            float [n, D].
        """
        return self.project(take(features, items))

    def flops(self, features: Tensor, items: Tensor) -> dict[str, int]:
        """FLOPs of `forward`: the projection.

        Args:
            features: float32 [I, vector_dim].
            items: int [n], rows of it.
        """
        return {"project": 2 * len(items) * self.project.in_features * self.project.out_features}


class ItemIds(ItemEncoder):
    """Item encoder of SASRec and its kin: a vector for every item of one catalogue. Its parameters grow with the
    catalogue, and it knows no other."""

    needs = ("n_items",)
    known_by = "their ids"
    transfers = False

    def __init__(self, params: ModelParams, tokenizer: Tokenizer | None = None) -> None:
        super().__init__(params, tokenizer)
        self.tables = nn.Embedding(params.n_items, params.d_model)

    def features(self, items: Catalogue, device: torch.device) -> Tensor:
        """The items' rows of the table, int64 [I].

        Args:
            items: the catalogue that the model was made for.
            device: of the model.

        Raises ValueError for another catalogue.
        """
        n, expected = len(items.catalogue), self.tables.num_embeddings
        if n != expected:
            raise ValueError(
                f"{items.name} has {n:,} items; expected the {expected:,} that this model of item IDs was made for: "
                "such a model does not transfer"
            )
        return torch.arange(n, device=device)

    def forward(self, features: Tensor, items: Tensor) -> Tensor:
        """The items' own vectors.

        Args:
            features: int64 [I], rows of the table.
            items: int [n], indices into it.

        Returns:
            float [n, D].
        """
        return self.tables(take(features, items))

    def flops(self, features: Tensor, items: Tensor) -> dict[str, int]:
        """FLOPs of `forward`: none, it looks up.

        Args:
            features: int64 [I], rows of the table.
            items: int [n], indices into it.
        """
        return {"tables": 0}


ENCODERS: dict[str, type[ItemEncoder]] = {"token_bag": TokenBag, "fixed_vectors": FixedVectors, "item_ids": ItemIds}


def encoder_class(params: ModelParams) -> type[ItemEncoder]:
    """The encoder that the parameters name; ValueError where there is none, or a parameter that it needs is not given.

    >>> from srtlib.params import ModelParams
    >>> encoder_class(ModelParams(encoder="bags"))
    Traceback (most recent call last):
    ...
    ValueError: encoder 'bags' is not known; expected one of fixed_vectors, item_ids, token_bag
    """
    encoder = look_up(ENCODERS, params.encoder, "encoder")
    for name in encoder.needs:
        if name != "tokenizer" and not getattr(params, name):
            raise ValueError(f"encoder {params.encoder!r} needs {name} among the model's parameters")
    return encoder
