"""What the steps of a preparation share: folders that are made whole or not at all, tables that are checked, counts."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ibis import _

from srtlib.data.engines.duckdb import SHOWN
from srtlib.data.engines.engine import Engine
from srtlib.data.statistics import table_statistics
from srtlib.paths import make_folder, write_text

MOST_BAD = 0.001  # share of unusable lines above which a file is refused
VERSION = 1  # of what the steps make
ORIGIN, COUNTS, STORED = "origin.json", "statistics.csv", "stored.parquet"
END = 1 << 20  # bytes of a raw file's ends that tell it from another


def fingerprint(path: Path) -> str:
    """Size and a hash of both ends: enough to tell another file, at once for any size."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        digest = hashlib.sha256(stream.read(END))
        stream.seek(max(size - END, 0))
        digest.update(stream.read(END))
    return f"{size} bytes, {digest.hexdigest()[:16]}"


def is_made(folder: Path, origin: Mapping[str, Any], replace: bool) -> bool:
    """Whether the folder is there with that origin; one of another origin is removed, or refused.

    Args:
        folder: to look at.
        origin: what it must have been made from.
        replace: remove one that was made from something else.

    Raises ValueError where it was, and is not to be replaced.
    """
    if not folder.is_dir():
        return False
    note = folder / ORIGIN
    if note.is_file() and note.read_text(encoding="utf-8") == _as_text(origin):
        return True
    if not replace:
        raise ValueError(f"{folder} was made from other files or with another seed; move it away, then prepare again")
    shutil.rmtree(folder)
    return False


def make(folder: Path, origin: Mapping[str, Any], fill: Callable[[Path], object], replace: bool = True) -> None:
    """Make a folder, with a note of what it was made from, unless it is there.

    Args:
        folder: to make.
        origin: what it is made from.
        fill: writes into the folder aside that it is given.
        replace: remove one that was made from something else, which is refused otherwise.
    """

    def fill_and_note(aside: Path) -> None:
        fill(aside)
        (aside / STORED).unlink(missing_ok=True)
        (aside / ORIGIN).write_text(_as_text(origin), encoding="utf-8")

    if not is_made(folder, origin, replace):
        make_folder(folder, fill_and_note)


def _as_text(origin: Mapping[str, Any]) -> str:
    return json.dumps({"version": VERSION, **origin}, indent=1)


def stored(engine: Engine, table: Any, aside: Path) -> Any:
    """The table, computed once and kept until its step ends, or the next is stored.

    Args:
        engine: that computes it.
        table: the expression.
        aside: the folder that the step fills.
    """
    engine.write(table, aside / STORED)
    return engine.parquet(aside / STORED)


def checked(engine: Engine, parsed: Any, file: str, expected: str, aside: Path) -> tuple[Any, dict[str, int]]:
    """What was parsed of a file's lines, stored; and how many lines there are, are bad, and are kept.

    Args:
        engine: that reads the file.
        parsed: a row per line, with `usable`, and `bad`: the beginning of a line that is not as expected.
        file: its name, for errors.
        expected: what its lines are.
        aside: the folder that the step fills.

    Raises ValueError where too many lines are bad.
    """
    table = stored(engine, parsed, aside)
    found = first_row(table.agg(lines=_.count(), bad=_.bad.count(), kept=_.usable.sum()))
    examples = table.filter(_.bad.notnull()).limit(SHOWN).bad.to_pandas()
    check_bad(file, expected, found["bad"], found["lines"], examples)
    return table, found


def first_row(table: Any) -> dict[str, int]:
    """The whole numbers of a table of one row, by column; nulls are 0."""
    row = table.to_pandas().iloc[0]
    return {name: 0 if pd.isna(value) else int(value) for name, value in row.items()}


def describe(engine: Engine, folder: Path) -> None:
    """Count what a data set's folder holds, and write that there.

    Args:
        engine: that counts.
        folder: with both tables.
    """
    tables = (engine.parquet(folder / f"{stem}.parquet") for stem in ("interactions", "items"))
    counts, distributions = table_statistics(*tables)
    write_counts(folder, counts)
    distributions.to_csv(folder / "distributions.csv", index=False)


def write_counts(folder: Path, counts: pd.DataFrame) -> None:
    """Write statistics.csv.

    Args:
        folder: to write to.
        counts: statistic, value.
    """
    write_text(folder / COUNTS, counts.to_csv(index=False))


def check_bad(file: str, expected: str, bad: int, total: int, examples: Iterable[str]) -> None:
    """Refuse a file in which too many lines are bad; say so where some are.

    Args:
        file: its name.
        expected: what its lines are.
        bad: how many are not.
        total: how many there are.
        examples: beginnings of bad lines; may be none.

    Raises ValueError above `MOST_BAD` of the lines.
    """
    if not bad:
        return
    shown = "; ".join(repr(str(line)[:80]) for line in list(examples)[:SHOWN])
    message = f"{file}: {bad:,} of {total:,} lines are not {expected}" + (f": {shown}" if shown else "")
    if bad > MOST_BAD * total:
        raise ValueError(f"{message}; expected at most {MOST_BAD:.1%} of such lines")
    warnings.warn(f"{message}; left out", stacklevel=4)
