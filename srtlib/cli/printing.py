"""Results as text for people and as JSON for programs."""

import csv
import json
import math
import numbers
import re
from typing import Any

import pandas as pd

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
FORMULA = tuple("=+-@＝＋－＠")  # how a cell starts that a spreadsheet computes


def as_json(result: dict[str, Any] | pd.DataFrame) -> str:
    """A table as a list of objects, one per row; a result as one object. What is not finite is null: JSON has no word.

    >>> as_json(pd.DataFrame({"ndcg": [0.5, float("nan")]}))
    '[{"ndcg": 0.5}, {"ndcg": null}]'
    """
    plain = result.to_dict("records") if isinstance(result, pd.DataFrame) else result
    return json.dumps(_finite(plain), default=str, allow_nan=False)


def as_text(result: dict[str, Any] | pd.DataFrame, width: float = math.inf) -> str:
    """A table with a header; a result as one line per key.

    Args:
        result: what a command returned.
        width: characters of a line; a table that is wider, and would fit with its columns as rows, is shown so.

    >>> print(as_text({"runs": 3, "best": {"ndcg@5": 0.123456}}))
    runs  3
    best  ndcg@5 0.1235
    >>> print(as_text(pd.DataFrame({"items": [12000], "minutes": [1.634267]})))
     items minutes
    12,000   1.634
    """
    if isinstance(result, pd.DataFrame):
        cells = result.map(_cell)
        shown, turned = cells.to_string(index=False), cells.T.to_string(header=False)
        return turned if _width(turned) <= width < _width(shown) else shown
    keys = max(map(len, result))
    return "\n".join(f"{key:<{keys}}  {_value(value)}" for key, value in result.items())


def as_csv(table: pd.DataFrame, raw: bool = False) -> str:
    """A table as CSV.

    Args:
        table: any.
        raw: leave text as it is. Otherwise what a spreadsheet would take for a formula has an apostrophe before it,
            and what controls a terminal is a space.

    >>> print(as_csv(pd.DataFrame({"title": ["=1+1", "Red\\npen"], "score": [-0.5, 2]})), end="")
    title,score
    '=1+1,-0.5
    Red pen,2
    """
    if raw:
        return table.to_csv(index=False, float_format="%.6g", quoting=csv.QUOTE_NONNUMERIC)  # others forget lone CRs
    text = table.select_dtypes(exclude="number").columns
    return table.assign(**{name: table[name].map(_tame) for name in text}).to_csv(index=False, float_format="%.6g")


def _width(text: str) -> int:
    return max(map(len, text.splitlines()))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tame(value: Any) -> str:
    text = CONTROL.sub(" ", str(value))
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def _cell(value: Any) -> str:
    if pd.isna(value) or not isinstance(value, numbers.Real):
        return "" if pd.isna(value) else str(value)
    return f"{value:,.0f}" if value % 1 == 0 else f"{value:.4g}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(part)}" for key, part in value.items())
    if value is None:
        return "not known"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
