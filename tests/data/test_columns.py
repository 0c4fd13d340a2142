"""Ids and text arrive as they are written, times keep their order, whatever type their column has."""

from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest

from srtlib.data.columns import as_ids, as_numbers, as_text, as_times, check_items
from srtlib.data.reading import read_table

LISTS = {  # a cell of categories as it stands in a CSV file -> what it becomes
    "['Beauty', 'Hands']": "Beauty > Hands",
    '["Beauty", "Hands"]': "Beauty > Hands",
    """["Women's", 'say "hi"']""": """Women's > say "hi\"""",
    " [ 'Beauty' ] ": "Beauty",
    "[]": "",
    "[['Beauty', 'Hair'], ['Home']]": "Beauty > Hair, Home",
    '["Caf\\u00e9", "a\\/b"]': "Café > a/b",
    "['a, b', 'c']": "a, b > c",
    "['Beauty' 'Hands']": "['Beauty' 'Hands']",  # numpy's, which Python would read as one string
    "['Beauty', 3]": "['Beauty', 3]",
    "['Beauty', None]": "['Beauty', None]",
    "[Beauty, Hands]": "[Beauty, Hands]",
    "['Beauty', 'Hands'": "['Beauty', 'Hands'",
    "['Beauty'], ['Hands']": "['Beauty'], ['Hands']",
    "['a\\d']": "['a\\d']",
    "[NEW] Beauty": "[NEW] Beauty",
    "Beauty > Hands": "Beauty > Hands",
    "": "",
}

GUID = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A10"


def column(values: Any, dtype: Any = None) -> pd.Series:
    return pd.Series(values, dtype=dtype, name="item_id")


@pytest.mark.parametrize("dtype", [object, "str", "category"])
def test_a_list_of_categories_in_a_cell_of_text(dtype: str) -> None:
    cells = pd.Series(list(LISTS), dtype=dtype)
    items = pd.DataFrame({"item_id": range(len(cells)), "title": cells, "categories": cells})
    found = check_items(items)
    assert found["categories"].tolist() == list(LISTS.values())
    assert found["title"].tolist() == list(LISTS)  # a title in brackets is one


def test_lists_of_categories_are_paths_however_they_come(tmp_path: Path) -> None:
    """What pandas writes as CSV is read as what it writes as Parquet and as JSON lines."""
    paths = [["Beauty", "Hands"], ["Women's"], [], ['"a, b"', "c"]]
    items = pd.DataFrame({"item_id": list("abcd"), "title": "x", "categories": paths})
    items.to_csv(tmp_path / "items.csv", index=False)
    items.to_parquet(tmp_path / "items.parquet")
    items.to_json(tmp_path / "items.jsonl", orient="records", lines=True)
    for path in tmp_path.iterdir():
        found = check_items(read_table(path))["categories"].tolist()
        assert found == ["Beauty > Hands", "Women's", "", '"a, b" > c']


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (column([GUID, "007", "NA", "null", "1e5", " x "]), [GUID, "007", "NA", "null", "1e5", " x "]),
        (column([12, "DE", 12.0, np.int64(3), True], object), ["12", "DE", "12", "3", "true"]),
        (column([101, 7]), ["101", "7"]),
        (column([101.0, 7.0]), ["101", "7"]),
        (column([2**60 + 1]), [str(2**60 + 1)]),
        (column([2**64 - 1], "uint64"), [str(2**64 - 1)]),
        (column([101, 7], "Int64"), ["101", "7"]),
        (column([101, 7], "int64[pyarrow]"), ["101", "7"]),
        (column(["a", "b"], "string"), ["a", "b"]),
        (column(["a", "b"], "string[pyarrow]"), ["a", "b"]),
        (column(["b", "a", "b"], "category"), ["b", "a", "b"]),
        (column([3, 1, 3], "category"), ["3", "1", "3"]),
        (column([b"x", "caf\u00e9".encode(), b"\xe9"], object), ["x", "café", "\\xe9"]),
        (column([Decimal("7"), Decimal("1.50"), Decimal("1E+3")]), ["7", "1.50", "1000"]),
        (column([UUID(GUID)]), [GUID.lower()]),
    ],
)
def test_ids_of_any_type(values: pd.Series, expected: list[str]) -> None:
    assert as_ids(values, "items").tolist() == expected


@pytest.mark.parametrize(
    "values",
    [
        column([101, None, 7], object),
        column([101, None, 7]),
        column([101, None, 7], "Int64"),
        column([101, None, 7], "int64[pyarrow]"),
        column(["101", None, "7"]),
        column(["101", "", "7"]),
        column(["101", None, "7"], "category"),
        column([101, None, 7], "category"),
        column([101, pd.NA, 7], object),
    ],
)
def test_a_missing_id_is_named_and_leaves_its_neighbours_whole(values: pd.Series) -> None:
    with pytest.raises(
        ValueError, match=r"^log: row 2: item_id is missing \(1 of 3 rows\); expected one in every row$"
    ):
        as_ids(values, "log")
    assert as_ids(values, "log", may_be_missing=True).tolist() == ["101", "", "7"]


