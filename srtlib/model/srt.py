"""SRT: a causal transformer over items that are known by their text (section 3 and figure 2 of the paper).

The number of parameters does not depend on the catalogue. Shapes: n items to encode, T packed tokens, D = d_model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from srtlib.model.csr import ranges
from srtlib.model.memory import resident, take
from srtlib.model.packing import BLOCK, Layout, visible
from srtlib.paths import write_bytes, write_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from srtlib.data.dataset import Dataset
    from srtlib.data.text import TokenBags
    from srtlib.params import ModelParams

FORMAT = "srtlib-1"  # of model folders; another one is refused


@dataclass(frozen=True)
class BagFeatures:
    """Token bags of a catalogue, on the model's device if they fit: per field ids int32 [tokens] and offsets int64
    [items + 1]."""

    ids: dict[str, Tensor]
    offsets: dict[str, Tensor]

    @classmethod
    def on(cls, device: torch.device, bags: TokenBags) -> Self:
        """Token bags on a device, where they fit."""
        return cls(
            ids={name: resident(array, device) for name, array in bags.ids.items()},
            offsets={name: resident(array, device) for name, array in bags.offsets.items()},
        )


Features = BagFeatures | Tensor


class NonFiniteError(ValueError):
    """What should be a finite number is NaN or infinite. Comparisons with NaN are all false: it would rank first."""


class TokenBag(nn.Module):
    """Item encoder of the paper's code: per field the sum of token embeddings, concatenated, then linear."""

    def __init__(self, params: ModelParams, vocab_size: int) -> None:
        super().__init__()
        self.tables = nn.ModuleDict(
            {name: nn.EmbeddingBag(vocab_size, params.d_model, mode="sum") for name in params.fields}
        )
        self.project = nn.Linear(len(params.fields) * params.d_model, params.d_model)

    def forward(self, features: BagFeatures, items: Tensor) -> Tensor:
        """Vectors [n, D] of `items` int [n]."""
        bags = [table(*gather_bags(features, name, items)) for name, table in self.tables.items()]
        return self.project(torch.cat(bags, dim=1))


