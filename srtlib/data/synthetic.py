"""A synthetic catalogue world whose best achievable NDCG is known.

Every item has a category, a product type within it, a brand, a style, a material, sometimes a colour, and a model
word; its title spells them out. A user's first item is drawn by popularity. Each later one is drawn in three steps:

1. pick a reference item from the user's history, `RECENCY` times as likely for every step further back;
2. pick a rule (`RULES`), which turns the reference into a group of items: its complement (items of the same style, of
   a product type that depends on the reference's category and style), its accessory (the same, depending on its type
   and style), the same type, the same brand in the same category, the same material in the same category, or the
   whole catalogue;
3. pick an item of that group in proportion to popularity; if the user has it already, start again from 1.

So the next item depends on nothing but the observed history, and its distribution is a mixture that can be written
down: `World.next_item_probabilities`. Since the popularity rule keeps opening new threads and old items keep being
referred to, a user has several interests at once. Popularity follows a Zipf-Mandelbrot law whose order is decided by
the words of the title, so text alone tells which items of a group are the likely ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from srtlib.data.synthetic_items import RULES, Floats, Ints, Rule, SyntheticItems
from srtlib.paths import whole_file

RECENCY = 0.6  # weight of a history item relative to the one after it, as the reference
MIN_LENGTH, MAX_LENGTH = 5, 50


@dataclass(frozen=True)
class World(SyntheticItems):
    """A catalogue and the process that draws user histories from it.

    >>> world = World(n_items=200, n_categories=4, n_brands=10, seed=1)
    >>> p = world.next_item_probabilities([3, 17])
    >>> p.shape, round(p.sum(), 6), p[3], p[17]
    ((200,), np.float64(1.0), np.float64(0.0), np.float64(0.0))
    >>> world.sample(n_users=100, seed=0).groupby("user_id").size().min() >= 5
    np.True_
    """

    def next_item_probabilities(self, history: list[int]) -> Floats:
        """The exact distribution of the next item, shape [n_items], after `history` (item indices, oldest first).

        Items of the history have probability 0. Raises ValueError for an index outside the catalogue or when
        nothing is left to draw.
        """
        indices = np.asarray(history, dtype=np.int64).reshape(1, -1)
        if indices.size and not 0 <= indices.min() <= indices.max() < self.n_items:
            raise ValueError(f"history must hold item indices from 0 to {self.n_items - 1}, got {history}")
        if len(np.unique(indices)) == self.n_items:
            raise ValueError(f"history holds all {self.n_items} items: there is no next item")
        return self._probabilities(indices, np.array([indices.size]))[0]

    def _probabilities(self, histories: Ints, lengths: Ints) -> Floats:
        """[B, n_items] for B histories, each padded on the right to [B, L] with anything."""
        B = len(histories)
        row, position = np.nonzero(np.arange(histories.shape[1]) < lengths[:, None])
        item = histories[row, position]
        reference = RECENCY ** (lengths[row] - 1 - position)
        reference /= np.bincount(row, reference, minlength=B)[row]
        p = np.zeros((B, self.n_items))
        for rule in self.rules:
            n_groups = len(rule.first) - 1
            mass = np.bincount(row * n_groups + rule.destination[item], reference, minlength=B * n_groups)
            p += mass.reshape(B, n_groups)[:, rule.group] * (rule.weight * rule.within)
        p[lengths == 0] = self.popularity
        p[row, item] = 0
        return p / p.sum(axis=1, keepdims=True)

    def sample(self, n_users: int, seed: int) -> pd.DataFrame:
        """Interactions sorted by user and time: user_id, item_id, timestamp (seconds).

        Sequences have 5 to 50 items (at most half of the catalogue), about 9 on average, with a heavy tail. No user
        has an item twice, and no two interactions of a user share a timestamp.

        Args:
            n_users: how many users.
            seed: of the draw.

        Raises ValueError for fewer than one user.
        """
        if n_users < 1:
            raise ValueError(f"n_users must be at least 1, got {n_users}")
        rng = np.random.default_rng([seed, *f"sample {self.domain}".encode()])
        longest = min(MAX_LENGTH, self.n_items // 2)
        lengths = np.minimum(longest, MIN_LENGTH + rng.lognormal(np.log(2.5), 1.1, n_users).astype(np.int64))
        histories = np.full((n_users, longest), -1, dtype=np.int64)
        for t in range(longest):
            pending = np.flatnonzero(lengths > t)
            while len(pending):
                seen = histories[pending, :t]
                drawn = self._draw(seen, rng)
                histories[pending, t] = drawn
                pending = pending[(seen == drawn[:, None]).any(axis=1)]
        user, position = np.nonzero(np.arange(longest) < lengths[:, None])
        gaps = 1 + rng.exponential(30 * 86_400, (n_users, longest)).astype(np.int64)
        times = rng.integers(1_300_000_000, 1_400_000_000, (n_users, 1)) + gaps.cumsum(axis=1)
        ids = np.array([f"{self.domain}-u{index:07d}" for index in range(n_users)], dtype=object)
        return pd.DataFrame(
            {
                "user_id": ids[user],
                "item_id": self.items["item_id"].to_numpy()[histories[user, position]],
                "timestamp": times[user, position],
            }
        )

    def _draw(self, seen: Ints, rng: np.random.Generator) -> Ints:
        """A proposal for the next item of each history in seen [B, t], shape [B]; those seen are to be drawn again."""
        B, t = seen.shape
        share = np.cumsum(RECENCY ** np.arange(t))  # of the last, the last two, ... the last t items
        back = np.searchsorted(share, rng.random(B) * share[-1], side="right") if t else np.zeros(B, np.int64)
        chosen = np.searchsorted(np.cumsum([*RULES.values()])[:-1], rng.random(B), side="right")
        uniform = rng.random((B,))
        item = np.empty(B, dtype=np.int64)
        for index, rule in enumerate(self.rules):
            row = np.flatnonzero(chosen == index) if t else np.arange(B)
            group = rule.destination[seen[row, t - 1 - back[row]]] if t else np.zeros(B, np.int64)
            item[row] = _pick(rule, group, uniform[row])
        return item

    def ceiling(
        self, k: int = 5, n_users: int = 4_000, seed: int = 0, interactions: pd.DataFrame | None = None
    ) -> float:
        """The best NDCG@k that any ranking of the whole catalogue can expect for the last item of each sequence.

        It is the mean of `ceilings`, whose errors are raised.

        Args:
            k: how many ranks count.
            n_users: of the sample whose histories are taken.
            seed: of that sample.
            interactions: user_id, item_id, timestamp in place of a sample.

        >>> world = World(n_items=200, n_categories=4, n_brands=10)
        >>> 0 < world.ceiling(k=1, n_users=100) < world.ceiling(k=5, n_users=100) < 1
        True
        """
        return float(self.ceilings(k, n_users, seed, interactions).mean())

    def ceiling_interval(
        self, k: int = 5, n_users: int = 4_000, seed: int = 0, interactions: pd.DataFrame | None = None
    ) -> tuple[float, float]:
        """95% interval (mean -+ 1.96 standard errors over users) of the ceiling of the whole world.

        Its values and errors are those of `ceilings`.

        Args:
            k: how many ranks count.
            n_users: of the sample whose histories are taken.
            seed: of that sample.
            interactions: user_id, item_id, timestamp in place of a sample.

        Returns:
            Its lower and its upper end.
        """
        values = self.ceilings(k, n_users, seed, interactions)
        margin = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        return float(values.mean() - margin), float(values.mean() + margin)

    def ceilings(
        self, k: int = 5, n_users: int = 4_000, seed: int = 0, interactions: pd.DataFrame | None = None
    ) -> Floats:
        """The best expected NDCG@k of each user's last item given the items before it, shape [users].

        With one relevant item, the expected NDCG@k of a ranking is sum over r <= k of p(r) / log2(1 + r), p(r) being
        the probability of the item at rank r: highest when the ranking follows p. Exact given the history. The NDCG
        that a model scores on those same users also varies with the items drawn.

        Args:
            k: how many ranks count.
            n_users: of the sample whose histories are taken.
            seed: of that sample.
            interactions: user_id, item_id, timestamp (users in order of their ids) in place of a sample.

        Raises ValueError for a k beyond the catalogue, and for an item that is not of this world.
        """
        if not 1 <= k <= self.n_items:
            raise ValueError(f"k must be between 1 and n_items={self.n_items}, got {k}")
        histories, lengths = self._histories(self.sample(n_users, seed) if interactions is None else interactions)
        discount = 1 / np.log2(np.arange(2, k + 2))
        rows = max(1, 1_000_000 // self.n_items)
        values = []
        for start in range(0, len(histories), rows):
            p = self._probabilities(histories[start : start + rows], lengths[start : start + rows] - 1)
            top = np.partition(p, self.n_items - k, axis=1)[:, -k:]
            values.append(np.sort(top, axis=1)[:, ::-1] @ discount)
        return np.concatenate(values)

    def _histories(self, interactions: pd.DataFrame) -> tuple[Ints, Ints]:
        """Item indices of each user in order of time, [users, L] padded on the right, and lengths [users]."""
        table = interactions.sort_values(["user_id", "timestamp"], kind="stable")
        item = pd.Index(self.items["item_id"]).get_indexer(pd.Index(table["item_id"]))
        if (item < 0).any():
            raise ValueError(f"item {table['item_id'].iloc[item.argmin()]!r} is not in the catalogue of this world")
        by_user = table.groupby("user_id", sort=True)
        user, position = by_user.ngroup().to_numpy(), by_user.cumcount().to_numpy()
        lengths = np.bincount(user)
        histories = np.zeros((len(lengths), lengths.max()), dtype=np.int64)
        histories[user, position] = item
        return histories, lengths


def generate(folder: str | Path, world: World, n_users: int, seed: int = 0) -> Path:
    """Write a sample of a world as a data set: items.parquet and interactions.parquet.

    Args:
        folder: to write to.
        world: to sample.
        n_users: of the sample.
        seed: of the sample.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("items", world.items), ("interactions", world.sample(n_users, seed))):
        with whole_file(folder / f"{name}.parquet") as aside:
            table.to_parquet(aside, index=False)
    return folder


def _pick(rule: Rule, group: Ints, uniform: Floats) -> Ints:
    """An item of each group in proportion to popularity, by inversion of the cumulated popularity."""
    first, last = rule.first[group], rule.first[group + 1] - 1
    low, high = rule.cumulated[first], rule.cumulated[last + 1]
    place = np.searchsorted(rule.cumulated, low + uniform * (high - low), side="right") - 1
    return rule.order[np.clip(place, first, last)]
