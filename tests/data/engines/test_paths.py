"""A path means itself, whatever it holds: to engines that take paths for patterns, and in the SQL they are put into."""

import shutil
from pathlib import Path
from typing import Any

import ibis
import pandas as pd
import pytest

from srtlib.data.amazon.sources import prepare
from srtlib.data.engines.duckdb import DuckDB
from srtlib.data.importing import import_data
from srtlib.data.loading import load_dataset
from srtlib.data.statistics import describe

ODD = {  # name -> another that it would match as a pattern
    "odd[1]": "odd1",
    "a*": "ab",
    "q?": "qx",
    "**": "deep",
    "[!x]": "y",
    "{a,b}": "a",
    "it's": "its",
    'say "it\'s"': "say its",
    "back\\slash": "back",
    "no\u00a0break": "no break",
    "seed=7": "seed",  # no pattern, but a column to who looks for partitions
    "100%": "100",
}


@pytest.fixture(params=ODD)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An odd folder, with its tempter beside it."""
    (tmp_path / ODD[request.param]).mkdir()
    (tmp_path / request.param).mkdir()
    return tmp_path / request.param


def tempter(folder: Path) -> Path:
    return folder.with_name(ODD[folder.name])


def test_an_engine_reads_and_writes_where_it_was_told(folder: Path, tmp_path: Path) -> None:
    engine = DuckDB(folder / "scratch", "500MB", 1)
    try:
        for place, value in ((tempter(folder), 1), (folder, 2)):
            (place / "ratings.csv").write_text(f"item,user,{value},{value}\n")
            engine.write(ibis.memtable({"x": [value]}), place / "table.parquet")
        assert engine.ratings(folder / "ratings.csv").rating.to_pandas().tolist() == ["2"]
        found = engine.parquet(folder / "table.parquet").to_pandas()
        assert found.to_dict("list") == {"x": [2]}
        assert pd.read_parquet(tempter(folder) / "table.parquet")["x"].tolist() == [1]
    finally:
        engine.close()
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.parquet")}
    assert written == {Path(place.name) / "table.parquet" for place in (folder, tempter(folder))}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_an_import_reads_its_own_files(
    suffix: str, tmp_path: Path, tables: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "odd[1] it's q?"
    monkeypatch.setenv("SRT_HOME", str(folder / "home"))
    write: dict[str, Any] = {
        "csv": lambda table, path: table.to_csv(path, index=False),
        "parquet": lambda table, path: table.to_parquet(path),
        "jsonl": lambda table, path: table.to_json(path, orient="records", lines=True),
    }
    log, items = tables
    for place, rows in (("odd1 it's qx", log.head(30).assign(user_id="other")), (folder.name, log)):
        (tmp_path / place).mkdir()
        for name in ("log*", "logs"):
            write[suffix](rows, tmp_path / place / f"{name}.{suffix}")
        write[suffix](items, tmp_path / place / f"items.{suffix}")
    made = import_data(folder / f"log*.{suffix}", folder / f"items.{suffix}", name="mine")
    assert load_dataset("mine").n_interactions == len(log)
    assert describe(made)[0].set_index("statistic").loc["users", "value"] == log["user_id"].nunique()
    with pytest.raises(FileNotFoundError, match=r"log\?\?"):
        import_data(folder / f"log??.{suffix}", folder / f"items.{suffix}", name="other")


@pytest.mark.filterwarnings("ignore:the ratings of users who may be sampled")
def test_a_preparation_reads_its_own_files(
    tmp_path: Path, write_raw: Any, world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "odd[1] it's ** q?"
    monkeypatch.setenv("SRT_HOME", str(folder / "home"))
    write_raw(folder / "raw", **world)
    shutil.copytree(folder / "raw", tmp_path / "odd1 it's deep qx" / "raw")
    steps = ("items", "transfer", "users", "samples")
    table = prepare(folder / "raw", steps, sizes={"1K": 1_000}, threads=1, memory="500MB", name=folder.name)
    counts = table.set_index(["set", "statistic"])["value"].map(float)
    assert counts["pipeline", "ratings"] == len(world["ratings"])
    assert load_dataset(f"{folder.name}-1K").n_interactions == counts[f"{folder.name}-1K", "interactions"]


def test_a_path_that_no_pattern_stands_for_is_said(tmp_path: Path) -> None:
    engine = DuckDB(tmp_path / "scratch", "500MB", 1)
    with pytest.raises(ValueError, match=r"both a backslash and one of \*"):
        engine.parquet(tmp_path / "a\\b*")
    engine.close()
