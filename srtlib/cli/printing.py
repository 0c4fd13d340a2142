"""Results as text for people and as JSON for programs."""

import json
import numbers
from typing import Any

import pandas as pd


def as_json(result: dict[str, Any] | pd.DataFrame) -> str:
    """A table as a list of objects, one per row; a result as one object."""
    return json.dumps(result.to_dict("records") if isinstance(result, pd.DataFrame) else result, default=str)


def as_text(result: dict[str, Any] | pd.DataFrame) -> str:
    """A table with a header; a result as one line per key.

    >>> print(as_text({"runs": 3, "best": {"ndcg@5": 0.123456}}))
    runs  3
    best  ndcg@5 0.1235
    """
    if isinstance(result, pd.DataFrame):
        return result.map(_cell).to_string(index=False)
    width = max(map(len, result))
    return "\n".join(f"{key:<{width}}  {_value(value)}" for key, value in result.items())


def _cell(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:,}" if isinstance(value, numbers.Real) else str(value)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(part)}" for key, part in value.items())
    if value is None:
        return "not known"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
