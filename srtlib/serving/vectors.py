"""The item vectors of a large catalogue, and an index of FAISS over them: made once, kept on disk, mapped from there.

    <place>/vectors-<key>/vectors.npy    float32 or float16 [I, D]
    <place>/faiss-<key>/index.faiss      the index over them

The key is a digest of all that they are made of: the model's parameters and weights, and what it reads of the items. So
what was made for other weights or items is never found; what is damaged is made again. I: items, D: width.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from srtlib.data.cache import made_once
from srtlib.model.folder import weights_sha256
from srtlib.model.srt import SRT
from srtlib.paths import home
from srtlib.serving.search import FaissIndex

KEPT_FROM = 100_000  # items; encoding fewer takes a second or two, and nothing of them is kept
ROWS = 2**20  # of the items, hashed at a time
VECTORS, INDEX = "vectors.npy", "index.faiss"


@dataclass(frozen=True)
class Kept:
    """Where vectors and index are kept: `places` are folders, tried in turn; one that cannot be written to is passed
    over. What no place takes stays in memory."""

    key: str = ""
    places: tuple[Path, ...] = ()

    def vectors(self, encode: Callable[[], Tensor]) -> Tensor:
        """Item vectors [I, D], mapped; `encode` makes them where they are not kept."""
        folder = self._save_vectors(encode)
        if folder is None:
            return encode()
        return torch.from_numpy(np.load(folder / VECTORS, mmap_mode="c"))  # "c": writing changes no file

    def index(self, build: Callable[[], FaissIndex]) -> FaissIndex:
        """The index over the vectors, mapped; `build` makes it where it is not kept."""
        folder = self._save_index(build)
        return build() if folder is None else FaissIndex.read(folder / INDEX)

    def keep(self, vectors: Tensor, index: FaissIndex | None) -> None:
        """Keep what is there already.

        Args:
            vectors: of the items, [I, D].
            index: over them, if there is one.
        """
        self._save_vectors(lambda: vectors)
        if index is not None:
            self._save_index(lambda: index)

    def _save_vectors(self, encode: Callable[[], Tensor]) -> Path | None:
        return self._folder("vectors", lambda aside: np.save(aside / VECTORS, encode().cpu().numpy()))

    def _save_index(self, build: Callable[[], FaissIndex]) -> Path | None:
        return self._folder("faiss", lambda aside: build().write(aside / INDEX))

    def _folder(self, kind: str, fill: Callable[[Path], object]) -> Path | None:
        for place in self.places:
            with suppress(OSError):  # a folder that is read only, a disk that is full
                return made_once(place / f"{kind}-{self.key}", fill)
        return None


def kept_for(model: SRT, items: pd.DataFrame, dtype: torch.dtype, folder: Path | None = None) -> Kept:
    """What is kept of a model and a catalogue: nothing of fewer than 100,000 items.

    Args:
        model: that encodes the items.
        items: as `Recommender` holds them.
        dtype: of the vectors.
        folder: to keep it in; where there is none, or it is read only, the cache of the data home takes it.
    """
    if len(items) < KEPT_FROM:
        return Kept()
    digest = hashlib.sha256(f"v3:{dtype}:{weights_sha256(model.state_dict())}".encode())
    digest.update(f"{model.params.model_dump_json()}:{model.tokenizer and model.tokenizer.to_str()}".encode())
    for column in items.columns.drop("count"):
        for part in _bytes(items[column]):
            digest.update(part)
    cache = home() / "cache" / "search"
    return Kept(digest.hexdigest()[:16], (cache,) if folder is None else (folder, cache))


def _bytes(column: pd.Series) -> Iterator[bytes]:
    """Bytes that tell a column of text, or of vectors, from every other."""
    for first in range(0, len(column), ROWS):
        values = column.iloc[first : first + ROWS]
        parts = [value.encode() if isinstance(value, str) else value.tobytes() for value in values]
        yield np.array([len(part) for part in parts], dtype=np.int64).tobytes()
        yield b"".join(parts)
