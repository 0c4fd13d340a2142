"""DuckDB inside this process: the default engine, in bounded memory."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import ibis
import pyarrow as pa
from ibis.expr.types import IntegerValue, StringValue, StructValue, Table

from srtlib.data.engines.expressions import RATING, from_json
from srtlib.data.engines.lines import SCHEMA, check_rows, numbered_lines

SHOWN = 10  # bad lines that are shown
MOST_REJECTS = 1_000_000  # more bad lines than this are not even counted


def _literal(path: Path) -> str:
    """A path as a pattern that stands for itself alone: DuckDB reads paths as patterns, which may match other files.

    Read it with hive_partitioning=False, too: else a folder called "seed=0" becomes a column. Raises ValueError for the
    rare path that no pattern stands for.

    >>> _literal(Path("odd[1]/a*.csv"))
    'odd[[]1]/a[*].csv'
    """
    pattern = re.sub(r"[*?\[]", r"[\g<0>]", path.as_posix())
    if "\\" in pattern and "[" in pattern:  # a pattern's backslashes are slashes
        raise ValueError(f"{path} has both a backslash and one of *, ? and [, which DuckDB cannot read; rename it")
    return pattern


class DuckDB:
    """DuckDB inside this process.

    Args:
        scratch: a folder for what does not fit into memory.
        memory: that it may hold, such as 4GB.
        threads: of this machine.
        master: the URL of a cluster, which it has none of.

    Raises ValueError for a cluster, and for a memory that DuckDB does not understand.
    """

    def __init__(self, scratch: Path, memory: str, threads: int, master: str | None = None) -> None:
        self._bad_file: ValueError | None = None
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
        check_rows(path)
        return self._connection.read_csv(
            _literal(path), header=False, auto_detect=False, delim=",", quote="", escape="", ignore_errors=True,
            store_rejects=True, rejects_limit=MOST_REJECTS, hive_partitioning=False,
            columns=dict.fromkeys(RATING, "VARCHAR"),
        )  # fmt: skip

    def rejected(self) -> tuple[int, list[str]]:
        query = "SELECT DISTINCT line, trim(csv_line, chr(10)) FROM reject_errors ORDER BY line"
        rows = self._connection.con.execute(query).fetchall()
        return len(rows), [text for _, text in rows[:SHOWN]]

    def lines(self, path: Path) -> Table:
        name = ibis.util.gen_name("lines")
        self._connection.con.register(name, pa.RecordBatchReader.from_batches(SCHEMA, self._watched(path)))
        return self._connection.table(name)

    def _watched(self, path: Path) -> Iterator[pa.RecordBatch]:
        """Lines, and what is wrong with them in its own words, which DuckDB would bury."""
        try:
            yield from numbered_lines(path)
        except ValueError as error:
            self._bad_file = error
            raise

    def fields(self, line: StringValue, types: Mapping[str, str]) -> StructValue:
        """`Engine.fields`, in DuckDB's words.

        Args:
            line: a JSON object.
            types: field -> `string` or `array<string>`.
        """
        structure = {name: ["VARCHAR"] if "array" in kind else "VARCHAR" for name, kind in types.items()}
        return _or_null(from_json(line, json.dumps(structure), types))

    @staticmethod
    def number(digits: StringValue) -> IntegerValue:
        return (ibis.literal("0x") + digits).cast("int64")

    def parquet(self, path: Path) -> Table:
        return self._connection.read_parquet(_literal(path), hive_partitioning=False)

    def write(self, table: Table, path: Path) -> None:
        """`Engine.write`, by DuckDB.

        Args:
            table: the expression to run.
            path: of the file.

        Raises ValueError, in one line, for what the engine cannot read or do.
        """
        target = str(path).replace("'", "''")
        try:
            self._connection._run_pre_execute_hooks(table)  # makes known to DuckDB what Python does
            query = self._connection.compile(table)  # Ibis's own to_parquet misspells paths with quotes or backslashes
            self._connection.raw_sql(f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
        except duckdb.Error as error:
            raise self._bad_file or ValueError(f"DuckDB: {_first_line(error)}") from None

    def interrupt(self) -> None:
        self._connection.con.interrupt()

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
