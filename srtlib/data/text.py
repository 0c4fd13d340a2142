"""Text of items: a byte-pair tokenizer learnt from the data set's own words, and bags of tokens per field."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from srtlib.data import csr
from srtlib.data.cache import cached_folder
from srtlib.data.dataset import Dataset
from srtlib.params import TEXT_FIELDS

UNKNOWN = "<unk>"
EMPTY = "unknown"  # what an empty field says, as in the paper's code
WORD_START = "▁"  # how the pre-tokenizer marks it
NO_WORD = r"[^\p{L}\p{N}_]+"  # what Python calls \W; to the tokenizer's own \w "½" is none, and an accent by itself is
ASCII_WORD = re.compile("[a-z0-9_]+")
CHUNK = 500_000  # texts tokenised at a time
LONGEST_WORD = 1_000  # characters; learning pieces takes time quadratic in the longest word, and no word has so many
TOO_LONG = re.compile(rf"(\w{{{LONGEST_WORD}}})\w+")


def train_tokenizer(texts: Iterable[str], vocab_size: int, words_first: bool = False) -> Tokenizer:
    r"""BPE over lower-cased words (regex \w+), with at most `vocab_size` pieces.

    Of a word of more than 1,000 characters the first 1,000 are read.

    Args:
        texts: to learn from.
        vocab_size: most pieces.
        words_first: find the words before Unicode is normalised, not after, as the paper's code does: "Balances™" is
            then "balances", else "balancestm".

    >>> tokenizer = train_tokenizer(["Red pen", "red ink"] * 5, 100)
    >>> tokenizer.encode("RED, pen!").tokens
    ['▁red', '▁pen']
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    normal = [normalizers.NFKC(), normalizers.Lowercase()]
    if words_first:
        split = [normalizers.Replace(Regex(NO_WORD), " "), *normal]
    else:
        split = [*normal, normalizers.Replace(Regex(r"\W+"), " ")]
    tokenizer.normalizer = normalizers.Sequence([*split, normalizers.Strip()])
    # A mark at the start of words, not at their end: with an end suffix the library numbers pieces at random.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[UNKNOWN],
        show_progress=False,
        min_frequency=2,
    )
    tokenizer.train_from_iterator(map(_with_short_words, texts), trainer)
    return tokenizer


def dataset_tokenizer(dataset: Dataset, vocab_size: int, words_first: bool = False) -> Tokenizer:
    """`train_tokenizer` of a data set's own text, from the cache where it was trained before.

    Args:
        dataset: whose text is learnt from.
        vocab_size: most pieces.
        words_first: find the words before Unicode is normalised.
    """
    parts = f"v2:{dataset.text_fingerprint}:{vocab_size}" + (":words first" if words_first else "")
    key = hashlib.sha256(parts.encode()).hexdigest()[:16]

    def fill(folder: Path) -> None:
        texts = (text for name in TEXT_FIELDS for text in _texts(dataset.catalogue[name], words_first))
        train_tokenizer(texts, vocab_size, words_first).save(str(folder / "tokenizer.json"))

    path = cached_folder("tokenizers", key, fill) / "tokenizer.json"
    return read_tokenizer(path.read_bytes(), str(path))


def read_tokenizer(data: bytes, source: str) -> Tokenizer:
    """A tokenizer from the bytes of its tokenizer.json.

    Args:
        data: as `Tokenizer.to_str` says it.
        source: of the data, for errors.

    Raises ValueError for what is no tokenizer, and for one that no model of ours has: with pieces that are not numbered
    from 0, or with truncation, padding or a post-processor.
    """
    try:
        return _parse_tokenizer(data.decode())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # where the library's own checks fail it panics, which is no Exception
        message = str(error).strip().partition("\n")[0]
        raise ValueError(f"{source} cannot be read as a tokenizer: {message}") from None


