"""Histories in files and tables of every kind read as the ids that they were written with."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from srtlib.data.reading import read_table
from srtlib.serving.histories import read_histories, read_ids

CATALOGUE = pd.Index(["i1", "101", "null", "007", "A0EEBC99"])


@pytest.mark.parametrize(
    ("name", "separator", "pack"),
    [("h.csv", ",", bytes), ("h.CSV", ",", bytes), ("h.tsv", "\t", bytes), ("h.csv.gz", ",", gzip.compress)],
)
def test_files_of_histories(tmp_path: Path, name: str, separator: str, pack: Callable[[bytes], bytes]) -> None:
    rows = [("user_id", "item_id"), ("NA", "null"), ("NA", "101"), ("bob", ""), ("NA", "007"), ("DE", "A0EEBC99")]
    (tmp_path / name).write_bytes(pack("".join(separator.join(row) + "\n" for row in rows).encode()))
    log = read_histories(read_table(tmp_path / name), CATALOGUE, strict=True)
    assert log.users.tolist() == ["NA", "bob", "DE"]
    assert (log.user.tolist(), log.item.tolist()) == ([0, 0, 0, 2], [2, 1, 3, 4])


@pytest.mark.parametrize(
    "items",
    [
        [101, None],
        [101.0, None],
        pd.array([101, None], "Int64"),
        pd.array([101, None], "int64[pyarrow]"),
        pd.Categorical([101, None]),
        pd.Series([b"101", None], dtype=object),
    ],
)
def test_integers_beside_a_user_without_an_item(items: Any) -> None:
    log = read_histories(pd.DataFrame({"user_id": ["ann", "bob"], "item_id": items}), CATALOGUE, strict=True)
    assert (log.users.tolist(), log.item.tolist()) == (["ann", "bob"], [1])
    assert read_ids([101, 101.0, "007", b"i1"], "it") == ["101", "101", "007", "i1"]


def test_times_order_a_history_and_may_be_missing_where_nothing_was_taken() -> None:
    late = 1_700_000_000_000_000_000
    table = pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["i1", "101", ""], "timestamp": [late + 9, late, ""]})
    assert read_histories(table.astype(str), CATALOGUE, strict=True).item.tolist() == [1, 0]
    for time, fault in (("", "is missing"), ("inf", "is not finite"), ("May", "is not a number")):
        with pytest.raises(ValueError, match=rf"histories: row 2: timestamp .*{fault}"):
            read_histories(table.astype(str).assign(timestamp=["1", time, ""]), CATALOGUE, strict=True)


@pytest.mark.parametrize("histories", [{1: ["i1"], "1": ["101"]}, {2: [], 2.5: [], b"2": ["i1"]}])
def test_two_users_who_are_one_as_text_are_refused(histories: dict[Any, list[str]]) -> None:
    with pytest.raises(ValueError, match=r"histories: two users are '[12]' as text; expected one history for each"):
        read_histories(histories, CATALOGUE, strict=True)
