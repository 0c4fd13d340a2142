import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer

from srtlib.data.dataset import Dataset
from srtlib.data.text import dataset_bags, dataset_tokenizer, read_tokenizer, token_bags, train_tokenizer

TITLES = ["Red pen", "red PEN, fine", "Blue ink; 50ml", "blue ink"] * 5


def test_words_are_lower_cased_and_punctuation_is_dropped() -> None:
    tokenizer = train_tokenizer(TITLES, 300)
    assert tokenizer.encode("Red-Pen!").ids == tokenizer.encode("red pen").ids
    assert tokenizer.encode("RED ink").tokens == ["▁red", "▁ink"]


def test_vocabulary_is_bounded_and_training_is_deterministic() -> None:
    one, two = train_tokenizer(TITLES, 30), train_tokenizer(TITLES, 30)
    assert one.get_vocab_size() <= 30
    assert one.to_str() == two.to_str()


def test_bags_hold_each_items_own_tokens() -> None:
    tokenizer = train_tokenizer([*TITLES, "unknown unknown"], 300)
    catalogue = pd.DataFrame({"title": ["red pen", "", "...", "blue ink red pen blue"], "brand": ["x", "", "", ""]})
    bags = token_bags(catalogue, tokenizer, {"title": 4, "brand": 8})
    rows = [
        bags.ids["title"][a:b].tolist()
        for a, b in zip(bags.offsets["title"][:-1], bags.offsets["title"][1:], strict=True)
    ]
    assert rows[0] == tokenizer.encode("red pen").ids
    assert rows[1] == tokenizer.encode("unknown").ids
    assert rows[2] == [tokenizer.token_to_id("<unk>")]  # no word at all
    assert rows[3] == tokenizer.encode("blue ink red pen").ids  # cut after four
    assert np.diff(bags.offsets["brand"]).min() >= 1


def test_a_word_without_end_takes_no_time_without_end() -> None:
    """Pieces are learnt, and words read, from the first thousand characters: a megabyte would take many minutes."""
    endless = "".join(chr(97 + (i * i + i // 7) % 26) for i in range(1_000_000))
    tokenizer = train_tokenizer([*TITLES, endless, "é" + endless], 300)
    assert tokenizer.to_str() == train_tokenizer([*TITLES, endless[:1000], "é" + endless[:999]], 300).to_str()
    catalogue = pd.DataFrame({"title": [endless + " pen", "é" + endless, endless[:1000] + " pen"]})
    bags = token_bags(catalogue, tokenizer, {"title": 10_000})
    first, second, third = np.split(bags.ids["title"], bags.offsets["title"][1:-1])
    assert first.tolist() == third.tolist()
    assert first[-1] == tokenizer.encode("pen").ids[-1]
    assert len(second) <= 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[3]",
        "[" * 100_000,
        '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}',
        '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 2147483647}, "merges": []}}',
        '{"version": "1.0", "model": {"type": "Unigram", "unk_id": 7, "vocab": [["a", 0.0]]}}',
        '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {}, "unk_token": "?"}}',
    ],
)
def test_what_is_no_tokenizer_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"^mine.json cannot be read as a tokenizer: ") as refused:
        read_tokenizer(text.encode(), "mine.json")
    assert "\n" not in str(refused.value)


def test_a_tokenizer_is_read_as_it_was_written() -> None:
    tokenizer = train_tokenizer(TITLES, 300)
    assert read_tokenizer(tokenizer.to_str().encode(), "mine").to_str() == tokenizer.to_str()


def test_cache_returns_the_same(dataset: Dataset) -> None:
    tokenizer = dataset_tokenizer(dataset, 200)
    assert dataset_tokenizer(dataset, 200).to_str() == tokenizer.to_str()
    fields = {"title": 40, "brand": 8}
    fresh, cached = token_bags(dataset.catalogue, tokenizer, fields), dataset_bags(dataset, tokenizer, fields)
    for name in fields:
        np.testing.assert_array_equal(fresh.ids[name], cached.ids[name])
        np.testing.assert_array_equal(fresh.offsets[name], cached.offsets[name])


def test_round_trip(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tokenizer = train_tokenizer(TITLES, 300)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert (
        Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("fine ink").ids == tokenizer.encode("fine ink").ids
    )


WORDS = pd.DataFrame(
    {"title": ["Balances™ pen", "ﬁne½ pen", "cafe\u0301 x_1", "", "® !"], "brand": ["®", "™", "Acme®", "", "½"]}
)


def test_words_are_found_before_they_are_normalised() -> None:
    r"""As Python's regex \w+ finds them: a trademark sign ends a word, a fraction belongs to one, an accent by itself
    ends one; and what has no word says "unknown"."""
    expected = {
        "title": ["balances pen", "fine1⁄2 pen", "cafe x_1", "unknown", "unknown"],
        "brand": ["unknown", "unknown", "acme", "unknown", "1⁄2"],
    }
    tokenizer = train_tokenizer([*WORDS["title"], *WORDS["brand"], "unknown"] * 3, 500, words_first=True)
    reread = type(tokenizer).from_str(tokenizer.to_str())  # how words are found travels with it
    bags = token_bags(WORDS, reread, {"title": 40, "brand": 40})
    words = {i: piece for piece, i in reread.get_vocab().items()}
    for name, texts in expected.items():
        rows = np.split(bags.ids[name], bags.offsets[name][1:-1])
        assert ["".join(words[i] for i in row).replace("▁", " ").strip() for row in rows] == texts


def test_what_a_word_is_before_normalisation_is_pythons() -> None:
    known = [c for c in map(chr, range(0x20, 0x10000)) if unicodedata.category(c) not in ("Cn", "Cs")]
    find = train_tokenizer(["a"], 100, words_first=True).normalizer.normalize_str
    assert [c for c in known if find(c)] == [c for c in known if re.match(r"\w", c)]


def test_the_default_reads_as_it_always_did() -> None:
    tokenizer = train_tokenizer(["balancestm pen"] * 3, 500)
    assert tokenizer.encode("Balances™ pen").tokens == ["▁balancestm", "▁pen"]
    assert token_bags(WORDS[["brand"]], tokenizer, {"brand": 8}).ids["brand"][0] == 0
