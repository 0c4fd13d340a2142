"""Recommendations from a trained model: load a folder, ask for users' next items, add items that it has never seen.

Items are known by their text, so a catalogue may change without training. Shapes: B users, I items, D width.
"""

import numbers
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from srtlib.data.columns import check_items
from srtlib.model.folder import ITEMS, SEARCH, read_items, write_items
from srtlib.model.packing import Sequences
from srtlib.model.released import model_folder
from srtlib.model.srt import SRT
from srtlib.serving.filters import Filter, Items, read_filter
from srtlib.serving.histories import Histories, Log, read_histories, read_ids
from srtlib.serving.search import FaissIndex, find, of_queries, recall, top_k
from srtlib.serving.vectors import kept_for

APPROXIMATE_FROM = 100_000  # items; fewer are searched exactly, which is as fast
BATCH_TOKENS = 16_384
CHUNK = 65_536  # vectors normalised at a time
MOST = 2**53  # interactions with an item: every whole number up to it is a float64


class Recommender:
    """A model and a catalogue.

    Args:
        model: a trained model.
        items: one row per item with item_id and title, and if there are any brand, categories, `count` (how often the
            item was taken in training: what users without a history are offered) and `vector` (for a model that reads
            fixed vectors).
        approximate: search catalogues of 100,000 items or more through FAISS (extra `faiss`) instead of exactly.
        half: hold item vectors as float16, in half the memory; each number is rounded by one part in 2,000 at most.
        keep_in: the folder that keeps the vectors of a large catalogue, and the index, to be mapped the next time;
            default, and where that is read only: the cache in the data home.

    >>> from srtlib.data.text import train_tokenizer
    >>> from srtlib.params import ModelParams
    >>> model = SRT(ModelParams(d_model=8, n_layers=1), train_tokenizer(["red pen", "blue ink"] * 9, 100))
    >>> items = pd.DataFrame({"item_id": ["p", "q", "r"], "title": ["Red pen", "Blue pen", "Red ink"]})
    >>> recommender = Recommender(model, items)
    >>> recommender.recommend({"ann": ["p"]}, k=2)["item_id"].sort_values().tolist()
    ['q', 'r']
    """

    def __init__(
        self,
        model: SRT,
        items: pd.DataFrame,
        approximate: bool = False,
        half: bool = False,
        keep_in: Path | None = None,
    ) -> None:
        self.model = model.eval()
        self.items = _checked(items)
        self._places = _index(self.items)
        dtype = torch.float16 if half else torch.float32
        kept = kept_for(model, self.items, dtype, keep_in)
        self.vectors = kept.vectors(lambda: _encode(model, self.items, dtype)).to(model.device)
        self.index = None
        if approximate and len(self.items) >= APPROXIMATE_FROM:
            self.index = kept.index(lambda: FaissIndex.build(self.vectors))

    @classmethod
    def load(
        cls,
        folder: Path | str,
        items: pd.DataFrame | None = None,
        device: torch.device | str = "cpu",
        approximate: bool = False,
        half: bool = False,
    ) -> "Recommender":
        """From a model folder, which keeps the vectors of its own large catalogue, and the index, once they are made.

        Args:
            folder: of the model, or the name of a released one (`srt models`), which needs `items`.
            items: a catalogue as the class takes; items that the folder knows keep their counts (default: its own).
            device: where the model computes.
            approximate, half: as for the class.

        Raises FileNotFoundError and ValueError as `SRT.from_pretrained` does.
        """
        folder = model_folder(folder)
        model = SRT.from_pretrained(folder, device)
        if items is not None:
            model.move_to(items := _checked(_with_counts(items, folder)))
            return cls(model, items, approximate, half)
        return cls(model, read_items(folder), approximate, half, folder / SEARCH)

    @classmethod
    def pretrained(cls, name: str, items: pd.DataFrame, approximate: bool = False) -> "Recommender":
        """A released model on a catalogue that it has never seen. Nothing is trained.

        Args:
            name: of the model; `srtlib.model.released.released_models` lists them.
            items: the catalogue, as the class takes.
            approximate: as for the class.

        Raises ImportError without the extra `text`, which reads the items, and what `load` raises.
        """
        return cls.load(name, items, approximate=approximate)

    def save(self, folder: Path | str) -> None:
        """Write a model folder that `load` reads, added items included; of many items vectors and index, too."""
        folder = Path(folder)
        self.model.save_pretrained(folder)
        write_items(folder, self.items)
        kept_for(self.model, self.items, self.vectors.dtype, folder / SEARCH).keep(self.vectors, self.index)

    def recommend(
        self,
        histories: Histories,
        k: int = 10,
        exclude_seen: bool = True,
        strict: bool = False,
        candidates: Items | None = None,
        exclude: Items | None = None,
        categories: Sequence[str] | None = None,
        max_per_category: int | None = None,
    ) -> pd.DataFrame:
        """The k items that each user is likeliest to take next.

        Args:
            histories: user -> item ids, oldest first; or a table of user_id, item_id and, if there is one, timestamp
                (rows are oldest first without it; a row without item_id names a user without a history).
            k: items for each user, 1 to as many as the catalogue has.
            exclude_seen: leave out what the user has had; then a user may get fewer than k.
            strict: refuse items that are not in the catalogue; otherwise they are dropped with a warning.
            candidates, exclude, categories, max_per_category: which items may be offered (`filters.read_filter`); then
                a user may get fewer than k.

        Returns:
            user, rank (from 1), item_id, title, score. A user of whom nothing is known is offered the most popular
            items of the training data, with a warning, and `score` is their count. The table's `attrs` say how many
            interactions were dropped (`unknown_interactions`) and who got popular items (`popularity_users`).

        Raises ValueError for a table that cannot be read, for k out of range, for unknown items if strict, and for what
        `filters.read_filter` refuses.
        """
        k = _check_k(k, len(self.items))
        chosen = read_filter(self.items, self._places, candidates, exclude, categories, max_per_category, strict)
        log = read_histories(histories, self._places, strict)
        scores, found = torch.empty(0, k), torch.empty(0, k, dtype=torch.long)
        if len(log.with_history):
            scores, found = self._search(log, k, exclude_seen, chosen)
        table = _table(self.items, log.users[log.with_history], scores, found, "user")
        without = np.setdiff1d(np.arange(len(log.users)), log.with_history)
        popular = _popular(self.items, log.users[without], k, chosen)
        order = pd.Index(log.users).get_indexer(pd.concat([table, popular])["user"])
        result = pd.concat([table, popular]).iloc[np.argsort(order, kind="stable")].reset_index(drop=True)
        result.attrs = {"unknown_interactions": log.n_unknown, "popularity_users": log.users[without].tolist()}
        return result

    def similar(self, item_ids: Sequence[str], k: int = 10) -> pd.DataFrame:
        """The k items nearest to each of some items, by the cosine of their vectors.

        Args:
            item_ids: of items in the catalogue.
            k: items for each, 1 to as many as the catalogue has.

        Returns:
            query, rank (from 1), item_id, title, score.

        Raises ValueError for what is no list of ids, and for an item that is not in the catalogue.
        """
        k = _check_k(k, len(self.items))
        ids = np.array(read_ids(item_ids, "the query"), dtype=object)
        if not len(ids):
            raise ValueError("the query is empty; expected at least one item id")
        items = torch.from_numpy(_numbers(self._places, ids))
        if (items < 0).any():
            raise ValueError(f"item {ids[items.numpy() < 0][0]!r} is not in the catalogue; add it with add_items")
        unit = torch.cat([F.normalize(part.float()).to(part.dtype) for part in self.vectors.split(CHUNK)])
        itself = torch.arange(len(items)).to(unit.device), items.to(unit.device)
        return _table(self.items, ids, *top_k(unit[items].float(), unit, k, itself), "query")

    def add_items(self, items: pd.DataFrame) -> None:
        """Add items that the model has never seen: a table as the class takes. Nothing is trained.

        Raises ValueError, and changes nothing, where an item is there already.
        """
        new = _checked(items)
        _require_new(new["item_id"], self._places)
        vectors = _encode(self.model, new, self.vectors.dtype)
        self.items = pd.concat([self.items, new], ignore_index=True)
        self._places = _index(self.items)
        self.vectors = torch.cat([self.vectors, vectors])
        if self.index is not None:
            self.index.add(vectors)

    def recall(self, histories: Histories, k: int = 10) -> float:
        """Share of the exact top k that approximate search finds for some users; 1 where search is exact.

        Args:
            histories: as for `recommend`.
            k: items for each user.
        """
        k, log = _check_k(k, len(self.items)), read_histories(histories, self._places, strict=False)
        return 1.0 if self.index is None else recall(self.index, self._outputs(log), self.vectors, k)

    @torch.no_grad()
    def _outputs(self, log: Log) -> Tensor:
        """What the transformer says after each history, [users with a history, D]."""
        outputs = self.vectors.new_empty(len(log.with_history), self.vectors.shape[1], dtype=torch.float32)
        offsets = np.searchsorted(log.user, np.append(log.with_history, len(log.users)))
        sequences = Sequences(log.item, offsets, offsets[1:], self.model.params.max_len, self.model.device)
        for users, batch in sequences.histories(BATCH_TOKENS):
            outputs[users] = self.model(self.vectors[batch.items].float(), batch.layout)[batch.supervised]
        return outputs

    def _search(self, log: Log, k: int, exclude_seen: bool, chosen: Filter) -> tuple[Tensor, Tensor]:
        queries = self._outputs(log)
        rows = torch.from_numpy(np.searchsorted(log.with_history, log.user)).to(queries.device)
        seen = (rows, torch.from_numpy(log.item).to(queries.device)) if exclude_seen else None

        def search(users: Tensor, depth: int) -> tuple[Tensor, Tensor]:
            users = users.to(queries.device)
            pairs = seen and of_queries(seen, users, len(queries))
            return find(self.index, queries[users], self.vectors, depth, pairs, chosen.hidden)

        found = chosen.best(search, len(queries), len(self.items), k)
        _require_finite(found[0], log)
        return found


