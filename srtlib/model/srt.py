"""SRT: a causal transformer over items that are known by their text (section 3 and figure 2 of the paper).

With the paper's item encoder the number of parameters does not depend on the catalogue. Shapes: n items to encode, T
packed tokens, D = d_model.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srtlib.model.attention import Block
from srtlib.model.encoders import encoder_class
from srtlib.model.item_encoder import Catalogue, ItemTable
from srtlib.model.memory import take
from srtlib.model.neighbours import Neighbours
from srtlib.model.packing import Layout

if TYPE_CHECKING:
    import pandas as pd
    from tokenizers import Tokenizer

    from srtlib.model.flops import Parts
    from srtlib.model.origin import Origin
    from srtlib.params import ModelParams

# What is added to the vector of the last item.
ADDED = ("out.weight", "outer.weight", "positions.weight", "words.project.weight", "ids.tables.weight")


class NonFiniteError(ValueError):
    """What should be a finite number is NaN or infinite. Comparisons with NaN are all false: it would rank first."""


class SRT(nn.Module):
    """The Scalable Recommendation Transformer.

    params: the architecture. tokenizer: travels with the model, where its item encoder needs one. origin: the data that
    it is made for, if known. folder: where it was read from, if it was.

    >>> from srtlib.data.text import train_tokenizer
    >>> from srtlib.params import ModelParams
    >>> model = SRT(ModelParams(d_model=8, n_layers=1), train_tokenizer(["red pen"] * 9, 100))
    >>> counts = model.parameter_counts()
    >>> counts["total"] == counts["embedding"] + counts["non_embedding"]
    True
    """

    def __init__(self, params: ModelParams, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        self.params = params
        self.tokenizer = tokenizer
        self.origin: Origin | None = None
        self.folder: Path | None = None
        encoder = encoder_class(params)
        if "tokenizer" in encoder.needs and tokenizer is None:
            raise ValueError(f"encoder {params.encoder!r} needs a tokenizer")
        self.encoder = encoder(params, tokenizer)
        self.positions = nn.Embedding(params.max_len, params.d_model) if params.positions == "absolute" else None
        self.input_norm = nn.LayerNorm(params.d_model, eps=params.norm_eps)
        self.dropout = nn.Dropout(params.dropout)
        self.blocks = nn.ModuleList(Block(params) for _ in range(params.n_layers))
        self.final_norm = nn.LayerNorm(params.d_model, eps=params.norm_eps) if params.norm == "pre" else nn.Identity()
        self.neighbours = Neighbours(params) if params.neighbours else None
        self.apply(partial(_initialise, scheme=params.initialisation))
        if params.residual_scale:
            self._shrink_residuals()
        if params.start == "neighbours":
            self._start_at_neighbours()

    @property
    def device(self) -> torch.device:
        return self.input_norm.weight.device

    @property
    def width(self) -> int:
        """Numbers of an item's vector, and of a query: D, and F more where scores add neighbours."""
        on = self.neighbours is not None and bool(self.neighbours.weight)
        return self.params.d_model + self.params.vector_dim * on

    @torch.no_grad()
    def _shrink_residuals(self) -> None:
        """The sum of all that the layers add starts no larger than one addition (Radford et al. 2019)."""
        for name, weight in self.blocks.named_parameters():
            if name.endswith(("out.weight", "outer.weight")):
                weight.div_(math.sqrt(2 * self.params.n_layers))

    @torch.no_grad()
    def _start_at_neighbours(self) -> None:
        """Outputs start as the normalised vector of the last item: cosines rank its neighbours."""
        for name, weight in self.named_parameters():
            if name.endswith(ADDED):
                weight.zero_()

    def move_to(self, items: Catalogue | pd.DataFrame) -> None:
        """Fit to another catalogue what belongs to one: the whitening of the neighbours, where scores add these.

        Args:
            items: that are to be ranked from here.
        """
        if self.neighbours is not None:
            self.neighbours.fit(_catalogue(items))

    def features(self, items: Catalogue | pd.DataFrame) -> Any:
        """What the item encoder reads of a data set's catalogue, or of a table of items, on the model's device.

        Raises ValueError where the encoder needs what the items lack, or knows the items of its training only.
        """
        catalogue = _catalogue(items)
        if not self.encoder.transfers and self.origin is not None:
            self.origin.require_items(catalogue)
        own = self.encoder.features(catalogue, self.device)
        return own if self.neighbours is None else (own, self.neighbours.features(catalogue, self.device))

    def encode(self, features: Any, items: Tensor) -> Tensor:
        """Item vectors, float [n, D]; those of the neighbours, F numbers, stand behind them where scores add these.

        Args:
            features: what `features` made of the catalogue.
            items: int [n], indices into that catalogue.
        """
        own, fixed = (features, None) if self.neighbours is None else features
        vectors = self.encoder(own, items)
        vectors = F.normalize(vectors, dim=1) if self.params.temperature else vectors
        return vectors if fixed is None else torch.cat([vectors, take(fixed, items)], dim=1)

    def encoder_flops(self, features: Any, items: Tensor) -> Parts:
        """FLOPs of the item encoder in `encode`, by part. Neighbours cost none: in training they are off.

        Args:
            features, items: as for `encode`.
        """
        return self.encoder.flops(features if self.neighbours is None else features[0], items)

    @torch.no_grad()
    def encode_catalogue(
        self, features: Any, n_items: int, chunk: int = 65_536, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Vectors of the whole catalogue, [items, D].

        Args:
            features: what `features` made of the catalogue.
            n_items: of the catalogue.
            chunk: items encoded at a time.
            dtype: of the vectors.

        Raises NonFiniteError where a vector is NaN or infinite.
        """
        parts = torch.arange(n_items, device=self.device).split(chunk)
        width = self.encode(features, parts[0][:1]).shape[1]
        vectors = torch.empty(n_items, width, dtype=dtype, device=self.device)
        finite = torch.empty(n_items, dtype=torch.bool, device=self.device)
        for part in parts:
            vectors[part] = self.encode(features, part).to(dtype)
            finite[part] = torch.isfinite(vectors[part]).all(dim=1)
        if not finite.all():
            n, first = int((~finite).sum()), int(finite.int().argmin()) + 1
            raise NonFiniteError(
                f"vectors of {n:,} of {n_items:,} items are not finite numbers, item {first:,} of the catalogue first: "
                + self.cause_of_non_finite()
            )
        return vectors

    def cause_of_non_finite(self) -> str:
        """Why what the model says is not finite, where the features it reads are."""
        for name, weight in self.named_parameters():
            if n := int((~torch.isfinite(weight)).sum()):
                return f"{n:,} of the model's weights {name} are not finite; its training has diverged"
        return "the model's weights are so large that sums overflow; its training has diverged"

    def forward(self, vectors: Tensor, layout: Layout) -> Tensor:
        """Outputs of packed sequences, whose dot product with item vectors are scores.

        Args:
            vectors: float [T, D or D + F], of the packed items.
            layout: how sequences make up the packed axis.

        Returns:
            float, as wide as the vectors.
        """
        if self.neighbours is None or vectors.shape[1] == self.params.d_model:
            return self._transform(vectors, layout)
        own, fixed = vectors.split([self.params.d_model, self.neighbours.vector_dim], dim=1)
        return torch.cat([self._transform(own, layout), self.neighbours(fixed, layout)], dim=1)

    def _transform(self, vectors: Tensor, layout: Layout) -> Tensor:
        placed = vectors if self.positions is None else vectors + self.positions(layout.positions)
        x = self.dropout(self.input_norm(placed))
        for block in self.blocks:
            x = block(x, layout)
        x = self.final_norm(x)
        return F.normalize(x, dim=1) / self.params.temperature if self.params.temperature else x

    def parameter_counts(self) -> dict[str, int]:
        """Numbers of parameters by group; `embedding` + `non_embedding` = `total`, and so do the finer groups.

        `non_embedding` counts as the authors do: all but the tables; `projection` is the rest of the item encoder.
        """
        sizes = {name: p.numel() for name, p in self.named_parameters()}
        groups = {"encoder": "projection", "positions": "positions", "blocks": "blocks"}
        counts = dict.fromkeys(["embedding", *groups.values(), "norms"], 0)
        for name, size in sizes.items():
            group = "embedding" if is_table(name) else groups.get(name.split(".")[0], "norms")
            counts[group] += size
        total = sum(sizes.values())
        return {**counts, "non_embedding": total - counts["embedding"], "total": total}

    def save_pretrained(self, folder: Path) -> None:
        """Write it to a model folder: see `srtlib.model.folder.save_model`."""
        from srtlib.model.folder import save_model

        save_model(self, folder)

    @classmethod
    def from_pretrained(cls, folder: Path | str, device: torch.device | str = "cpu") -> SRT:
        """Load it from a model folder: see `srtlib.model.folder.load_model`, also for what is raised.

        Args:
            folder: of the model, or the name of a released one.
            device: where the model is wanted.
        """
        from srtlib.model.folder import load_model

        return load_model(folder, device)


def _catalogue(items: Catalogue | pd.DataFrame) -> Catalogue:
    import pandas as pd  # a model by itself needs torch and no more: benchmarks/gpu.py

    return ItemTable(items) if isinstance(items, pd.DataFrame) else items


def is_table(parameter: str) -> bool:
    """Whether a parameter is of a table that the item encoder looks up in.

    >>> is_table("encoder.words.tables.title.weight"), is_table("encoder.project.weight")
    (True, False)
    """
    module, *path = parameter.split(".")
    return module == "encoder" and "tables" in path


def part_of(parameter: str) -> str:
    """The part of an SRT that a parameter belongs to: encoder.tables, encoder.project, positions, input_norm,
    blocks.0, blocks.1, ..., final_norm.

    >>> part_of("blocks.1.qkv.weight"), part_of("positions.weight")
    ('blocks.1', 'positions')
    """
    first, second, *_ = parameter.split(".")
    return f"{first}.{second}" if first in ("encoder", "blocks") else first


def _initialise(module: nn.Module, scheme: str) -> None:
    if isinstance(module, nn.Linear):
        if scheme == "xavier":
            nn.init.xavier_normal_(module.weight)
        else:
            nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        nn.init.normal_(module.weight, std=0.02)
