"""DuckDB inside this process: the default engine, in bounded memory."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import duckdb
import ibis
from ibis.backends.duckdb import Backend
from ibis.expr.types import IntegerValue, StringValue, StructValue, Table

from srtlib.data.engines.expressions import RATING, from_json
from srtlib.data.engines.lines import numbered_lines

SHOWN = 10  # bad lines that are shown
MOST_REJECTS = 1_000_000  # more bad lines than this are not even counted


def literal(path: Path) -> str:
    """A path as a pattern that stands for itself alone: DuckDB reads paths as patterns, which may match other files.

    Read it with hive_partitioning=False, too: else a folder called "seed=0" becomes a column. Raises ValueError for the
    rare path that no pattern stands for.

    >>> literal(Path("odd[1]/a*.csv"))
    'odd[[]1]/a[*].csv'
    """
    pattern = re.sub(r"[*?\[]", r"[\g<0>]", path.as_posix())
    if "\\" in pattern and "[" in pattern:  # a pattern's backslashes are slashes
        raise ValueError(f"{path} has both a backslash and one of *, ? and [, which DuckDB cannot read; rename it")
    return pattern


def write_parquet(connection: Backend, table: Table, path: Path) -> None:
    """Write an expression's rows, in its order if it has one; Ibis's own `to_parquet` misspells some paths."""
    connection._run_pre_execute_hooks(table)  # makes known to DuckDB what Python does
    target = str(path).replace("'", "''")
    connection.raw_sql(f"COPY ({connection.compile(table)}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


class DuckDB:
    """DuckDB inside this process."""

    def __init__(self, scratch: Path, memory: str, threads: int, master: str | None = None) -> None:
        if master is not None:
            raise ValueError(f"engine duckdb runs in this process and has no cluster {master}; expected engine spark")
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
            literal(path), header=False, auto_detect=False, delim=",", quote="", escape="", ignore_errors=True,
            store_rejects=True, rejects_limit=MOST_REJECTS, hive_partitioning=False,
            columns=dict.fromkeys(RATING, "VARCHAR"),
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
        return _or_null(from_json(line, json.dumps(structure), types))

    @staticmethod
    def number(digits: StringValue) -> IntegerValue:
        return (ibis.literal("0x") + digits).cast("int64")

    def parquet(self, path: Path) -> Table:
        return self._connection.read_parquet(literal(path), hive_partitioning=False)

    def write(self, table: Table, path: Path) -> None:
        try:
            write_parquet(self._connection, table, path)
        except duckdb.Error as error:
            raise ValueError(_first_line(error)) from None

    def close(self) -> None:
        self._connection.disconnect()


def _or_null(value: StructValue) -> StructValue:
    """DuckDB's null in place of an error."""

    @ibis.udf.scalar.builtin(name="try", signature=((value.type(),), value.type()))
    def attempt(value):  # type: ignore[no-untyped-def]
        """The engine's."""

    return attempt(value)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