def _require_new(ids: pd.Series, places: pd.Index) -> None:
    there = _numbers(places, ids.to_numpy()) >= 0
    if there.any():
        raise ValueError(f"{there.sum():,} items are in the catalogue already, {ids[there].iloc[0]!r} first")


def _require_finite(scores: Tensor, log: Log) -> None:
    bad = (scores.isnan() | scores.isposinf()).any(1)
    if bad.any():
        user = log.users[log.with_history[int(bad.int().argmax())]]
        raise ValueError(f"the scores of user {user!r} are not finite: the model's weights have diverged")


def _popular(items: pd.DataFrame, users: np.ndarray, k: int, chosen: Filter) -> pd.DataFrame:
    """The same k most popular items for users of whom nothing is known."""
    if not len(users):
        return _table(items, users, torch.empty(0, k), torch.empty(0, k, dtype=torch.long), "user")
    counts = items["count"].to_numpy(dtype=float)
    offer = "they get the most popular items" if counts.any() else "no item has a count, so they get none"
    warnings.warn(f"no item is known of {len(users):,} users, {users[0]!r} first; {offer}", stacklevel=3)
    scores, best = _most_popular(torch.from_numpy(counts), k, chosen)
    return _table(items, users, scores.expand(len(users), k), best.expand(len(users), k), "user")


