"""Hostile files end in one line that names them, before they fill memory or hours."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from srtlib.data.amazon.sources import prepare
from srtlib.data.engines import lines
from srtlib.data.engines.duckdb import DuckDB
from srtlib.data.engines.lines import check_rows, numbered_lines

TEXT = b'{"asin": "B1", "title": "Pen"}\n' * 9


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that small files reach."""
    for name, size in {
        "BLOCK": 1 << 12,
        "LONGEST": 1 << 15,
        "FREE": 1 << 16,
        "STEP": 1 << 14,
        "WINDOW": 1 << 10,
    }.items():
        monkeypatch.setattr(lines, name, size)


def zipped(data: bytes) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("meta.json", data)
    return file.getvalue()


def gzipped(data: bytes, times: int) -> bytes:
    for _ in range(times):
        data = gzip.compress(data)
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TEXT + b"x" * (1 << 16) + b"\n" + TEXT, "line 10 is longer than 32,768 bytes"),
        (b"x" * (1 << 16), "line 1 is longer than 32,768 bytes"),
        (b"\n" * (1 << 20), "unpacks to more than 100 times its size"),
        (TEXT * (1 << 15), "unpacks to more than 100 times its size"),
        (gzipped(TEXT, 3), "is gzipped more than 3 times"),
        (gzipped(b"\0" * (1 << 20), 2), "holds zero bytes; expected text in UTF-8"),
        (bz2.compress(TEXT), "holds bzip2; expected text"),
        (lzma.compress(TEXT), "holds xz; expected text"),
        (zipped(TEXT), "holds zip; expected text"),
        (TEXT.decode().encode("utf-16"), "holds zero bytes; expected text in UTF-8"),
    ],
)
def test_what_is_no_file_of_lines_is_named(small: None, tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "meta.json.gz"
    path.write_bytes(gzip.compress(data))
    with pytest.raises(ValueError, match=f"meta.json.gz.*{message}") as error:
        numbered_lines(path).read_all()
    assert "\n" not in str(error.value)


def test_long_lines_and_well_packed_files_within_the_limits_are_read(small: None, tmp_path: Path) -> None:
    path = tmp_path / "meta.json.gz"
    long = b"x" * (1 << 14)
    path.write_bytes(gzipped(TEXT + long + b"\n" + TEXT, 3))
    found = numbered_lines(path).read_all().to_pylist()
    assert [row["number"] for row in found] == [*range(1, 20)]
    assert found[9]["line"] == long.decode()


def test_a_file_of_wrong_layers_is_named_by_an_engine(tmp_path: Path) -> None:
    path = tmp_path / "meta.json.gz"
    path.write_bytes(gzip.compress(zipped(TEXT)))
    engine = DuckDB(tmp_path / "scratch", "500MB", 1)
    try:
        with pytest.raises(ValueError, match=r"^[^:]*meta.json.gz holds zip; expected text$"):
            engine.write(engine.lines(path), tmp_path / "out.parquet")
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda rows: rows * 900 + b"B1," + b"A" * (1 << 16) + b",5.0,1\n" + rows,
            "the line at byte .* is longer than",
        ),
        (lambda rows: rows + b"x" * (1 << 16), "the line at byte .* is longer than 1,024 bytes; expected rows"),
        (gzip.compress, "holds gzip; expected text"),
        (zipped, "holds zip; expected text"),
    ],
)
def test_ratings_that_an_engine_would_lose_unsaid_are_refused(
    small: None, tmp_path: Path, make: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "all_csv_files.csv"
    path.write_bytes(make(b"B1,A1,5.0,1\n" * 3))
    engine = DuckDB(tmp_path / "scratch", "500MB", 1)
    try:
        with pytest.raises(ValueError, match=rf"all_csv_files.csv:? {message}"):
            engine.ratings(path)
    finally:
        engine.close()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ratings_of_any_line_end_pass(small: None, tmp_path: Path, end: str) -> None:
    (tmp_path / "r.csv").write_bytes(f"B1,A1,5.0,1{end}".encode() * 9_000)
    check_rows(tmp_path / "r.csv")


@pytest.mark.filterwarnings("ignore:the ratings of users who may be sampled", "ignore:no reviews_Sports")
@pytest.mark.parametrize("deep", ["-" * 50_000 + "1", "1" + "+1" * 50_000, "[" * 50_000 + "]" * 50_000])
def test_a_literal_nested_without_end_is_a_bad_line_of_its_file(
    deep: str, tmp_path: Path, write_raw: Any, world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    raw = write_raw(tmp_path / "raw", **world)
    reviewed = world["reviews"]["Beauty"][0]["asin"]
    bad = f"{{'asin': '{reviewed}', 'title': {deep}}}\n"
    with gzip.open(raw / "meta_Beauty.json.gz", "at") as file:
        file.write(bad)
    with pytest.raises(ValueError, match=r"meta_Beauty.json.gz: 1 of \d+ lines are not Python literals of an item"):
        prepare(raw, ["transfer"], threads=1, memory="500MB")
