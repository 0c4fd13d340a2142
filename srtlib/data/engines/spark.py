"""Spark, on this machine or on a cluster."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import ibis
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from ibis.expr.types import IntegerValue, StringValue, StructValue, Table

from srtlib.data.engines.expressions import RATING, from_json
from srtlib.data.engines.lines import SCHEMA, check_rows, numbered_lines


class Spark:
    """Spark, on this machine or on a cluster; on a cluster, all paths must lie on a file system that it shares.

    Args:
        scratch: a folder for what does not fit into memory.
        memory: of the driver, such as 4GB.
        threads: of this machine, where there is no cluster.
        master: the URL of a cluster (default: this machine).

    Raises RuntimeError where PySpark or Java is missing.
    """

    def __init__(self, scratch: Path, memory: str, threads: int, master: str | None = None) -> None:
        if importlib.util.find_spec("pyspark") is None:
            raise RuntimeError("engine spark needs PySpark: pip install 'srtlib[spark]'")
        if not has_java():
            raise RuntimeError("engine spark needs Java 17 or 21 and finds none; install one, or set JAVA_HOME")
        from pyspark.sql import SparkSession

        self._scratch = scratch
        master = master or f"local[{threads}]"
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
        check_rows(path)
        bad = "bad_line"  # a column of its own: with a fifth for what is too much, Spark would hold every line for bad
        table = self._connection.read_csv(
            _literal(path), header=False, inferSchema=False, quote="", escape="", columnNameOfCorruptRecord=bad,
            schema=", ".join(f"{column} STRING" for column in (*RATING, bad)),
        )  # fmt: skip
        whole = table[bad].isnull() & ~(table.item_id + table.user_id).contains("\ufffd")
        return table.select(*(ibis.ifelse(whole, table[column], None).name(column) for column in RATING))

    def rejected(self) -> tuple[int, list[str]]:
        return 0, []  # they are null in the table

    def lines(self, path: Path) -> Table:
        aside = self._scratch / f"{ibis.util.gen_name('lines')}.parquet"
        with pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
            for batch in numbered_lines(path):
                writer.write_batch(batch)
        return self.parquet(aside)

    def fields(self, line: StringValue, types: Mapping[str, str]) -> StructValue:
        """`Engine.fields`, in Spark's words.

        Args:
            line: a JSON object.
            types: field -> `string` or `array<string>`.
        """
        return from_json(line, ", ".join(f"{name} {kind}" for name, kind in types.items()), types)

    @staticmethod
    def number(digits: StringValue) -> IntegerValue:
        return _conv(digits, 16, 10).cast("int64")

    def parquet(self, path: Path) -> Table:
        return self._connection.read_parquet(_literal(path))

    def write(self, table: Table, path: Path) -> None:
        """`Engine.write`, by Spark.

        Args:
            table: the expression to run.
            path: of the file.
        """
        parts = self._scratch / ibis.util.gen_name("parts")
        self._connection.to_parquet(table, parts)
        found = pads.dataset([str(part) for part in sorted(parts.glob("part-*.parquet"))])
        with pq.ParquetWriter(path, found.schema.remove_metadata(), compression="zstd") as writer:
            for batch in found.to_batches():
                writer.write_batch(batch.replace_schema_metadata())
        shutil.rmtree(parts)

    def interrupt(self) -> None:
        """PySpark does so itself."""

    def close(self) -> None:
        self._session.stop()


def _literal(path: Path) -> str:
    """A path as a pattern that stands for itself alone."""
    return re.sub(r"[*?\[\]{}\\]", r"\\\g<0>", str(path.absolute()))


@ibis.udf.scalar.builtin(name="conv", signature=(("string", "int64", "int64"), "string"))
def _conv(digits, base, to_base):  # type: ignore[no-untyped-def]
    """Spark's."""


def has_java() -> bool:
    """Whether there is a Java that Spark would find; it must be 17 or newer, and a whole one."""
    return bool(os.environ.get("JAVA_HOME") or shutil.which("java"))
