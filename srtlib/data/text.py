"""Text of items: a byte-pair tokenizer learnt from the data set's own words, and bags of tokens per field."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from srtlib.data.dataset import TEXT_FIELDS, Dataset
from srtlib.paths import home, make_folder

UNKNOWN = "<unk>"
EMPTY = "unknown"  # what an empty field says, as in the paper's code
CHUNK = 100_000


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    r"""BPE over lower-cased words (regex \w+), with at most `vocab_size` pieces.

    >>> tokenizer = train_tokenizer(["Red pen", "red ink"] * 5, 100)
    >>> tokenizer.encode("RED, pen!").tokens
    ['▁red', '▁pen']
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\W+"), " "), normalizers.Strip()]
    )
    # A mark at the start of words, not at their end: with an end suffix the library numbers pieces at random.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[UNKNOWN],
        show_progress=False,
        min_frequency=2,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def dataset_tokenizer(dataset: Dataset, vocab_size: int) -> Tokenizer:
    """The tokenizer of a data set's own text, from the cache where it was trained before."""
    key = hashlib.sha256(f"v2:{dataset.text_fingerprint}:{vocab_size}".encode()).hexdigest()[:16]

    def fill(folder: Path) -> None:
        texts = (text for name in TEXT_FIELDS for text in _texts(dataset.catalogue[name]))
        train_tokenizer(texts, vocab_size).save(str(folder / "tokenizer.json"))

    folder = make_folder(home() / "cache" / "tokenizers" / key, fill)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@dataclass(frozen=True)
class TokenBags:
    """Tokens of every item, one CSR pair per field: item i's are ids[offsets[i]:offsets[i + 1]].

    ids: int32 [tokens]; offsets: int64 [items + 1].
    """

    ids: dict[str, np.ndarray]
    offsets: dict[str, np.ndarray]


def token_bags(catalogue: pd.DataFrame, tokenizer: Tokenizer, fields: Mapping[str, int]) -> TokenBags:
    """Tokenise each field of a catalogue, keeping at most `fields[name]` tokens; empty text says "unknown"."""
    ids, offsets = {}, {}
    for name, longest in fields.items():
        column = catalogue[name] if name in catalogue else pd.Series([""] * len(catalogue))
        ids[name], offsets[name] = _encode(column, tokenizer, longest)
    return TokenBags(ids, offsets)


def dataset_bags(dataset: Dataset, tokenizer: Tokenizer, fields: Mapping[str, int]) -> TokenBags:
    """`token_bags` of a data set's catalogue, cached by its text and the tokenizer, memory-mapped."""
    parts = f"v2:{dataset.text_fingerprint}:{tokenizer.to_str()}:{sorted(fields.items())}"
    key = hashlib.sha256(parts.encode()).hexdigest()[:16]

    def fill(folder: Path) -> None:
        bags = token_bags(dataset.catalogue, tokenizer, fields)
        for name in fields:
            np.save(folder / f"{name}.ids.npy", bags.ids[name])
            np.save(folder / f"{name}.offsets.npy", bags.offsets[name])

    folder = make_folder(home() / "cache" / "bags" / key, fill)
    return TokenBags(
        ids={name: np.load(folder / f"{name}.ids.npy", mmap_mode="r") for name in fields},
        offsets={name: np.load(folder / f"{name}.offsets.npy", mmap_mode="r") for name in fields},
    )


def _texts(column: pd.Series) -> Iterator[str]:
    return (text if text.strip() else EMPTY for text in column)


def _encode(column: pd.Series, tokenizer: Tokenizer, longest: int) -> tuple[np.ndarray, np.ndarray]:
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.enable_truncation(longest)
    rows: list[np.ndarray] = []
    lengths: list[int] = []
    for start in range(0, len(column), CHUNK):
        for encoding in tokenizer.encode_batch_fast(list(_texts(column[start : start + CHUNK]))):
            tokens = encoding.ids or [0]  # text without a single word: the unknown piece
            rows.append(np.array(tokens, dtype=np.int32))
            lengths.append(len(tokens))
    ids = np.concatenate(rows) if rows else np.empty(0, dtype=np.int32)
    return ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
