"""Whatever happens to files of the data home that can be made again, they are made again, right."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from srtlib.data.cache import MANIFEST, cached_folder
from srtlib.data.dataset import Dataset
from srtlib.data.loading import find_folder, load_dataset
from srtlib.data.text import dataset_bags, dataset_tokenizer

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "flip": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "flip at the beginning": lambda content: bytes([content[0] ^ 64]) + content[1:],
    "empty": lambda _: b"",
    "another type": lambda _: b"[3]",
    "nested": lambda _: b"[" * 100_000,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def every_file(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def check(root: Path, use: Callable[[], object]) -> None:
    """Whatever is done to any file below `root`, `use` returns the same and leaves every file as it was."""
    first = use()
    written = {path: path.read_bytes() for path in every_file(root)}
    assert {path.name for path in written} > {MANIFEST}
    for path, content in written.items():
        for name, damage in DAMAGES.items():
            path.write_bytes(damage(content))
            assert use() == first, f"{path.name}: {name}"
            assert {p: p.read_bytes() for p in every_file(root)} == written, f"{path.name}: {name}"
        path.unlink()
        assert use() == first, f"{path.name}: gone"
    (path.parent / "more").write_bytes(b"")
    assert use() == first
    assert set(every_file(root)) == set(written)


def test_cached_data_sets(home: Path, folder: str) -> None:
    def use() -> object:
        data = load_dataset(folder)
        return data.fingerprint, data.dropped, data.user_ids.tolist()

    check(home, use)


def test_cached_tokenizers(home: Path, dataset: Dataset) -> None:
    check(home, lambda: dataset_tokenizer(dataset, 200).to_str())


def test_cached_bags(home: Path, dataset: Dataset) -> None:
    tokenizer = dataset_tokenizer(dataset, 200)

    def use() -> object:
        bags = dataset_bags(dataset, tokenizer, {"title": 40, "brand": 8})
        return [[np.array(a).tolist() for a in part.values()] for part in (bags.ids, bags.offsets)]

    check(home / "cache" / "bags", use)


def test_synthetic_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srtlib.data.loading.SYNTHETIC_USERS", 50)

    def digests() -> list[str]:
        paths = (find_folder("synthetic") / f"{stem}.parquet" for stem in ("interactions", "items"))
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    first = digests()
    for path in every_file(home):
        path.write_bytes(path.read_bytes()[:-9])
    assert digests() == first


def test_a_folder_is_filled_once(home: Path) -> None:
    filled = []

    def fill(folder: Path) -> None:
        filled.append(folder)
        (folder / "x").write_text("1")

    assert cached_folder("kind", "key", fill) == cached_folder("kind", "key", fill) == home / "cache" / "kind" / "key"
    assert len(filled) == 1