@pytest.mark.parametrize("value", [["a"], {"$oid": "a"}, ("a", "b"), np.array(["a"])])
def test_an_id_is_no_list_and_no_object(value: Any) -> None:
    values = pd.Series(["x", "y"], dtype=object, name="user_id")
    values[1] = value
    with pytest.raises(ValueError, match=r"log: row 2: user_id .* is a list or an object .* expected text or a number"):
        as_ids(values, "log")


@pytest.mark.parametrize(("value", "fault"), [("x" * 1001, "is too long"), ("x\0", "has a zero byte")])
def test_an_id_that_no_array_can_hold_is_refused(value: str, fault: str) -> None:
    assert as_ids(column(["a", "x" * 1000]), "log").str.len().tolist() == [1, 1000]
    with pytest.raises(ValueError, match=f"log: row 2: item_id 'x.*{fault}"):
        as_ids(column(["a", value]), "log")


def test_half_a_surrogate_pair_is_spelt_out() -> None:
    assert as_text(column(["\ud800", "\ud801é", "\U0001f600"], object)).tolist() == [
        r"\ud800",
        r"\ud801é",
        "\U0001f600",
    ]


def test_text_of_any_type() -> None:
    nested = [["Office", "Ink"], ["Art", "Ink"]]
    values = [
        ("09", "09"),
        (None, ""),
        (np.nan, ""),
        (pd.NaT, ""),
        (["Ink", "a"], "Ink a"),
        (np.array(["Ink", "a"]), "Ink a"),
        (("Ink", None, "a"), "Ink a"),
        ([], ""),
        (nested, "Office > Ink, Art > Ink"),
        (np.array([np.array(path, object) for path in nested], object), "Office > Ink, Art > Ink"),
        ({"name": "Acme", "id": "3"}, "Acme"),
        ({"en": "Pen", "de": "Stift"}, "Pen Stift"),
        ([{"name": "Acme"}, {"name": "Best"}], "Acme Best"),
        (9, "9"),
        (9.5, "9.5"),
        (Decimal("9.50"), "9.50"),
    ]
    found = as_text(pd.Series([value for value, _ in values], dtype=object))
    assert found.tolist() == [text for _, text in values]
    assert as_text(pd.Series(["x", None, "y"], dtype="category")).tolist() == ["x", "", "y"]
    assert as_text(pd.Series([9, None], dtype="Int64")).tolist() == ["9", ""]


def test_items_are_text_without_guesses() -> None:
    items = check_items(pd.DataFrame({"item_id": [1, 2], "title": ["007", ["a", "b"]], "brand": [9.0, None]}))
    assert items[["item_id", "title", "brand"]].to_numpy().tolist() == [["1", "007", "9"], ["2", "a b", ""]]


def times(values: Any, dtype: Any = None, date_format: str | None = None) -> list[float]:
    return as_times(pd.Series(values, dtype=dtype, name="timestamp"), "log", date_format).tolist()


def test_numbers_are_times_as_they_are() -> None:
    assert times([3, 1]) == [3, 1]
    assert times([3, 1], "Int64") == [3, 1]
    assert times(["3", " 1 ", "+2"]) == [3, 1, 2]
    assert times(["3", "1.5", "1e3"]) == [3.0, 1.5, 1000.0]
    assert times([Decimal("3.5")]) == [3.5]
    late = 1_700_000_000_000_000_000
    assert times([late, late + 10]) == times([str(late), str(late + 10)]) == [late, late + 10]
    finer = times(["1700000000.000000010", "1700000000.000000020", "1700000000"])
    assert finer == [late + 10, late + 20, late]