def _table(items: pd.DataFrame, names: np.ndarray, scores: Tensor, found: Tensor, name: str) -> pd.DataFrame:
    """Long table of [B, k] results; those at -inf are left out."""
    k = scores.shape[1]
    kept = torch.isfinite(scores).flatten().cpu().numpy()
    chosen = found.flatten().cpu().numpy()[kept]
    columns = {
        name: np.repeat(names.astype(object), k)[kept],
        "rank": np.tile(np.arange(1, k + 1), len(names))[kept],
        "item_id": items["item_id"].iloc[chosen].to_numpy(),
        "title": items["title"].iloc[chosen].to_numpy(),
        "score": scores.flatten().cpu().numpy().astype(float)[kept],
    }
    return pd.DataFrame(columns)


def _with_counts(items: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Another catalogue, with the counts that a model's folder knows where it has none of its own."""
    table = _checked(items)
    if "count" not in items and (folder / ITEMS).is_file():
        known = read_items(folder).set_index("item_id")["count"]
        table["count"] = known.reindex(table["item_id"], fill_value=0).to_numpy()
    return table


def _checked(items: pd.DataFrame) -> pd.DataFrame:
    """The columns that are read, whole and of their types; ValueError, naming the item, where one cannot be."""
    if not isinstance(items, pd.DataFrame):
        raise ValueError(f"items are a {type(items).__name__}; expected a table of item_id, title")
    source = items.attrs.get("source", "items")
    table = check_items(items, source)
    table["count"] = _counts(items["count"], table["item_id"], source) if "count" in items else 0
    if "vector" in items:
        vectors = [_vector(*pair, source) for pair in zip(items["vector"], table["item_id"], strict=True)]
        table["vector"] = pd.Series(vectors, dtype=object)
    return table


def _counts(column: pd.Series, ids: pd.Series, source: str) -> np.ndarray:
    counts = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(counts) | (counts < 0) | (counts > MOST) | (counts != np.floor(counts))
    if bad.any():
        given, item = column.iloc[bad.argmax()], ids.iloc[bad.argmax()]
        raise ValueError(f"{source}: the count of {item!r} is {given}; expected a whole number, 0 to {MOST:,}")
    return counts.astype(np.int64)


def _vector(given: object, item: str, source: str) -> np.ndarray:
    try:
        vector = np.asarray(given, dtype=np.float32)
    except (ValueError, TypeError):
        vector = np.array(np.nan, dtype=np.float32)
    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise ValueError(f"{source}: the vector of {item!r} is no list of finite numbers")
    return vector


def _index(items: pd.DataFrame) -> pd.Index:
    return pd.Index(items["item_id"].to_numpy(dtype=object), dtype=object)


def _numbers(places: pd.Index, item_ids: np.ndarray) -> np.ndarray:
    """Places in the catalogue, int64, -1 where an item is not there."""
    return places.get_indexer(pd.Index(item_ids, dtype=object)).astype(np.int64)


def _most_popular(counts: Tensor, k: int, chosen: Filter) -> tuple[Tensor, Tensor]:
    """Counts and numbers of the items taken most often, [1, k] both; -inf where fewer are left."""
    out = counts == 0 if chosen.hidden is None else (counts == 0) | chosen.hidden
    scores, items = counts.masked_fill(out, -torch.inf).sort(descending=True, stable=True)
    return chosen.best(lambda _, depth: (scores[None, :depth], items[None, :depth]), 1, len(counts), k)


def _encode(model: SRT, items: pd.DataFrame, dtype: torch.dtype) -> Tensor:
    """Item vectors [I, D] from what the model reads of items."""
    return model.encode_catalogue(model.features(items), len(items), dtype=dtype)


def _check_k(k: int, n_items: int) -> int:
    if not isinstance(k, numbers.Integral) or isinstance(k, bool):
        raise ValueError(f"k is {k!r}; expected a whole number")
    if not 1 <= k <= n_items:
        raise ValueError(f"k is {k}; expected 1 to {n_items:,}, the number of items in the catalogue")
    return int(k)
