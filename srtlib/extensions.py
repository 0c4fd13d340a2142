"""What can be added by name stands in tables: recipes, objectives, negatives. A table's names are its documentation."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def look_up(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry of that name.

    Args:
        table: what can be named.
        name: the entry's.
        what: kind of the entries, in a word, for the error.

    Raises ValueError for a name that the table lacks; it lists those that it has.

    >>> look_up({"linear": 1, "cosine": 2}, "cosin", "schedule")
    Traceback (most recent call last):
    ...
    ValueError: schedule 'cosin' is not known; expected one of cosine, linear
    """
    if name not in table:
        raise ValueError(f"{what} {name!r} is not known; expected one of {', '.join(sorted(table))}")
    return table[name]
