"""The official splits of Amazon Reviews 2023, as given: three files as one set, which leave-one-out or a split by time
divides so again.

- `last_out`: each user's last rating is the test, the one before it the validation. That is leave-one-out, where
  ratings of one time stand in the order of the files.
- `timestamp`: training is before the first of `CUTS`, validation before the second. That is a split by time.

Files that contradict their rule are refused. Of files with histories (`last_out_w_his`), which are what the user rated
before, the ratings are read alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ibis
from ibis import _

from srtlib.data.amazon.making import checked
from srtlib.data.columns import FILE_ORDER
from srtlib.data.engines import expressions
from srtlib.data.engines.engine import Engine
from srtlib.protocols import Cuts

PARTS = ("train", "valid", "test")
PLACE = "benchmark/5core/{split}/{category}.{part}.csv.gz"
MOMENTS = (1628643414042, 1658002729837)  # milliseconds since 1970
CUTS = Cuts(MOMENTS[0] / 1000, MOMENTS[1] / 1000, are_shares=False)
RULES = {
    "last_out": "the last rating of each user in test, the one before it in valid, and all others in train",
    "timestamp": f"ratings before {MOMENTS[0]} in train, before {MOMENTS[1]} in valid, and all others in test",
}


def check_split(split: str | None) -> None:
    """Raise ValueError for a split that is not known; None is none.

    Args:
        split: one of `RULES`.
    """
    if split is not None and split not in RULES:
        raise ValueError(f"split {split!r} is not known; expected one of {', '.join(RULES)}")


def places(category: str, split: str) -> list[str]:
    """Where the three files of a split lie among the public ones.

    Args:
        category: as the public files have it.
        split: one of `RULES`, or its folder with histories.

    >>> places("All_Beauty", "last_out")[2]
    'benchmark/5core/last_out/All_Beauty.test.csv.gz'
    """
    return [PLACE.format(split=split, category=category, part=part) for part in PARTS]


def ratings(
    engine: Engine, files: Sequence[Path], split: str, aside: Path, scratch: Path
) -> tuple[Any, dict[str, int]]:
    """The ratings of a split's files, and how many there are.

    Args:
        engine: that reads them.
        files: of training, validation and test.
        split: one of `RULES`.
        aside: the folder that the step fills.
        scratch: for what lies between.

    Returns:
        user_id, item_id, timestamp, rating and, for last_out, file_order; and the counts.

    Raises ValueError, in one line, for files that contradict the split.
    """
    tables, counts = [], {"ratings": 0, "ratings_unusable": 0}
    for place, (part, path) in enumerate(zip(PARTS, files, strict=True)):
        lines = expressions.rating_lines(engine.lines(path), expressions.HEADS_2023)
        expected = f"rows of {expressions.HEADS_2023[0]}"
        found, n = checked(engine, lines, path.name, expected, aside)
        kept = found.filter(_.usable).select("user_id", "item_id", "timestamp", "rating")
        engine.write(kept.mutate(**{FILE_ORDER: ibis.literal(place, "int64")}), scratch / f"{part}.parquet")
        tables.append(engine.parquet(scratch / f"{part}.parquet"))
        counts |= {"ratings": counts["ratings"] + n["lines"], f"ratings_{part}": n["kept"]}
        counts["ratings_unusable"] += n["bad"]
    table = ibis.union(*tables)
    _check(table, split, files)
    counts["ratings_kept"] = sum(counts[f"ratings_{part}"] for part in PARTS)
    return table if split == "last_out" else table.drop(FILE_ORDER), counts


def _check(table: Any, split: str, files: Sequence[Path]) -> None:
    wrong = (_out_of_turn if split == "last_out" else _out_of_time)(table)
    users = wrong.agg(n=_.user_id.nunique(), first=_.user_id.min()).to_pandas().iloc[0]
    if users["n"]:
        raise ValueError(
            f"{files[0]} and its fellows contradict the split {split} for {users['n']:,} users, {users['first']!r} "
            f"among them; expected {RULES[split]}"
        )


def _out_of_turn(table: Any) -> Any:
    """Users whose last two ratings are not those of validation and test."""
    trained, validated, tested = (table[FILE_ORDER] == place for place in range(len(PARTS)))
    users = table.group_by("user_id").agg(
        n_valid=validated.sum(),
        n_test=tested.sum(),
        trained=table.timestamp.max(where=trained),
        validated=table.timestamp.max(where=validated),
        tested=table.timestamp.max(where=tested),
    )
    return users.filter(
        (_.n_valid != 1) | (_.n_test != 1) | (_.trained > _.validated).fill_null(False) | (_.validated > _.tested)
    )


def _out_of_time(table: Any) -> Any:
    """Ratings that do not lie in the part of their time."""
    part = sum((table.timestamp >= moment).cast("int64") for moment in MOMENTS)
    return table.filter(table[FILE_ORDER] != part)
