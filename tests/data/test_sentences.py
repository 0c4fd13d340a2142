"""Sentence vectors: those of the library that makes them, once each."""

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib.data import sentences
from srtlib.data.sentences import item_texts, sentence_vectors, text_model_folder, text_model_sha256
from srtlib.paths import home

transformers = pytest.importorskip("sentence_transformers")
TEXTS = ["Red pen. Acme", "", "Blue ink", "Red pen. Acme", "a much longer text about a desk lamp " * 20, "Füller ™ 笔"]


def test_they_are_the_librarys_own() -> None:
    expected = transformers.SentenceTransformer(str(text_model_folder("all-MiniLM-L6-v2")), device="cpu").encode(TEXTS)
    assert sentence_vectors(TEXTS, progress_bar=False) == pytest.approx(expected, abs=1e-5)


def test_a_text_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sentence_vectors([*TEXTS, "one more"], progress_bar=False)
    asked: list[str] = []
    encode = sentences._encode

    def spy(texts: list[str], text_model: str) -> np.ndarray:
        asked.extend(texts)
        return encode(texts, text_model)

    monkeypatch.setattr(sentences, "_encode", spy)
    again = sentence_vectors(["new here", "one more", *TEXTS], progress_bar=False)
    assert asked == ["new here"]
    assert np.array_equal(again[2:], first[:-1])
    assert np.array_equal(again[1], first[-1])


def test_no_text_at_all() -> None:
    assert sentence_vectors([], progress_bar=False).shape[0] == 0


def test_a_kill_loses_no_more_than_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text number {i}" for i in range(6)]
    encode, calls = sentences._encode, []

    def dies(texts: list[str], text_model: str) -> np.ndarray:
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(texts, text_model)

    monkeypatch.setattr(sentences, "AT_A_TIME", 2)
    monkeypatch.setattr(sentences, "_encode", dies)
    with pytest.raises(KeyboardInterrupt):
        sentence_vectors(texts, progress_bar=False)
    sentence_vectors(texts, progress_bar=False)
    assert calls == [2, 2, 2, 2]


@pytest.mark.parametrize("damage", ["not a database", "a vector cut short"])
def test_damaged_vectors_are_made_again(damage: str) -> None:
    expected = sentence_vectors(TEXTS, progress_bar=False)
    place = home() / "cache" / "sentences" / f"{text_model_sha256('all-MiniLM-L6-v2')[:16]}.sqlite"
    if damage == "not a database":
        place.write_bytes(b"x" * 5000)
    else:
        with sqlite3.connect(place) as store:
            store.execute("UPDATE vectors SET vector = substr(vector, 1, 100)")
        store.close()
    assert sentence_vectors(TEXTS, progress_bar=False) == pytest.approx(expected, abs=1e-6)


def test_vectors_that_another_process_writes_are_not_taken_for_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence_vectors(TEXTS, progress_bar=False)
    place = home() / "cache" / "sentences" / f"{text_model_sha256('all-MiniLM-L6-v2')[:16]}.sqlite"
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.1))
    other = connect(place)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sentence_vectors(TEXTS, progress_bar=False)
    other.close()
    assert place.is_file()


def test_texts_of_items() -> None:
    table = pd.DataFrame({"title": [" Red pen ", "Ink"], "brand": ["", "Acme"], "categories": ["A > B", ""]})
    assert item_texts(table) == ["Red pen. A > B", "Ink. Acme"]
    assert item_texts(table[["title"]]) == ["Red pen", "Ink"]


def test_a_folder_is_a_text_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"text model '.*nowhere': no such folder, and the hub gave none"):
        text_model_folder(str(tmp_path / "nowhere"))
    folder = text_model_folder("all-MiniLM-L6-v2")
    assert text_model_folder(str(folder)) == folder
