"""Whole columns, of whatever type they come, as ids, as text and as times; and the two tables that are made of them.

Ids and text are data, never guesses: what is written is what is kept. Errors name the table and the row, from 1.
"""

import ast
import json
import re
import warnings
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from srtlib.params import TEXT_FIELDS

PATH = " > "  # between the steps of a path of categories
DAY_AND_MONTH = r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})(.*)"
STRING = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
FLAT = rf"\[\s*(?:{STRING}(?:\s*,\s*{STRING})*)?\s*\]"  # commas throughout: what numpy writes without is not clear
LIST_OF_STRINGS = re.compile(rf"{FLAT}|\[\s*{FLAT}(?:\s*,\s*{FLAT})*\s*\]")
DATE_FORMAT = "the format of the dates, such as --date-format %d/%m/%Y"
LONGEST_ID = 1_000  # characters: arrays of ids are as wide as the longest
EXACT_DIGITS = 15  # that every float64 keeps
FILE_ORDER = "file_order"  # column of interactions: places in the file, where these are to break ties in time


# ---- the two tables -------------------------------------------------------------------------------------------------


def check_items(items: pd.DataFrame, source: str = "items") -> pd.DataFrame:
    """item_id and the text fields of a table of items, as text, empty where unknown.

    Args:
        items: item_id, title and, if there are any, brand and categories, of any type (see `as_ids`, `as_text`).
        source: of the table, for errors.

    A list of categories is a path, its steps joined by " > ", and so is one that stands in a cell of text as Python or
    JSON write a list of strings: "['Art', 'Ink']". Other lists are joined by blanks.

    Raises ValueError for a missing column, an empty table, a missing id and a repeated one.

    >>> shelf = pd.DataFrame({"item_id": [7], "title": ["Ink"], "categories": ["['Art', 'Ink']"]})
    >>> check_items(shelf).to_dict("records")
    [{'item_id': '7', 'title': 'Ink', 'brand': '', 'categories': 'Art > Ink'}]
    """
    require(items, ("item_id", "title"), source)
    ids = as_ids(items["item_id"], source)
    if repeated := int(ids.duplicated().sum()):
        example = ids[ids.duplicated()].iloc[0]
        raise ValueError(f"{source}: {repeated:,} rows repeat an item_id, {example!r} among them; expected one each")
    text = {name: as_text(items[name]) if name in items else "" for name in TEXT_FIELDS}
    if "categories" in items:
        text["categories"] = as_text(_lists(items["categories"]), PATH)
    return pd.DataFrame({"item_id": ids.to_numpy(dtype=object), **text}).reset_index(drop=True)


def check_interactions(
    interactions: pd.DataFrame, source: str = "interactions", date_format: str | None = None
) -> pd.DataFrame:
    """user_id and item_id, as text, timestamp and, if it is there, file_order, as numbers, of a table of interactions.

    Args:
        interactions: user_id, item_id, timestamp, of any type (see `as_ids`, `as_times`), and file_order.
        source: of the table, for errors.
        date_format: of the times.

    Raises ValueError for a missing column, an empty table, and an id or time that is missing or none.
    """
    require(interactions, ("user_id", "item_id", "timestamp"), source)
    return pd.DataFrame(
        {
            "user_id": as_ids(interactions["user_id"], source),
            "item_id": as_ids(interactions["item_id"], source),
            "timestamp": as_times(interactions["timestamp"], source, date_format),
            **{name: as_numbers(interactions[name], source) for name in (FILE_ORDER,) if name in interactions},
        }
    )


def require(table: pd.DataFrame, columns: tuple[str, ...], source: str) -> None:
    """Raise ValueError unless a table has rows, these columns, and one column of each name.

    Args:
        table: to look at.
        columns: that it must have.
        source: of the table, for errors.
    """
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{source}: no column {', '.join(missing)}; found {', '.join(map(str, table.columns))}")
    if table.columns.has_duplicates:
        twice = table.columns[table.columns.duplicated()][0]
        raise ValueError(f"{source}: column {twice!r} is there twice; expected one of each name")
    if table.empty:
        raise ValueError(f"{source}: the table is empty; expected at least one row")


# ---- columns --------------------------------------------------------------------------------------------------------


def as_ids(column: pd.Series, source: str, may_be_missing: bool = False) -> pd.Series:
    """Ids as text, byte for byte: 007 stays 007, 101 beside a missing one stays 101.

    Args:
        column: text, numbers, bytes, categoricals, ... or any of them mixed.
        source: the table it stands in, for errors.
        may_be_missing: let a missing id be "".

    Raises ValueError, naming the first row, where an id is a list or an object, is missing, has more than 1,000
    characters or a zero byte.

    >>> as_ids(pd.Series(["007", 12, 101.0, b"x"], name="item_id"), "items").tolist()
    ['007', '12', '101', 'x']
    """
    if column.dtype == object:
        composite = np.array([isinstance(value, Mapping | list | tuple | set | np.ndarray) for value in column], bool)
        _refuse(column, composite, source, "is a list or an object", "text or a number")
    ids = as_text(column)
    _refuse(column, (ids.str.len() > LONGEST_ID).to_numpy(), source, "is too long", f"at most {LONGEST_ID} characters")
    _refuse(column, ids.str.contains("\0", regex=False).to_numpy(), source, "has a zero byte", "text without")
    if not may_be_missing:
        _refuse(column, (ids == "").to_numpy(), source, "is missing", "one in every row")
    return ids


