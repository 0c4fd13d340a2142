"""Sequences of users as CSR arrays and a catalogue of items known by their text: splits, samples, unions."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from srtlib.data import csr
from srtlib.params import TEXT_FIELDS
from srtlib.protocols import Cuts

MIN_LENGTH = 3  # one interaction to train on, one to validate, one to test
Split = Literal["valid", "test"]
PARTS: tuple[Split, ...] = ("valid", "test")  # of a split, in order of time, after training
PART_END = "/"  # between the name of a pool's part and the id of its user or item


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions of users with items, in order of time, and the items' text.

    offsets: int64 [users + 1]; items: int32 [interactions], indices into the catalogue; user u's sequence is
    items[offsets[u]:offsets[u + 1]]. catalogue: one row per item with item_id, title, brand, categories
    (text, empty where unknown). vectors: float32 [items, F] or None, fixed item vectors.
    dropped: what was left out on loading, and how much. parts: names of the sets that a pool is made of, which prefix
    the ids of its users and items (see srtlib.data.pooling). cuts, before: of a split by time (see
    srtlib.data.splitting), and how many interactions of each user lie before each cut, int64 [users, 2].

    The split is leave-two-out by time: a user's last interaction is the test target, the one before the
    validation target, all before those are for training. With `cuts` it is one by time, in which some users have no
    target.
    """

    name: str
    user_ids: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    catalogue: pd.DataFrame
    vectors: np.ndarray | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    cuts: Cuts | None = None
    before: np.ndarray | None = None

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.catalogue)

    @property
    def n_interactions(self) -> int:
        return len(self.items)

    @property
    def n_targets(self) -> int:
        """Training targets: every interaction of the training part but a user's first, of which nothing is known."""
        return int(np.maximum(self.train_ends - self.offsets[:-1] - 1, 0).sum())

    @property
    def train_ends(self) -> np.ndarray:
        """Where each user's training part ends (exclusive), int64 [users]."""
        return self.history_ends("valid")

    @property
    def text_fields(self) -> tuple[str, ...]:
        """Fields that hold text for at least one item, title always among them."""
        return tuple(f for f in TEXT_FIELDS if f == "title" or (self.catalogue[f] != "").any())

    @property
    def user_parts(self) -> np.ndarray:
        """The part of the pool that each user belongs to, [users]; empty text where this is no pool."""
        if not self.parts:
            return np.full(self.n_users, "", dtype=object)
        return part_of_id(pd.Series(self.user_ids)).to_numpy(dtype=object)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any interaction or any item's text or vector."""
        digest = hashlib.sha256(self.text_fingerprint.encode())
        digest.update(np.ascontiguousarray(self.offsets).data)
        digest.update(np.ascontiguousarray(self.items).data)
        if self.vectors is not None:
            digest.update(np.ascontiguousarray(self.vectors).data)
        if self.before is not None:
            digest.update(np.ascontiguousarray(self.before).data)
        return digest.hexdigest()[:16]

    @cached_property
    def text_fingerprint(self) -> str:
        """16 hex digits of the items' ids and text."""
        hashes = pd.util.hash_pandas_object(self.catalogue[["item_id", *TEXT_FIELDS]], index=False)
        return hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()[:16]

    @cached_property
    def train_counts(self) -> np.ndarray:
        """Interactions of each item in the training part, int64 [items]."""
        starts = self.offsets[:-1]
        return np.bincount(self.items[csr.ranges(starts, self.train_ends - starts)], minlength=self.n_items)

    def targets(self, split: Split) -> np.ndarray:
        """The target item of each user, int32 [users]; split is valid or test.

        Raises ValueError where some user has none, as a split by time leaves them (see `with_target`).
        """
        if not self.has_target(split).all():
            raise ValueError(f"not every user of {self.name} has a {split} target; expected those of with_target alone")
        return self.items[self.history_ends(split)]

    def history_ends(self, split: Split) -> np.ndarray:
        """Where each user's history ends (exclusive) when the split's target is to be predicted, int64 [users]."""
        if split not in PARTS:
            raise ValueError(f"split {split!r} is not known; expected valid or test")
        part = PARTS.index(split)
        return self.offsets[1:] + part - 2 if self.before is None else self.offsets[:-1] + self.before[:, part]

    def held_out(self, split: Split) -> np.ndarray:
        """Whether anything of each user is in that part of the split, bool [users]."""
        ends = self.offsets[1:] if split == "test" else self.history_ends("test")
        return self.history_ends(split) < ends

    def has_target(self, split: Split) -> np.ndarray:
        """Whether each user has a target in that part of the split, and a history before it, bool [users]."""
        return self.held_out(split) & (self.history_ends(split) > self.offsets[:-1])

    def with_target(self, split: Split) -> "Dataset":
        """The users that have a target in that part of the split, the catalogue left whole; this data set where all do.

        Raises ValueError where nobody has.
        """
        users = np.flatnonzero(self.has_target(split))
        if not len(users):
            raise ValueError(f"{self.name}: no user has a {split} target with a history before it")
        return self if len(users) == self.n_users else self._with_users(users)

    def sample_users(self, n_interactions: int | None = None, n_users: int | None = None, seed: int = 0) -> "Dataset":
        """Users drawn at random until about `n_interactions` interactions (or `n_users` users) are reached.

        Users are ordered by a hash of (seed, user id), so that a smaller sample is a subset of a larger one and
        neither depends on the order of rows. The catalogue shrinks to the items that occur (section 4: more users
        bring more items).

        Args:
            n_interactions: how many interactions at most, but those of one user at least; this or `n_users`.
            n_users: how many users.
            seed: of the draw.

        Returns:
            The sample; the data set itself where more is asked for than there is.

        Raises ValueError unless one of the two is given.
        """
        if (n_interactions is None) == (n_users is None):
            raise ValueError("sample_users needs n_interactions or n_users, one of the two")
        order = self._hashed_order(seed)
        if n_interactions is not None:
            reached = np.cumsum(np.diff(self.offsets)[order])
            n_users = max(1, int(np.searchsorted(reached, n_interactions, side="right")))
        chosen = order[:n_users]
        return self if len(chosen) == self.n_users else self._with_users(np.sort(chosen)).used_items()

    def panel(self, n_users: int, seed: int = 0) -> "Dataset":
        """Users with the catalogue left whole: who and what every run of a study is judged on. Who has no target, of
        validation or test, is not among them.

        Args:
            n_users: how many at most.
            seed: of the draw, which is that of `sample_users`.
        """
        order = self._hashed_order(seed)
        chosen = order[(self.has_target("valid") | self.has_target("test"))[order]][:n_users]
        return self if len(chosen) == self.n_users else self._with_users(np.sort(chosen))

    def without_users(self, other: "Dataset") -> "Dataset":
        """This data set less the users that `other` has too."""
        return self._with_users(np.flatnonzero(~np.isin(self.user_ids, other.user_ids)))

    def without_items(self, items: np.ndarray) -> "Dataset":
        """This data set less all interactions with `items` (indices); the catalogue stays whole. Users left with fewer
        than three interactions go too."""
        kept = ~np.isin(self.items, items)
        reached = csr.offsets_of(kept)
        offsets = reached[self.offsets]
        lengths = np.diff(offsets)
        before = None
        if self.before is not None:
            before = reached[self.offsets[:-1, None] + self.before] - offsets[:-1, None]
        thinner = replace(self, offsets=offsets, items=self.items[kept], before=before)
        return thinner._with_users(np.flatnonzero(lengths >= MIN_LENGTH))

    def used_items(self) -> "Dataset":
        """The same interactions with the catalogue cut to the items that occur in them."""
        used, items = np.unique(self.items, return_inverse=True)
        return replace(
            self,
            items=items.astype(np.int32),
            catalogue=self.catalogue.iloc[used].reset_index(drop=True),
            vectors=None if self.vectors is None else self.vectors[used],
        )

    def with_vectors(self, vectors: np.ndarray) -> "Dataset":
        """The same data with fixed item vectors, float [items, F], in the catalogue's order."""
        if vectors.ndim != 2 or len(vectors) != self.n_items:
            raise ValueError(f"vectors have shape {vectors.shape}; expected ({self.n_items}, F), a row per item")
        return replace(self, vectors=np.asarray(vectors, dtype=np.float32))

    def _hashed_order(self, seed: int) -> np.ndarray:
        keys = [hashlib.md5(f"{seed}:{user}".encode()).digest() for user in self.user_ids]
        return np.argsort(np.array(keys, dtype="S16"), kind="stable")

    def _with_users(self, users: np.ndarray) -> "Dataset":
        lengths = np.diff(self.offsets)[users]
        items = self.items[csr.ranges(self.offsets[users], lengths)]
        before = None if self.before is None else self.before[users]
        offsets = csr.offsets_of(lengths)
        return replace(self, user_ids=self.user_ids[users], offsets=offsets, items=items, before=before, dropped={})


