"""Histories as people give them, lists of ids or a table, read into numbers: whose, of which item, in order."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from srtlib.data.columns import as_ids, as_text, as_times, require

Histories = Mapping[str, Sequence[str]] | pd.DataFrame
LISTS = (list, tuple, np.ndarray, pd.Series, pd.Index, pd.api.extensions.ExtensionArray)


@dataclass(frozen=True)
class Log:
    """Known interactions. users: names [B]; user, item: int64 [n], by user and oldest first."""

    users: np.ndarray
    user: np.ndarray
    item: np.ndarray
    n_unknown: int

    @cached_property
    def with_history(self) -> np.ndarray:
        """Users who have at least one known item, rising."""
        return np.unique(self.user)


def read_histories(histories: Histories, catalogue: pd.Index, strict: bool) -> Log:
    """The interactions with items that are known.

    Args:
        histories: user -> item ids, oldest first; or a table of user_id, item_id[, timestamp].
        catalogue: the known ids; an item's number is its place there.
        strict: refuse unknown items, instead of dropping them with a warning.

    Raises ValueError for histories that are neither, and for unknown items if strict.

    >>> read_histories({"ann": ["p", "q"], "bob": ["q"]}, pd.Index(["q", "p"]), strict=True).item.tolist()
    [1, 0, 0]
    """
    users, table = _interactions(histories)
    items = catalogue.get_indexer(pd.Index(table["item_id"], dtype=object)).astype(np.int64)
    unknown = items < 0
    if unknown.any():
        first = table["item_id"][unknown].iloc[0]
        message = (
            f"{unknown.sum():,} of {len(table):,} interactions name items outside the catalogue, {first!r} first "
            f"(its ids are such as {catalogue[0]!r})"
        )
        if strict:
            raise ValueError(f"{message}; expected none")
        warnings.warn(f"{message}; they are dropped", stacklevel=3)
    return Log(users, table["user"].to_numpy()[~unknown], items[~unknown], int(unknown.sum()))


def read_ids(given: object, what: str, expected: str = "item ids") -> list[str]:
    """Ids as text, in order.

    Args:
        given: a list (or tuple, array, column) of ids.
        what: what an error calls it.
        expected: what an error asks for a list of.

    Raises ValueError, naming what was given, for anything but a list (or array) of ids with none missing.

    >>> read_ids(("p", 7), "the query")
    ['p', '7']
    >>> read_ids("p", "the query")
    Traceback (most recent call last):
    ...
    ValueError: the query is 'p'; expected a list of item ids
    """
    if not isinstance(given, LISTS) or getattr(given, "ndim", 1) != 1:
        raise ValueError(f"{what} is {_short(given)}; expected a list of {expected}")
    for item in given:
        no_id = isinstance(item, bool | np.bool_) or (isinstance(item, Iterable) and not isinstance(item, str | bytes))
        if no_id or pd.isna(item):
            raise ValueError(f"{what} has {_short(item)} among its items; expected a list of {expected}")
    return as_text(pd.Series(list(given), dtype=object)).tolist()


def _interactions(histories: Histories) -> tuple[np.ndarray, pd.DataFrame]:
    """Users in order of appearance, and a table of user (their number) and item_id, by user and oldest first."""
    histories = _as_table(histories)
    source = histories.attrs.get("source", "histories")
    require(histories, ("user_id", "item_id"), source)
    number, users = pd.factorize(as_ids(histories["user_id"], source).to_numpy(dtype=object))
    items = as_ids(histories["item_id"], source, may_be_missing=True)
    table = pd.DataFrame({"user": number, "item_id": items.to_numpy(dtype=object)})
    taken = (items != "").to_numpy()
    table = table[taken]
    if "timestamp" in histories:
        table = table.assign(time=as_times(histories["timestamp"][taken], source).to_numpy())
    return users, table.sort_values(["user", *table.columns[2:]], kind="stable")


def _as_table(histories: object) -> pd.DataFrame:
    """user_id and item_id, one row per interaction, and one without an item for a user who has none."""
    if isinstance(histories, pd.DataFrame):
        return histories
    if not isinstance(histories, Mapping | pd.Series):
        raise ValueError(
            f"histories are {_short(histories)}; expected user -> list of item ids, or a table of user_id, item_id"
        )
    lists: Iterable[tuple[object, object]] = histories.items()
    known = [(user, read_ids(items, f"the history of {user!r}")) for user, items in lists]
    if not known:
        raise ValueError("histories: no user is named")
    ids = as_ids(pd.Series([user for user, _ in known], name="user", dtype=object), "histories")
    if ids.duplicated().any():
        twice = ids[ids.duplicated()].iloc[0]
        raise ValueError(f"histories: two users are {twice!r} as text; expected one history for each")
    nothing: list[str | None] = [None]
    pairs = [(user, item) for user, items in known for item in (items or nothing)]
    return pd.DataFrame(pairs, columns=["user_id", "item_id"], dtype=object)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"
