"""Which items may be offered: among candidates, none that are excluded, of some categories, few of a kind.

Shapes: B users, I items, k offers.
"""

import numbers
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from srtlib.data.columns import PATH
from srtlib.serving.histories import LISTS, read_ids

Items = Sequence[str] | np.ndarray | pd.Series
Search = Callable[[Tensor, int], tuple[Tensor, Tensor]]  # (queries' numbers [n], k) -> scores, items [n, k], best first


@dataclass(frozen=True)
class Filter:
    """What an offer must obey. hidden: bool [I], items that may not be offered; None: all may. kinds: int64 [I], the
    number of each item's category, -1 where it has none; most: offers of one category, no limit without `kinds`."""

    hidden: Tensor | None = None
    kinds: Tensor | None = None
    most: int = 0

    def best(self, search: Search, n_queries: int, n_items: int, k: int) -> tuple[Tensor, Tensor]:
        """The first k of each query's ranking that are not too many of a category, exactly.

        Rankings are read deeper, twice as far each time, for those whose first items do not suffice.

        Args:
            search: finds the best of the items that are not hidden.
            n_queries: B.
            n_items: I.
            k: offers for each query.

        Returns:
            Scores and items, [B, k] both, best first; -inf where fewer are left.
        """
        left, depth = torch.arange(n_queries), k
        if self.kinds is None:
            return search(left, k)
        scores, items = torch.full((n_queries, k), -torch.inf), torch.zeros(n_queries, k, dtype=torch.long)
        while len(left):
            depth = min(2 * depth, n_items)
            values, found = (part.cpu() for part in search(left, depth))
            kept = (_occurrence(self.kinds[found]) < self.most) & ~torch.isneginf(values)
            first = (~kept).int().argsort(dim=1, stable=True)[:, :k]
            scores[left] = values.masked_fill(~kept, -torch.inf).gather(1, first).to(scores.dtype)
            items[left] = found.gather(1, first)
            enough = (kept.sum(1) >= k) | torch.isneginf(values[:, -1])
            left = left[~enough & (depth < n_items)]
        return scores, items


def read_filter(
    items: pd.DataFrame,
    places: pd.Index,
    candidates: Items | None = None,
    exclude: Items | None = None,
    categories: Sequence[str] | None = None,
    max_per_category: int | None = None,
    strict: bool = False,
) -> Filter:
    """The filter that a request asks for.

    Args:
        items: the catalogue, with categories.
        places: its ids.
        candidates: ids of the only items that may be offered, or bool [I], true where one may.
        exclude: ids of items that may not.
        categories: paths such as "Beauty > Makeup"; items of them, and of what lies below, are offered.
        max_per_category: offers of one category (the whole path) for each user; items without one are not limited.
        strict: refuse ids that are not in the catalogue; otherwise they are passed over with a warning.

    Raises ValueError for what is none of these, for a category without items, and where nothing is left to offer.

    >>> shelf = pd.DataFrame({"item_id": ["p", "q"], "categories": ["Pens > Red", "Ink"]})
    >>> read_filter(shelf, pd.Index(shelf["item_id"]), categories=["Pens"]).hidden.tolist()
    [False, True]
    """
    hidden = np.zeros(len(items), dtype=bool)
    if candidates is not None:
        hidden |= ~_mask(candidates, places, "candidates", strict)
    if exclude is not None:
        hidden |= _named(exclude, places, "exclude", strict)
    if categories is not None:
        hidden |= ~_within(items["categories"], read_ids(categories, "categories", "paths of categories"))
    if hidden.all():
        raise ValueError("candidates, exclude and categories leave no item to offer; expected at least one")
    kinds, most = None, 0
    if max_per_category is not None:
        if not isinstance(max_per_category, numbers.Integral) or isinstance(max_per_category, bool):
            raise ValueError(f"max_per_category is {max_per_category!r}; expected a whole number")
        if max_per_category < 1:
            raise ValueError(f"max_per_category is {max_per_category}; expected at least 1")
        column = items["categories"]
        kinds, most = (
            torch.from_numpy(pd.factorize(column.mask(column == ""))[0].astype(np.int64)),
            int(max_per_category),
        )
    return Filter(torch.from_numpy(hidden) if hidden.any() else None, kinds, most)


def _mask(given: Items, places: pd.Index, what: str, strict: bool) -> np.ndarray:
    """bool [I] of a mask or of ids."""
    if not isinstance(given, LISTS) or pd.api.types.infer_dtype(given, skipna=False) != "boolean":
        return _named(given, places, what, strict)
    if np.shape(given) != places.shape:
        raise ValueError(f"{what} has shape {np.shape(given)}; expected {places.shape}, one truth value per item")
    if pd.isna(np.asarray(given, dtype=object)).any():
        raise ValueError(f"{what} lacks some truth values; expected one per item")
    return np.asarray(given, dtype=bool)


def _named(given: object, places: pd.Index, what: str, strict: bool) -> np.ndarray:
    """bool [I], true for the items that are named."""
    ids = read_ids(given, what)
    found = places.get_indexer(pd.Index(ids, dtype=object))
    if (found < 0).any():
        first = ids[int((found < 0).argmax())]
        message = (
            f"{what}: {(found < 0).sum():,} of {len(ids):,} ids are outside the catalogue, {first!r} first "
            f"(its ids are such as {places[0]!r})"
        )
        if strict:
            raise ValueError(f"{message}; expected none")
        warnings.warn(f"{message}; they are passed over", stacklevel=5)
    mask = np.zeros(len(places), dtype=bool)
    mask[found[found >= 0]] = True
    return mask


def _within(column: pd.Series, categories: Iterable[str]) -> np.ndarray:
    """bool [I], true for items of the categories, and of what lies below them."""
    mask = np.zeros(len(column), dtype=bool)
    for category in categories:
        inside = ((column == category) | column.str.startswith(category + PATH)).to_numpy(dtype=bool)
        if not inside.any():
            raise ValueError(f"no item is of category {category!r}; expected a path such as {column.max()!r}")
        mask |= inside
    return mask


def _occurrence(kinds: Tensor) -> Tensor:
    """How many of the same kind stand before each, in its row; 0 for what has no kind.

    >>> _occurrence(torch.tensor([[7, 3, 7, 7, -1, -1]])).tolist()
    [[0, 0, 1, 2, 0, 0]]
    """
    ordered, order = kinds.sort(dim=1, stable=True)
    place = torch.arange(kinds.shape[1]).expand_as(kinds)
    is_start = torch.ones_like(ordered, dtype=torch.bool)
    is_start[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    start = (place * is_start).cummax(dim=1).values
    return torch.empty_like(kinds).scatter_(1, order, place - start).masked_fill(kinds < 0, 0)