def gather_bags(features: BagFeatures, field: str, items: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids and bag starts of some items, as EmbeddingBag takes them."""
    starts = take(features.offsets[field], items)
    lengths = take(features.offsets[field], items + 1) - starts
    begins = torch.cumsum(lengths, 0) - lengths
    return take(features.ids[field], ranges(starts, lengths)), begins.to(torch.int32)


class FixedVectors(nn.Module):
    """Item encoder of figure 2: fixed, task-agnostic vectors and a trained projection."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.project = nn.Linear(params.vector_dim, params.d_model)

    def forward(self, features: Tensor, items: Tensor) -> Tensor:
        """Vectors [n, D] of `items` int [n]; features float [items, vector_dim]."""
        return self.project(take(features, items))


class ItemIds(nn.Module):
    """Item encoder of SASRec and its kin: a vector for every item of one catalogue. Its parameters grow with the
    catalogue, and it knows no other."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.tables = nn.Embedding(params.n_items, params.d_model)

    def forward(self, features: Tensor, items: Tensor) -> Tensor:
        """Vectors [n, D] of `items` int [n]; features int [items], the items' rows of the table."""
        return self.tables(take(features, items))


class Block(nn.Module):
    """One transformer layer, pre- or post-norm."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        d = params.d_model
        self.n_heads = params.n_heads
        self.pre_norm = params.norm == "pre"
        self.attention_dropout = params.attention_dropout
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)
        self.inner = nn.Linear(d, params.d_ff)
        self.outer = nn.Linear(params.d_ff, d)
        self.attention_norm = nn.LayerNorm(d, eps=params.norm_eps)
        self.feed_forward_norm = nn.LayerNorm(d, eps=params.norm_eps)
        self.dropout = nn.Dropout(params.dropout)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        if self.pre_norm:
            x = x + self._attend(self.attention_norm(x), layout)
            return x + self._feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self._attend(x, layout))
        return self.feed_forward_norm(x + self._feed_forward(x))

    def _attend(self, x: Tensor, layout: Layout) -> Tensor:
        dropout = self.attention_dropout if self.training else 0.0
        return self.dropout(self.out(attention(self.qkv(x), layout, self.n_heads, dropout)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.outer(F.gelu(self.inner(x))))


def attention(qkv: Tensor, layout: Layout, n_heads: int, dropout: float = 0.0) -> Tensor:
    """Causal self-attention within each packed sequence: qkv [T, 3 D] -> [T, D].

    Buckets go through dense attention, one bucket after the other. A static layout goes through blocks, or, compiled
    on a GPU, through flex_attention, which knows no dropout and no heads narrower than 16.
    """
    if layout.mask is None:
        return _bucket_attention(qkv, layout, n_heads, dropout)
    wide = qkv.shape[1] >= 3 * n_heads * 16
    if qkv.is_cuda and torch.compiler.is_compiling() and wide and not dropout:
        return _flex_attention(qkv, layout, n_heads)
    return _block_attention(qkv, layout.mask, n_heads, dropout)


def _bucket_attention(qkv: Tensor, layout: Layout, n_heads: int, dropout: float) -> Tensor:
    d_head = qkv.shape[1] // (3 * n_heads)
    parts = []
    stretches = qkv.split([n * length for n, length in layout.groups])  # one gradient, where slices would make many
    for (n, length), stretch in zip(layout.groups, stretches, strict=True):
        if length == 1 and dropout == 0:
            parts.append(stretch[:, 2 * n_heads * d_head :])  # a lone token attends to itself
            continue
        q, k, v = stretch.view(n, length, 3, n_heads, d_head).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        parts.append(mixed.transpose(1, 2).reshape(n * length, n_heads * d_head))
    return torch.cat(parts)


def _block_attention(qkv: Tensor, mask: Tensor, n_heads: int, dropout: float) -> Tensor:
    """Each block of C tokens attends to itself and to the block before: no sequence is longer than C."""
    n, _, block, _ = mask.shape
    q, k, v = qkv.view(n, block, 3, n_heads, -1).permute(2, 0, 3, 1, 4)
    # The first block's predecessor is the last one, which its mask hides.
    k, v = (torch.cat([x.roll(1, 0), x], dim=2) for x in (k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    return mixed.transpose(1, 2).reshape(len(qkv), -1)


def _flex_attention(qkv: Tensor, layout: Layout, n_heads: int) -> Tensor:
    """The same by flex_attention, over the blocks of 128 keys that a block of queries can see."""
    positions = layout.positions
    q, k, v = qkv.view(len(qkv), 3, n_heads, -1).permute(1, 2, 0, 3).unsqueeze(1)
    assert layout.mask is not None
    n, before = len(qkv) // BLOCK, -(-layout.mask.shape[2] // BLOCK)
    last = torch.arange(n, device=qkv.device, dtype=torch.int32)
    back = torch.arange(n, device=qkv.device, dtype=torch.int32)
    mask = BlockMask.from_kv_blocks(
        (last + 1).clamp(max=before + 1).view(1, 1, n),
        (last[:, None] - back).clamp(min=0).view(1, 1, n, n),
        BLOCK_SIZE=BLOCK,
        mask_mod=lambda batch, head, query, key: visible(query, key, positions[query]),
    )
    return flex_attention(q, k, v, block_mask=mask)[0].transpose(0, 1).reshape(len(qkv), -1)


class SRT(nn.Module):
    """The Scalable Recommendation Transformer.

    `tokenizer` travels with the model (token_bag only); its size sets the embedding tables'.

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
        self.encoder: nn.Module
        if params.encoder == "token_bag":
            if tokenizer is None:
                raise ValueError("encoder=token_bag needs a tokenizer")
            self.encoder = TokenBag(params, tokenizer.get_vocab_size())
        elif params.encoder == "item_ids":
            self.encoder = ItemIds(params)
        else:
            self.encoder = FixedVectors(params)
        self.positions = nn.Embedding(params.max_len, params.d_model)
        self.input_norm = nn.LayerNorm(params.d_model, eps=params.norm_eps)
        self.dropout = nn.Dropout(params.dropout)
        self.blocks = nn.ModuleList(Block(params) for _ in range(params.n_layers))
        self.final_norm = nn.LayerNorm(params.d_model, eps=params.norm_eps) if params.norm == "pre" else nn.Identity()
        self.apply(partial(_initialise, scheme=params.initialisation))

    @property
    def device(self) -> torch.device:
        return self.positions.weight.device

    def features(self, dataset: Dataset) -> Features:
        """What the encoder reads of a catalogue, on the model's device: token bags, the fixed vectors, or the items'
        numbers."""
        if self.params.encoder == "item_ids":
            if dataset.n_items != self.params.n_items:
                raise ValueError(
                    f"{dataset.name} has {dataset.n_items:,} items; expected the {self.params.n_items:,} that this "
                    "model of item IDs was made for: such a model does not transfer"
                )
            return torch.arange(dataset.n_items, device=self.device)
        if self.params.encoder == "fixed_vectors":
            if dataset.vectors is None or dataset.vectors.shape[1] != self.params.vector_dim:
                raise ValueError(
                    f"{dataset.name} has no item vectors of width {self.params.vector_dim}: see Dataset.with_vectors"
                )
            return resident(dataset.vectors, self.device)
        from srtlib.data.text import dataset_bags

        assert self.tokenizer is not None
        return BagFeatures.on(self.device, dataset_bags(dataset, self.tokenizer, self.params.fields))

    def encode(self, features: Features, items: Tensor) -> Tensor:
        """Item vectors [n, D] of catalogue indices `items` int [n]."""
        return self.encoder(features, items)

    @torch.no_grad()
    def encode_catalogue(self, features: Features, n_items: int, chunk: int = 65_536) -> Tensor:
        """Vectors of the whole catalogue [items, D], `chunk` items at a time; NonFiniteError where one is none."""
        parts = torch.arange(n_items, device=self.device).split(chunk)
        vectors = torch.cat([self.encode(features, part) for part in parts])
        if not (finite := torch.isfinite(vectors).all(dim=1)).all():
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
        """Item vectors of packed sequences [T, D] -> outputs [T, D], whose dot product with items are scores."""
        x = self.dropout(self.input_norm(vectors + self.positions(layout.positions)))
        for block in self.blocks:
            x = block(x, layout)
        return self.final_norm(x)

    def parameter_counts(self) -> dict[str, int]:
        """Numbers of parameters by group; `embedding` + `non_embedding` = `total`, and so do the finer groups.

        `non_embedding` counts as the authors do: all but the token tables.
        """
        sizes = {name: p.numel() for name, p in self.named_parameters()}
        groups = {
            "embedding": "encoder.tables.",
            "projection": "encoder.project.",
            "positions": "positions.",
            "blocks": "blocks.",
        }
        counts = {g: sum(n for name, n in sizes.items() if name.startswith(p)) for g, p in groups.items()}
        total = sum(sizes.values())
        counts["norms"] = total - sum(counts.values())
        return {**counts, "non_embedding": total - counts["embedding"], "total": total}

    def save_pretrained(self, folder: Path) -> None:
        """Write config.json, model.safetensors and tokenizer.json, each whole or not at all."""
        from safetensors.torch import save

        config: dict[str, object] = {"format": FORMAT, "model": self.params.model_dump()}
        if self.tokenizer is not None:
            text = self.tokenizer.to_str()
            write_text(folder / "tokenizer.json", text)
            config["tokenizer_sha256"] = _sha256(text)
        write_text(folder / "config.json", json.dumps(config, indent=2))
        weights = {name: p.detach().cpu().contiguous() for name, p in self.state_dict().items()}
        write_bytes(folder / "model.safetensors", save(weights, metadata={"sha256": weights_sha256(weights)}))

    @classmethod
    def from_pretrained(cls, folder: Path, device: torch.device | str = "cpu") -> SRT:
        """Load what `save_pretrained` wrote; nothing in the folder is executed.

        Raises FileNotFoundError for a missing file; ValueError for another format, for a tokenizer that is not the
        one the model was trained with, and for damaged weights.
        """
        from srtlib.params import ModelParams, parse

        config_path = folder / "config.json"
        if not config_path.is_file():
            raise FileNotFoundError(f"{folder} is not a model folder: no config.json")
        config = _read_config(config_path)
        params = parse(ModelParams, config["model"], str(config_path))
        tokenizer = _read_tokenizer(folder, config.get("tokenizer_sha256")) if params.encoder == "token_bag" else None
        with torch.device("meta"):  # no weights to draw: the file has them
            model = cls(params, tokenizer)
        weights_path = folder / "model.safetensors"
        if not weights_path.is_file():
            raise FileNotFoundError(f"{folder} has no model.safetensors: no weights were saved")
        try:
            model.load_state_dict(_read_weights(weights_path), assign=True)
        except Exception as error:
            reason = "; ".join(line.strip() for line in str(error).splitlines()[:2])
            raise ValueError(f"{weights_path} does not hold this model's weights: {reason}") from None
        return model.to(device).eval()


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT or "model" not in config:
        raise ValueError(f"{path}: format {found!r}; expected {FORMAT!r}")
    return config


def _read_tokenizer(folder: Path, expected: str | None) -> Tokenizer:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no tokenizer.json, which this model reads text with")
    text = path.read_text(encoding="utf-8")
    if expected and _sha256(text) != expected:
        raise ValueError(f"{path} is not the tokenizer that this model was trained with: its SHA-256 differs")
    try:
        return Tokenizer.from_str(text)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a tokenizer: {error}") from None


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        expected = (file.metadata() or {}).get("sha256")
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if expected and weights_sha256(weights) != expected:
        raise ValueError("its values do not match their SHA-256")
    return weights


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