def concatenate(datasets: Sequence[Dataset]) -> Dataset:
    """Several data sets as one: their sequences one after the other, their catalogues united, without vectors.

    Items of the same id and title are one item; an id that stands for different titles is prefixed by its set's name.
    A user of two sets keeps one sequence in each, under the same id: sequences of different sets cannot be merged in
    time, but `sample_users` and `without_users` take them together.

    Raises ValueError for one that is split by time.
    """
    if split := [d.name for d in datasets if d.cuts]:
        raise ValueError(f"{split[0]} is split by time; expected data sets that are not, as cuts of several differ")
    catalogue = pd.concat([d.catalogue for d in datasets], ignore_index=True)
    names = np.repeat([d.name for d in datasets], [d.n_items for d in datasets])
    ambiguous = catalogue.groupby("item_id")["title"].transform("nunique") > 1
    catalogue["item_id"] = catalogue["item_id"].mask(ambiguous, names + "/" + catalogue["item_id"])
    index, _ = pd.factorize(catalogue["item_id"])
    starts = np.cumsum([0, *(d.n_items for d in datasets)])
    lengths = np.concatenate([np.diff(d.offsets) for d in datasets])
    return Dataset(
        name="+".join(d.name for d in datasets),
        user_ids=np.concatenate([d.user_ids for d in datasets]),
        offsets=csr.offsets_of(lengths),
        items=np.concatenate([index[start + d.items] for start, d in zip(starts, datasets, strict=False)]).astype(
            np.int32
        ),
        catalogue=catalogue.drop_duplicates("item_id", ignore_index=True),
    )


def part_of_id(ids: pd.Series) -> pd.Series:
    """The part of a pool that each user or item belongs to.

    >>> part_of_id(pd.Series(["beauty/A1/x", "books/100"])).tolist()
    ['beauty', 'books']
    """
    return ids.str.partition(PART_END)[0]
