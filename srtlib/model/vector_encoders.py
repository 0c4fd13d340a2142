"""Item encoders of fixed vectors: given ones, or a sentence encoder's of the items' text. Shapes: n items to encode, I
items of the catalogue, D = d_model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srtlib.model.item_encoder import Catalogue, ItemEncoder
from srtlib.model.memory import resident, take

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from srtlib.model.flops import Parts
    from srtlib.params import ModelParams


class Head(nn.Module):
    """From an item's vector to D numbers: two linear layers with a GELU between them; residual: the vector's first D
    numbers, and what the layers add."""

    def __init__(self, width: int, d_model: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.inner = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(2 * width, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Float [n, width] -> float [n, D]."""
        y = self.outer(F.gelu(self.inner(x)))
        return x[:, : y.shape[1]] + y if self.residual else y

    def flops(self, n: int) -> dict[str, int]:
        """FLOPs of `forward` of n vectors, by layer."""
        return {"inner": 2 * n * self.inner.weight.numel(), "outer": 2 * n * self.outer.weight.numel()}


class Whitening(nn.Module):
    """Vectors without their mean and their correlations: of a catalogue's principal components the first so many, each
    at unit variance; each vector then centred and scaled as a LayerNorm does. Fitted once, kept with the weights."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, width: int, kept: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width, kept))

    def fit(self, vectors: np.ndarray, shrink: bool = False) -> None:
        """From the vectors of a catalogue, float [I, width]. Directions in which they hardly differ count nothing.

        Args:
            vectors: of the items.
            shrink: hold all variances up by what chance makes of `width` directions and so few items, so that the
                vectors of a small catalogue keep what is alike in them.
        """
        x = vectors.astype(np.float64)
        mean = x.mean(axis=0)
        variances, directions = np.linalg.eigh((x - mean).T @ (x - mean) / len(x))
        kept = slice(None, -self.matrix.shape[1] - 1, -1)
        variances, directions = variances[kept], directions[:, kept]
        largest = np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])
        directions = directions * np.sign(directions[largest])  # which way they point is the library's whim
        flat = variances <= max(1e-6 * variances[0], 0.0)
        if shrink:
            variances = variances + variances.clip(min=0).sum() / len(x)
        scale = np.where(flat, 0.0, 1 / np.sqrt(np.where(flat, 1.0, variances)))
        self.mean.copy_(torch.from_numpy(mean))
        self.matrix.copy_(torch.from_numpy(directions * scale))

    def forward(self, vectors: np.ndarray) -> np.ndarray:
        """Float32 [n, width] -> float32 [n, kept], in main memory."""
        whitened = (torch.from_numpy(vectors) - self.mean.cpu()) @ self.matrix.cpu()
        return F.layer_norm(whitened, whitened.shape[1:]).numpy()


class ReadsVectors(nn.Module):
    """Reads the fixed vectors of items: given ones, or those that a sentence encoder makes of their text."""

    text_sha256: Tensor

    def read_from(self, params: ModelParams) -> None:
        """Say where the vectors come from.

        Args:
            params: with their width, and the text model that makes them, if one does.
        """
        self.vector_dim, self.text_model = params.vector_dim, params.text_model
        if params.text_model:
            self.register_buffer("text_sha256", torch.zeros(32, dtype=torch.uint8))

    def remember_text_model(self) -> None:
        """Keep the SHA-256 of the text model that made the vectors: others are refused from here."""
        if self.text_model:
            from srtlib.data.sentences import text_model_sha256

            self.text_sha256.copy_(
                torch.frombuffer(bytearray.fromhex(text_model_sha256(self.text_model)), dtype=torch.uint8)
            )

    def vectors_of(self, items: Catalogue) -> np.ndarray:
        """The items' vectors as they come, float32 [I, vector_dim]; ValueError as `features`."""
        vectors, width = self._sentence_vectors(items) if self.text_model else items.vectors, self.vector_dim
        if self.text_model and vectors is not None and vectors.shape[1] != width:
            raise ValueError(
                f"text model {self.text_model!r} makes vectors of width {vectors.shape[1]}; expected vector_dim={width}"
            )
        if vectors is None or vectors.shape[1:] != (width,):
            raise ValueError(
                f"{items.name} has no item vectors of width {width}, which this model reads: "
                "give a table of items a column vector, a data set Dataset.with_vectors"
            )
        if n := int((wrong := ~np.isfinite(vectors).all(axis=1)).sum()):
            first = items.catalogue["item_id"].iloc[int(wrong.argmax())]
            raise ValueError(f"{items.name}: the vectors of {n:,} items are not finite numbers, of {first!r} first")
        return vectors

    def _sentence_vectors(self, items: Catalogue) -> np.ndarray:
        from srtlib.data.sentences import item_texts, sentence_vectors, text_model_sha256

        found, expected = text_model_sha256(self.text_model), bytes(self.text_sha256.tolist()).hex()
        if found != expected and self.text_sha256.any():
            raise ValueError(
                f"text model {self.text_model!r} is not the one that this model was trained with: the SHA-256 of its "
                f"weights is {found[:12]}..., expected {expected[:12]}..."
            )
        return sentence_vectors(item_texts(items.catalogue), self.text_model)


class FixedVectors(ReadsVectors, ItemEncoder):
    """Item encoder of figure 2: fixed, task-agnostic vectors, and a trained head."""

    needs: ClassVar[tuple[str, ...]] = ("vector_dim",)
    known_by = "fixed vectors"

    def __init__(self, params: ModelParams, tokenizer: Tokenizer | None = None) -> None:
        ItemEncoder.__init__(self, params, tokenizer)
        self.read_from(params)
        self.whitening = Whitening(params.vector_dim, params.whiten_dim) if params.whiten_dim else None
        width = params.whiten_dim or params.vector_dim
        self.project: nn.Linear | Head
        if params.head == "linear":
            self.project = nn.Linear(width, params.d_model)
        else:
            self.project = Head(width, params.d_model, residual=params.head == "residual")

    def fit(self, items: Catalogue) -> None:
        """Fit the whitening, if there is one, to a catalogue's vectors, and remember the text model that made them."""
        self.remember_text_model()
        if self.whitening is not None:
            self.whitening.fit(self.vectors_of(items))

    def features(self, items: Catalogue, device: torch.device) -> Tensor:
        """What the head reads of the items, float32 [I, width].

        Args:
            items: the catalogue, with vectors or text.
            device: of the model.

        Raises ValueError where there are no vectors of this width, or one is not finite.
        """
        vectors = self.vectors_of(items)
        return resident(vectors if self.whitening is None else self.whitening(vectors), device)

    def forward(self, features: Tensor, items: Tensor) -> Tensor:
        """Vectors of some items.

        Args:
            features: float32 [I, width].
            items: int [n], rows of it.

        Returns:
            float [n, D].
        """
        return self.project(take(features, items))

    def flops(self, features: Tensor, items: Tensor) -> Parts:
        """FLOPs of `forward`: the head's.

        Args:
            features: float32 [I, width].
            items: int [n], rows of it.
        """
        if isinstance(self.project, Head):
            return {"project": self.project.flops(len(items))}
        return {"project": 2 * len(items) * self.project.weight.numel()}


class Sentence(FixedVectors):
    """`FixedVectors` that a sentence encoder makes of the items' text (`srtlib.data.sentences`)."""

    needs = ("text_model", *FixedVectors.needs)
    known_by = "sentence vectors of their text"