def test_dates_become_seconds() -> None:
    day = 1_704_067_200  # 2024-01-01
    assert times(["2024-01-01", "2024-01-02T00:00:10Z", "2024-01-02 01:00:10+01:00"]) == [
        day,
        day + 86_410,
        day + 86_410,
    ]
    written = "2024-01-01T10:15:30Z 2024-01-01T11:15:30+01:00 20240101T101530 2024-01-01T10:15:30 2024-01-01T10:15"
    assert times(written.split()) == [day + 36_930] * 4 + [day + 36_900]
    assert times(["2024-01", "2024-01-01T10", "2024/01/01"]) == [day, day + 36_000, day]
    assert times(pd.to_datetime(["2024-01-01"])) == times(pd.to_datetime(["2024-01-01"], utc=True)) == [day]
    assert times(["13/01/2024", "01/02/2024"]) == [day + 12 * 86_400, day + 31 * 86_400]
    assert times(["01/13/2024", "02/01/2024"]) == [day + 12 * 86_400, day + 31 * 86_400]
    assert times(["13.1.2024 10:00"]) == [day + 12 * 86_400 + 36_000]
    assert times(["01/02/2024"], date_format="%d/%m/%Y") == [day + 31 * 86_400]
    assert times([20240201], date_format="%Y%m%d") == [day + 31 * 86_400]
    assert times(["20240201"]) == [20_240_201]  # a number is a number first
    half = times(["2024-01-01 00:00:00.5", "2024-01-01 00:00:00.500000001"])
    assert half == [day * 10**9 + 500_000_000, day * 10**9 + 500_000_001]
    assert times(pd.to_datetime(["2024-01-01 00:00:00.5"])) == [day * 10**9 + 500_000_000]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, None], r"row 2: timestamp is missing \(1 of 2 rows\)"),
        (["1", ""], "row 2: timestamp is missing"),
        (pd.array([1, None], "Int64"), "row 2: timestamp is missing"),
        (pd.to_datetime(["2024-01-01", None]), "row 2: timestamp is missing"),
        (pd.to_datetime(["2024-01-01", None], utc=True), "row 2: timestamp is missing"),
        (pd.array(pd.to_datetime(["2024-01-01", None]), "timestamp[ns][pyarrow]"), "row 2: timestamp is missing"),
        ([1.0, np.inf], "row 2: timestamp 'inf' is not finite"),
        (["1", "-inf"], "row 2: timestamp '-inf' is not finite"),
        (["1", "Infinity"], "row 2: timestamp 'Infinity' is not finite"),
        (["1", "nan"], "row 2: timestamp 'nan' is not a number"),
        (["1", "May"], "row 2: timestamp 'May' is not a number"),
        (["2024-01-01", "May"], "row 2: timestamp 'May' is not a number or a date"),
        (["2024-01-01", "2024-02-30"], "row 2: timestamp '2024-02-30' is not a number or a date"),
        (["2024-01-01", "7"], "row 1: timestamp '2024-01-01' is not a number"),
        (["03/04/2024", "12/11/2024"], "row 1: timestamp '03/04/2024' is ambiguous: .* --date-format"),
        (["3.4.2024"], "row 1: timestamp '3.4.2024' is ambiguous"),
        (["31/13/2024", "13/31/2024"], "row 1: timestamp '31/13/2024' is not a number or a date"),
        (["13/01/24"], "row 1: timestamp '13/01/24' is not a number or a date"),
        (
            ["2024-01-01 10:00 UTC"],
            "row 1: .* is not a number or a date .* or the format of the dates, such as --date-f",
        ),
        *((["2024-01-01", word], f"row 2: timestamp '{word}' is not a number or a date") for word in ("now", "Today")),
        *(([word], f"row 1: timestamp '{word}' is not a number or a date") for word in ("now", "NaT", "May", "Mon")),
    ],
)
def test_what_is_no_time_is_named(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^log: {message}"):
        times(values)


def test_a_date_format_that_does_not_fit_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"row 2: timestamp '31/13/2024' is not a number or a date .* such as %d/%m/%Y"
    ):
        times(["13/01/2024", "31/13/2024"], date_format="%d/%m/%Y")


def test_numbers_that_may_be_missing() -> None:
    assert as_numbers(pd.Series(["4.5", None, 3], dtype=object, name="rating"), "log").fillna(-1).tolist() == [
        4.5,
        -1,
        3,
    ]
    with pytest.raises(ValueError, match="log: row 1: rating 'good' is not a number"):
        as_numbers(pd.Series(["good"], name="rating"), "log")


def test_dates_are_shown_as_they_are_written_and_named_by_their_column() -> None:
    dates = pd.Series(["25/12/2024 1:00 PM", "26/12/2024 1:00 PM"], name="timestamp")
    with pytest.raises(ValueError, match=r"^log: row 1: timestamp '25/12/2024 1:00 PM' is not a number or a date"):
        as_times(dates, "log")


@pytest.mark.parametrize("text", ["1500-01-01 00:00:00.5", "2400-01-01 00:00:00.5", "0001-01-01 00:00:00.001"])
def test_moments_that_no_count_of_nanoseconds_reaches_are_named(text: str) -> None:
    dates = pd.Series(["2024-01-01 00:00:00", text], name="timestamp")
    with pytest.raises(ValueError, match=rf"^log: row 2: timestamp '{text}' is too far away .*1678 to 2261"):
        as_times(dates, "log")


def test_a_word_for_today_is_no_date_of_any_format() -> None:
    with pytest.raises(ValueError, match=r"^log: row 2: timestamp 'today' is not a number or a date"):
        times(["13/01/2024", "today"], date_format="%d/%m/%Y")


@pytest.mark.parametrize("date_format", ["mixed", "ISO8601", "", "dd/mm/yyyy"])
def test_a_date_format_that_leaves_the_reader_to_guess_is_refused(date_format: str) -> None:
    with pytest.raises(ValueError, match=r"names no part of a date; expected one such as %d/%m/%Y$"):
        as_times(pd.Series(["01/02/2024"], name="timestamp"), "log", date_format)