def _parse_tokenizer(text: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(text)
    parts = json.loads(text)
    foreign = [name for name in ("truncation", "padding", "post_processor") if parts.get(name) is not None]
    if foreign:
        raise ValueError(f"it has {', '.join(foreign)}, which no tokenizer of a model has")
    size, largest = tokenizer.get_vocab_size(), max(tokenizer.get_vocab().values(), default=-1)
    if largest >= size:
        raise ValueError(f"it numbers a token {largest}, of {size}")
    tokenizer.encode("a word, and another™")  # not before: what truncates may end the process
    return tokenizer


@dataclass(frozen=True)
class TokenBags:
    """Tokens of every item, one CSR pair per field: item i's are ids[offsets[i]:offsets[i + 1]].

    ids: int32 [tokens]; offsets: int64 [items + 1].
    """

    ids: dict[str, np.ndarray]
    offsets: dict[str, np.ndarray]


def token_bags(catalogue: pd.DataFrame, tokenizer: Tokenizer, fields: Mapping[str, int]) -> TokenBags:
    """Tokenise each field of a catalogue; empty text says "unknown".

    Args:
        catalogue: a row per item; a field that it lacks is empty.
        tokenizer: of its text.
        fields: names of the fields -> most tokens kept.
    """
    ids, offsets = {}, {}
    for name, longest in fields.items():
        column = catalogue[name] if name in catalogue else pd.Series([""] * len(catalogue))
        ids[name], offsets[name] = _encode(column, tokenizer, longest)
    return TokenBags(ids, offsets)


def dataset_bags(dataset: Dataset, tokenizer: Tokenizer, fields: Mapping[str, int]) -> TokenBags:
    """`token_bags` of a data set's catalogue, cached by its text and the tokenizer, memory-mapped.

    Args:
        dataset: whose catalogue is tokenised.
        tokenizer: of its text.
        fields: names of the fields -> most tokens kept.
    """
    parts = f"v2:{dataset.text_fingerprint}:{tokenizer.to_str()}:{sorted(fields.items())}"
    key = hashlib.sha256(parts.encode()).hexdigest()[:16]

    def fill(folder: Path) -> None:
        bags = token_bags(dataset.catalogue, tokenizer, fields)
        for name in fields:
            np.save(folder / f"{name}.ids.npy", bags.ids[name])
            np.save(folder / f"{name}.offsets.npy", bags.offsets[name])

    folder = cached_folder("bags", key, fill)
    return TokenBags(
        ids={name: np.load(folder / f"{name}.ids.npy", mmap_mode="r") for name in fields},
        offsets={name: np.load(folder / f"{name}.offsets.npy", mmap_mode="r") for name in fields},
    )


def _texts(column: pd.Series, words_first: bool) -> Iterator[str]:
    """Texts to read; with words first, one without a word says "unknown" as an empty one does."""
    if words_first:
        return (text if re.search(r"\w", text) else EMPTY for text in column)
    return (text if text.strip() else EMPTY for text in column)


def _with_short_words(text: str) -> str:
    return TOO_LONG.sub(r"\1", text) if len(text) > LONGEST_WORD else text


def _finds_words_first(tokenizer: Tokenizer) -> bool:
    return tokenizer.normalizer is not None and tokenizer.normalizer.normalize_str("™") == ""


def _encode(column: pd.Series, tokenizer: Tokenizer, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """CSR (ids, offsets) of a column's tokens, the first `longest` of each text."""
    words_first = _finds_words_first(tokenizer)
    parts = [
        _encode_chunk(
            list(map(_with_short_words, _texts(column[start : start + CHUNK], words_first))), tokenizer, longest
        )
        for start in range(0, len(column), CHUNK)
    ]
    ids = np.concatenate([ids for ids, _ in parts]) if parts else np.empty(0, dtype=np.int32)
    lengths = np.concatenate([lengths for _, lengths in parts]) if parts else np.empty(0, dtype=np.int64)
    return ids, csr.offsets_of(lengths)


def _encode_chunk(texts: list[str], tokenizer: Tokenizer, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and their number for each text. No piece spans two words, so every different word is tokenised once."""
    words = pc.ascii_split_whitespace(pa.array(texts, pa.large_string()))
    different = pc.dictionary_encode(words.flatten())
    pieces = _pieces(different.dictionary.to_pylist(), tokenizer)
    per_piece = np.fromiter(map(len, pieces), np.int64, len(pieces))
    ids = np.fromiter(chain.from_iterable(pieces), np.int32, int(per_piece.sum()))
    word = different.indices.to_numpy()
    places = csr.ranges(csr.offsets_of(per_piece)[word], per_piece[word])  # in ids, of every token of the texts
    ends = csr.offsets_of(per_piece[word])[words.offsets.to_numpy()]
    lengths = np.diff(ends)
    tokens = ids[places[csr.ranges(ends[:-1], np.minimum(lengths, longest))]]
    empty = np.flatnonzero(lengths == 0)  # text without a single word: the unknown piece
    before = np.cumsum(np.minimum(lengths, longest))[empty]
    return np.insert(tokens, before, 0), np.clip(lengths, 1, longest)


def _pieces(words: list[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Tokens of words. Plain ASCII, nearly all there is, goes straight to the model, ten times as fast."""
    model = tokenizer.model
    found: list[list[int]] = [[]] * len(words)
    others = []
    for i, word in enumerate(words):
        if word.isascii() and UNKNOWN not in word:
            parts = ASCII_WORD.findall(word.lower())
            found[i] = [token.id for part in parts for token in model.tokenize(WORD_START + part)]
        else:
            others.append(i)
    for i, encoding in zip(others, tokenizer.encode_batch_fast([words[i] for i in others]), strict=True):
        found[i] = encoding.ids
    return found