def as_text(column: pd.Series, joint: str = " ") -> pd.Series:
    """Text of any column, empty where it is missing.

    Text and numbers stay as they are written; of a list of lists each is a path, its steps joined by " > "; an object
    is known by its `name`, or else by all of its values.

    Args:
        column: of any type, or of several mixed.
        joint: what joins the words of a list.

    >>> as_text(pd.Series(["09", None, ["Ink", "red"], [["Art", "Ink"], ["Desk"]], {"name": "Acme"}])).tolist()
    ['09', '', 'Ink red', 'Art > Ink, Desk', 'Acme']
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        names = np.append(as_text(pd.Series(column.cat.categories), joint).to_numpy(dtype=object), "")
        return pd.Series(names[column.cat.codes], index=column.index, name=column.name, dtype=str)  # missing: code -1
    if isinstance(column.dtype, pd.StringDtype):
        return column.astype(str).fillna("")
    if pd.api.types.is_integer_dtype(column.dtype):
        return column.astype("string").fillna("").astype(str)
    return pd.Series([_text(v, joint) for v in column], index=column.index, name=column.name, dtype=str)


def as_times(column: pd.Series, source: str, date_format: str | None = None) -> pd.Series:
    """Times as numbers that keep their order: numbers as they are, dates as seconds since 1970 (UTC where they name no
    zone), or as nanoseconds where some date has a fraction of a second.

    Text is read as the first of these that it is, the whole column as the same: dates of the format, where one is
    given; numbers (20241225 is one); day, month and year as 25/12/2024, where one of the first two is above 12
    somewhere, so that it must be the day; ISO 8601 dates and date-times, such as 2024-12-25 or
    2024-12-25T10:30:00+01:00.

    Args:
        column: numbers, dates, or text of either.
        source: the table it stands in, for errors.
        date_format: of text dates, as `datetime.strptime` reads it; needed for every other kind of date.

    Raises ValueError, naming the first row, for a time that is missing, infinite or none, and for ambiguous dates.

    >>> as_times(pd.Series(["2024-01-02", "1970-01-01 00:01"], name="timestamp"), "log").tolist()
    [1704153600, 60]
    """
    if pd.api.types.is_datetime64_any_dtype(column.dtype) and date_format is None:
        _refuse(column, column.isna().to_numpy(), source, "is missing", "one in every row")
        return _seconds(pd.to_datetime(column, utc=True), column, source)
    values = column.to_numpy()
    if values.dtype.kind in "iuf" and date_format is None:
        _refuse(column, column.isna().to_numpy(), source, "is missing", "one in every row")
        return _finite(pd.Series(values, index=column.index), column, source)
    texts = as_text(column).str.strip()
    _refuse(column, (texts == "").to_numpy(), source, "is missing", "one in every row")
    if date_format is not None:
        if "%" not in date_format:  # the reader knows words, too, that let it guess
            raise ValueError(
                f"{source}: date format {date_format!r} names no part of a date; expected one such as %d/%m/%Y"
            )
        dates = _dates(texts, texts, source, date_format, f"a date such as {date_format}")
        return _seconds(dates, texts, source)
    numbers = _numbers(texts)
    if numbers.isna().all():
        expected = f"a number, a date such as 2024-12-25 10:30, or {DATE_FORMAT}"
        return _seconds(_dates(_iso(texts, source), texts, source, "ISO8601", expected), texts, source)
    _refuse(texts, numbers.isna().to_numpy(), source, "is not a number", "numbers, or dates, in every row")
    return _finite(numbers, column, source)


def as_numbers(column: pd.Series, source: str) -> pd.Series:
    """Numbers, float64, NaN where missing.

    Args:
        column: numbers, or text of numbers.
        source: the table it stands in, for errors.

    Raises ValueError, naming the first row, where one is none.
    """
    texts = as_text(column).str.strip()
    numbers = pd.to_numeric(texts, errors="coerce").astype(float)
    _refuse(texts, (numbers.isna() & (texts != "")).to_numpy(), source, "is not a number", "numbers")
    return numbers


def _lists(column: pd.Series) -> pd.Series:
    """Cells of text that are lists of strings, or lists of such lists, as Python or JSON write them, as lists."""
    if not (isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype) or column.dtype == object):
        return column
    return column.astype(object).map(lambda cell: _list(cell) if isinstance(cell, str) else cell)


def _list(cell: str) -> Any:
    text = cell.strip()
    if not text.startswith("[") or not LIST_OF_STRINGS.fullmatch(text):
        return cell
    for read in (json.loads, ast.literal_eval):
        try:
            with warnings.catch_warnings(action="error"):  # of an escape that Python does not know
                return read(text)
        except (ValueError, SyntaxError):
            continue
    return cell


# ---- how ------------------------------------------------------------------------------------------------------------


def _refuse(column: pd.Series, bad: np.ndarray, source: str, fault: str, expected: str) -> None:
    """Complain of the rows that are bad, if there are any."""
    if not bad.any():
        return
    row = int(bad.argmax())
    value = "" if fault == "is missing" else f" {str(column.iloc[row])[:60]!r}"
    raise ValueError(
        f"{source}: row {row + 1}: {column.name}{value} {fault} ({bad.sum():,} of {len(bad):,} rows); "
        f"expected {expected}"
    )


def _text(value: Any, joint: str) -> str:
    if isinstance(value, str):  # half a surrogate pair, which JSON can spell, is no text
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return _text(value["name"] if value.get("name") is not None else list(value.values()), joint)
    if isinstance(value, list | tuple | set | np.ndarray):
        if any(isinstance(part, list | tuple | np.ndarray) for part in value):
            joint, parts = ", ", [_text(part, PATH) for part in value]
        else:
            parts = [_text(part, joint) for part in value]
        return joint.join(part for part in parts if part)
    if value is None or pd.isna(value):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float | np.floating) and np.isfinite(value) and value == int(value):
        return str(int(value))  # what was an integer until a missing one stood beside it
    return str(value)


def _numbers(texts: pd.Series) -> pd.Series:
    """Numbers of text, NaN where it is none: int64 where all are whole, so that 19 digits are kept."""
    if texts.str.fullmatch(r"[+-]?\d{1,18}|[+-]?[1-8]\d{18}").all():
        return texts.map(int).astype(np.int64)
    numbers = pd.to_numeric(texts, errors="coerce")
    if texts.str.len().max() <= EXACT_DIGITS or not np.isfinite(numbers).all():
        return numbers
    exact = [Decimal(text) for text in texts]
    if len(set(exact)) == numbers.nunique():
        return numbers
    digits = max(-int(value.as_tuple().exponent) for value in exact)  # float64 would merge some: count the last digit's
    try:
        return pd.Series(np.array([int(value.scaleb(digits)) for value in exact], np.int64), index=texts.index)
    except OverflowError:
        return numbers * np.nan


def _finite(numbers: pd.Series, column: pd.Series, source: str) -> pd.Series:
    if numbers.dtype.kind == "f":
        _refuse(column, ~np.isfinite(numbers.to_numpy()), source, "is not finite", "a number")
    return numbers


def _iso(texts: pd.Series, source: str) -> pd.Series:
    """Dates of day, month and year as ISO 8601 has them, where it is clear which is the day; others as they are."""
    parts = texts.str.extract(f"^{DAY_AND_MONTH}$")
    if parts[0].isna().any():
        return texts
    first, second = (parts[i].astype(int) for i in (0, 1))
    if first.max() > 12 and second.max() > 12:
        return texts
    if first.max() <= 12 and second.max() <= 12:
        raise ValueError(
            f"{source}: row 1: {texts.name} {texts.iloc[0]!r} is ambiguous: day or month may come first; "
            f"expected {DATE_FORMAT}"
        )
    day, month = (first, second) if first.max() > 12 else (second, first)
    return parts[2] + "-" + month.astype(str).str.zfill(2) + "-" + day.astype(str).str.zfill(2) + parts[3]


def _dates(texts: pd.Series, written: pd.Series, source: str, date_format: str, expected: str) -> pd.Series:
    texts = texts.mask(texts.str.lower().isin(("now", "today")))  # words to the reader, of another time at each reading
    try:
        moments = pd.to_datetime(texts, format=date_format, utc=True, errors="coerce")
    except ValueError as error:
        raise ValueError(f"{source}: date format {date_format!r}: {error}; expected one such as %d/%m/%Y") from None
    _refuse(written, moments.isna().to_numpy(), source, "is not a number or a date", expected)
    return moments


def _seconds(moments: pd.Series, written: pd.Series, source: str) -> pd.Series:
    seconds = moments.dt.as_unit("s")
    if (seconds == moments).all():
        return seconds.astype(np.int64)
    far = (seconds <= pd.Timestamp.min.tz_localize("UTC")) | (seconds >= pd.Timestamp.max.tz_localize("UTC"))
    expected = "years from 1678 to 2261 where dates have fractions of a second"
    _refuse(written, far.to_numpy(), source, "is too far away", expected)
    return moments.dt.as_unit("ns").astype(np.int64)
