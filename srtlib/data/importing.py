"""Anybody's interactions and items, from CSV, JSON lines or Parquet, as a data set of the library's one format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import ibis
from ibis import _
from ibis.backends.duckdb import Backend
from ibis.expr.types import Column, StringColumn, Table

from srtlib.data.dataset import TEXT_FIELDS
from srtlib.data.engines import expressions
from srtlib.data.engines.duckdb import DuckDB, literal, write_parquet
from srtlib.data.loading import load_dataset
from srtlib.paths import home, make_folder, write_text

READERS = {
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".parquet": "read_parquet",
}
COLUMNS = {"interactions": ("user_id", "item_id", "timestamp", "rating"), "items": ("item_id", *TEXT_FIELDS)}
IMPORTED = "imported.json"  # in the folder of a data set: the hash of what it was made from
OPTIONAL = ("rating", "brand", "categories")


def import_data(
    interactions: Path | str,
    items: Path | str,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Path:
    """Make a data set in the data home from two files, which may be gzipped; returns its folder.

    name: of the data set; by default that of the interactions' file and a hash of the content. What was imported
    already is not imported again. columns: our name -> the file's, where they differ (user_id, item_id, timestamp,
    rating; title, brand, categories). Times may be numbers or dates, which become seconds. Lists of categories are
    joined by " > ", HTML entities are resolved. Of several rows of an item the last wins.

    Raises FileExistsError when there is another data set of that name, ValueError for a file that cannot be used.
    """
    interactions, items = Path(interactions), Path(items)
    digest = _digest((interactions, items), columns or {}, seed)
    folder = home() / (name or f"{interactions.name.partition('.')[0]}-{digest[:8]}")
    if folder.exists():
        if _imported(folder) == digest:
            return folder
        raise FileExistsError(f"{folder} is there already, of other content; choose another name, or move it away")
    connection = ibis.duckdb.connect()

    def fill(aside: Path) -> None:
        log = _chosen(_read(connection, interactions, columns or {}), "interactions", columns or {})
        log = log.mutate(
            user_id=_.user_id.cast("string"), item_id=_.item_id.cast("string"), timestamp=_seconds(log.timestamp)
        )
        catalogue = _chosen(_read(connection, items, columns or {}), "items", columns or {})
        texts = {field: expressions.clean(_text(catalogue[field])) for field in catalogue.columns if field != "item_id"}
        catalogue = catalogue.mutate(item_id=_.item_id.cast("string"), **texts)
        frame = catalogue.to_pandas().drop_duplicates("item_id", keep="last")
        frame.to_parquet(aside / "items.parquet", index=False)
        rated = log if "rating" in log.columns else log.mutate(rating=ibis.null("float32"))
        ordered = expressions.in_order(rated, seed, DuckDB.number).select(log.columns)
        write_parquet(connection, ordered, aside / "interactions.parquet")
        write_text(aside / IMPORTED, json.dumps({"sha256": digest}))
        load_dataset(aside)  # refuses, in one line, what cannot be used

    try:
        return make_folder(folder, fill)
    except ibis.backends.duckdb.duckdb.Error as error:
        raise ValueError(str(error).strip().splitlines()[0]) from None
    finally:
        connection.disconnect()


def _digest(files: Iterable[Path], columns: Mapping[str, str], seed: int) -> str:
    digest = hashlib.sha256(json.dumps([sorted(columns.items()), seed]).encode())
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there")
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _imported(folder: Path) -> str | None:
    """The content that the folder was imported from, if it was."""
    record = folder / IMPORTED
    return json.loads(record.read_text(encoding="utf-8"))["sha256"] if record.is_file() else None


def _read(connection: Backend, path: Path, columns: Mapping[str, str]) -> Table:
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in READERS:
        raise ValueError(f"{path.name} is of no known kind; expected {', '.join(READERS)}, or the same with .gz")
    read = getattr(connection, READERS[suffix])
    table = read(literal(path), hive_partitioning=False)
    if READERS[suffix] != "read_csv":
        return table
    ids = {columns.get(name, name) for name in ("user_id", "item_id")} & set(table.columns)
    return read(literal(path), hive_partitioning=False, types=dict.fromkeys(ids, "string"))  # 007 is not 7


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
