"""A signal ends the query that runs, at once and as what its handler raised."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pytest
from ibis.expr.types import Table

from srtlib.cli.entry import main
from srtlib.data.engines.duckdb import DuckDB
from srtlib.data.engines.engine import connect
from srtlib.data.engines.interrupts import interruptible
from srtlib.data.engines.lines import SCHEMA

MANY = 20_000  # batches of the file that a query would read to its end; it takes minutes


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[signal.Signals]:
    """A file without an end: the signal given first is sent while it is read; the list then has a row per batch."""
    seen: list[signal.Signals] = []

    def batches(_: Path) -> Iterator[pa.RecordBatch]:
        numbers, texts = pa.array(range(2_000)), pa.array(['{"asin": "B1", "title": "Pen &amp; ink"}'] * 2_000)
        for i in range(MANY):
            if i == 3:
                os.kill(os.getpid(), seen[0])
            seen.append(seen[0])
            yield pa.record_batch([numbers, texts], schema=SCHEMA)

    monkeypatch.setattr("srtlib.data.engines.duckdb.numbered_lines", batches)
    return seen


@pytest.mark.parametrize("threads", ["1", "2"])
def test_ctrl_c_in_a_query_of_the_command_line(
    threads: str,
    tmp_path: Path,
    read: list[signal.Signals],
    write_raw: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    before = signal.getsignal(signal.SIGINT)
    write_raw(tmp_path / "raw", [], [])
    read.append(signal.SIGINT)
    assert main(["data", "prepare", "amazon", "--raw", str(tmp_path / "raw"), "--threads", threads]) == 130
    assert len(read) < MANY / 10
    assert "interrupted" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "home" / "amazon").iterdir()] == [".lock"]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_a_data_set_is_described(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    calls: list[int] = []

    @ibis.udf.scalar.python
    def sends(value: int) -> int:
        calls.append(value)  # first: where the query runs on this thread, the signal is raised at once
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return value

    def endless(table: Table, column: str) -> Table:
        numbers = table.select(column).limit(1).mutate(value=ibis.range(MANY).unnest())
        return numbers.cross_join(numbers.select(other="value")).select(value=sends(ibis._.value + ibis._.other))

    monkeypatch.setattr("srtlib.data.statistics.distribution", endless)
    assert main(["data", "describe", "synthetic"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert 0 < len(calls) < MANY**2 / 10


def test_other_signals_end_a_query_as_their_handlers_say(tmp_path: Path, read: list[signal.Signals]) -> None:
    class StoppedError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StoppedError("by the cluster")

    before = signal.signal(signal.SIGTERM, stop)
    read.append(signal.SIGTERM)
    try:
        with (
            pytest.raises(StoppedError, match="by the cluster"),
            connect("duckdb", tmp_path / "s", "500MB", 2) as engine,
        ):
            engine.write(engine.lines(tmp_path), tmp_path / "out.parquet")
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(read) < MANY / 10


def test_errors_that_no_signal_made_stay_what_they_are(tmp_path: Path) -> None:
    engine = DuckDB(tmp_path / "scratch", "500MB", 1)
    with pytest.raises(ZeroDivisionError), interruptible(engine.interrupt):
        raise ZeroDivisionError
    engine.close()
