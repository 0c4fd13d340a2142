"""Item encoders: what makes a vector of an item. One interface (`ItemEncoder`), found by name in `ENCODERS`; nothing
else in the library knows one by name.

To add one, write a class of `ItemEncoder` and put it into `ENCODERS`: then `ModelParams(encoder=...)` names it, and
training, saving, loading and recommending work with it. Shapes: n items to encode, I items of the catalogue, D =
d_model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from srtlib.extensions import look_up
from srtlib.model.csr import places
from srtlib.model.item_encoder import Catalogue, ItemEncoder
from srtlib.model.memory import resident, take
from srtlib.model.vector_encoders import FixedVectors, Sentence

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from srtlib.data.text import TokenBags
    from srtlib.model.flops import Parts
    from srtlib.params import ModelParams


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

    @cached_property
    def n_tokens(self) -> Tensor:
        """Tokens of each item in all fields together, int64 [I]."""
        first, *others = (offsets.diff() for offsets in self.offsets.values())
        return sum((lengths.to(first.device) for lengths in others), first)  # a field may not fit where another does


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
        n_tokens, d = int(take(features.n_tokens, items).sum()), self.project.out_features
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
    return take(features.ids[field], places(starts, lengths)[1]), begins.to(torch.int32)


class Hybrid(ItemEncoder):
    """The sum of a `TokenBag` and `FixedVectors` (of a sentence encoder, where `text_model` names one): what words say
    about this catalogue, and what sentences mean. Its parts are its children that are encoders."""

    needs: ClassVar[tuple[str, ...]] = ("fields", "tokenizer", "vector_dim")
    known_by = "their text, and fixed vectors"

    def __init__(self, params: ModelParams, tokenizer: Tokenizer | None) -> None:
        super().__init__(params, tokenizer)
        self.words = TokenBag(params, tokenizer)
        self.vectors = FixedVectors(params)
        self.words_dropout = nn.Dropout(params.words_dropout)

    @property
    def _parts(self) -> dict[str, ItemEncoder]:
        return {name: part for name, part in self.named_children() if isinstance(part, ItemEncoder)}

    def fit(self, items: Catalogue) -> None:
        """Fit the whitening, if there is one, to a catalogue's vectors."""
        self.vectors.fit(items)

    def features(self, items: Catalogue, device: torch.device) -> tuple[Any, ...]:
        """What each part reads: token bags, vectors [I, width], and so on.

        Args:
            items: the catalogue, with vectors or text.
            device: of the model.

        Raises ValueError as the parts do.
        """
        return tuple(part.features(items, device) for part in self._parts.values())

    def forward(self, features: tuple[Any, ...], items: Tensor) -> Tensor:
        """Vectors of some items, the sum of the parts.

        Args:
            features: as from `features`.
            items: int [n], indices into the catalogue.

        Returns:
            float [n, D].
        """
        vectors = {name: part(read, items) for (name, part), read in zip(self._parts.items(), features, strict=True)}
        fixed = vectors.pop("vectors")
        return sum((self.words_dropout(learnt) for learnt in vectors.values()), fixed)

    def flops(self, features: tuple[Any, ...], items: Tensor) -> Parts:
        """FLOPs of `forward`, by part.

        Args:
            features: as from `features`.
            items: int [n], indices into the catalogue.
        """
        return {name: part.flops(read, items) for (name, part), read in zip(self._parts.items(), features, strict=True)}


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


class HybridIds(Hybrid):
    """A `Hybrid` with `ItemIds` as a third part: a vector of each item's own. It knows the catalogue that it was
    trained on, and no other."""

    needs = (*Hybrid.needs, *ItemIds.needs)
    known_by = "their ids, their text, and fixed vectors"
    transfers = False

    def __init__(self, params: ModelParams, tokenizer: Tokenizer | None) -> None:
        super().__init__(params, tokenizer)
        self.ids = ItemIds(params)


ENCODERS: dict[str, type[ItemEncoder]] = {
    "token_bag": TokenBag,
    "fixed_vectors": FixedVectors,
    "sentence": Sentence,
    "hybrid": Hybrid,
    "hybrid_ids": HybridIds,
    "item_ids": ItemIds,
}


def encoder_class(params: ModelParams) -> type[ItemEncoder]:
    """The encoder that the parameters name; ValueError where there is none, or a parameter that it needs is not given.

    >>> from srtlib.params import ModelParams
    >>> encoder_class(ModelParams(encoder="bags"))
    Traceback (most recent call last):
    ...
    ValueError: encoder 'bags' is not known; expected one of fixed_vectors, hybrid, hybrid_ids, item_ids, sentence, \
token_bag
    """
    encoder = look_up(ENCODERS, params.encoder, "encoder")
    for name in encoder.needs:
        if name != "tokenizer" and not getattr(params, name):
            what = type(params).model_fields[name].description
            raise ValueError(f"encoder {params.encoder!r} needs {name} among the model's parameters: {what}")
    return encoder
