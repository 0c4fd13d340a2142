"""Anybody's interactions and items, from CSV, JSON lines or Parquet, as a data set of the library's one format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import ibis
from ibis import _
from ibis.backends.duckdb import Backend
from ibis.expr.types import Column, StringColumn, Table

from srtlib.data import pipeline
from srtlib.data.dataset import TEXT_FIELDS, load_dataset
from srtlib.data.engines import DuckDB
from srtlib.paths import home, make_folder

READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".parquet": "read_parquet",
}
COLUMNS = {"interactions": ("user_id", "item_id", "timestamp", "rating"), "items": ("item_id", *TEXT_FIELDS)}
OPTIONAL = ("rating", "brand", "categories")


def import_data(
    interactions: Path, items: Path, name: str, columns: Mapping[str, str] | None = None, seed: int = 0
) -> Path:
    """Make the data set `name` in the data home from two files, which may be gzipped; returns its folder.

    columns: our name -> the file's, where they differ (user_id, item_id, timestamp, rating; title, brand, categories).
    Times may be numbers or dates, which become seconds. Lists of categories are joined by " > ", HTML entities are
    resolved. Of several rows of an item the last wins.

    Raises FileExistsError when there is a data set of that name, ValueError for a file that cannot be used.
    """
    if (home() / name).exists():
        raise FileExistsError(f"{home() / name} is there already; choose another name, or move it away")
    connection = ibis.duckdb.connect()

    def fill(aside: Path) -> None:
        log = _chosen(_read(connection, interactions), "interactions", columns or {})
        log = log.mutate(
            user_id=_.user_id.cast("string"), item_id=_.item_id.cast("string"), timestamp=_seconds(log.timestamp)
        )
        catalogue = _chosen(_read(connection, items), "items", columns or {})
        texts = {field: pipeline.clean(_text(catalogue[field])) for field in catalogue.columns if field != "item_id"}
        catalogue = catalogue.mutate(item_id=_.item_id.cast("string"), **texts)
        frame = catalogue.to_pandas().drop_duplicates("item_id", keep="last")
        frame.to_parquet(aside / "items.parquet", index=False)
        rated = log if "rating" in log.columns else log.mutate(rating=ibis.null("float32"))
        ordered = pipeline.in_order(rated, seed, DuckDB.number).select(log.columns)
        connection.to_parquet(ordered, aside / "interactions.parquet", compression="zstd")
        load_dataset(aside)  # refuses, in one line, what cannot be used

    try:
        return make_folder(home() / name, fill)
    except ibis.backends.duckdb.duckdb.Error as error:
        raise ValueError(str(error).strip().splitlines()[0]) from None
    finally:
        connection.disconnect()


def _read(connection: Backend, path: Path) -> Table:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in READERS:
        raise ValueError(f"{path.name} is of no known kind; expected {', '.join(READERS)}, or the same with .gz")
    return getattr(connection, READERS[suffix])(path)


def _chosen(table: Table, kind: str, columns: Mapping[str, str]) -> Table:
    """The table's columns under our names; which ones there are is checked."""
    theirs = {ours: columns.get(ours, ours) for ours in COLUMNS[kind]}
    for ours, name in theirs.items():
        if name not in table.columns and (ours in columns or ours not in OPTIONAL):
            raise ValueError(f"{kind}: no column {name} for {ours}; found {', '.join(table.columns)}")
    return table.select(**{ours: table[name] for ours, name in theirs.items() if name in table.columns})


def _seconds(times: Column) -> Column:
    if times.type().is_date() or times.type().is_timestamp():
        return times.cast("timestamp").epoch_seconds()
    return times.cast("float64") if times.type().is_string() else times


def _text(column: Column) -> StringColumn:
    joined = column.cast("array<string>").join(" > ") if column.type().is_array() else column.cast("string")
    return joined.fill_null("")
