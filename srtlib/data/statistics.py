"""What a data set holds: counts, lengths of sequences, popularity of items, vocabulary; tables to compare and draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
from ibis import _
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from srtlib.data.dataset import MIN_LENGTH, Dataset
from srtlib.data.engines.expressions import distribution
from srtlib.data.engines.interrupts import interruptible
from srtlib.data.loading import find_folder, load_dataset, read_tables
from srtlib.data.text import token_bags, train_tokenizer
from srtlib.paths import write_text

QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.99)
DISTRIBUTIONS = {"sequence_length": "user_id", "item_popularity": "item_id"}
FIELDS = {"title": 40, "brand": 8}  # the paper's text fields and how many tokens of each it keeps
GROWTH = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000)  # interactions of recorded samples
VOCABULARY = 30_000  # the paper's


def table_statistics(interactions: Table, items: Table) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The counts and the distributions of a data set.

    Both come from aggregates, so that the data may be larger than memory.

    Args:
        interactions: user_id, item_id, timestamp.
        items: item_id and text fields.

    Returns:
        Counts (statistic, value), and distributions (distribution, value, count): `count` users (or items) have `value`
        interactions each.
    """
    found = {name: distribution(interactions, column).to_pandas() for name, column in DISTRIBUTIONS.items()}
    lengths, popularity = found.values()
    text = {f"items_with_{name}": (_[name].fill_null("") != "").sum() for name in items.columns if name != "item_id"}
    catalogue = items.agg(items=_.count(), **text).to_pandas().iloc[0]
    times = interactions.agg(first=_.timestamp.min(), last=_.timestamp.max()).to_pandas().iloc[0]
    counts = {
        "users": lengths["count"].sum(),
        "interactions": (lengths["value"] * lengths["count"]).sum(),
        "training_targets": ((lengths["value"] - MIN_LENGTH).clip(lower=0) * lengths["count"]).sum(),
        **catalogue,
        "items_with_interactions": popularity["count"].sum(),
        **_spread("sequence_length", lengths),
        **_spread("item_popularity", popularity),
        "first_timestamp": times["first"],
        "last_timestamp": times["last"],
    }
    tables = [table.assign(distribution=name)[["distribution", "value", "count"]] for name, table in found.items()]
    return tidy(counts), pd.concat(tables, ignore_index=True)


def describe(name_or_path: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`table_statistics` of a data set on disk, known by its name or its path.

    >>> counts, distributions = describe("synthetic")
    >>> int(counts.set_index("statistic").loc["items", "value"])
    5000
    """
    interactions, items = read_tables(find_folder(name_or_path))
    connection = ibis.duckdb.connect()
    try:
        with interruptible(connection.con.interrupt):
            return table_statistics(_seen(connection, interactions), _seen(connection, items))
    finally:
        connection.disconnect()


def evaluation_statistics(name_or_path: str | Path) -> pd.DataFrame:
    """What an evaluation must know of a data set (statistic, value), as shares.

    repeats_in_test: test items that the user has had before. ties_in_time: neighbouring interactions of a user at one
    time, such as a basket's, whose order is no order. unseen_in_test: test items without a training interaction.
    popularity_ndcg@10: what offering everybody the items most taken in training reaches, all items ranked, ties at
    their expected rank.

    Args:
        name_or_path: of the data set.
    """
    dataset = load_dataset(name_or_path)
    users, ends, targets = np.arange(dataset.n_users), dataset.history_ends("test"), dataset.targets("test")
    user = np.repeat(users, np.diff(dataset.offsets))
    had = (np.arange(dataset.n_interactions) < ends[user]) & (dataset.items == targets[user])
    log = read_tables(find_folder(name_or_path))[0].sort_values(["user_id", "timestamp"])
    same_user = (log["user_id"] == log["user_id"].shift()).to_numpy(dtype=bool)
    same_time = (log["timestamp"] == log["timestamp"].shift()).to_numpy(dtype=bool)
    shares = {
        "repeats_in_test": len(np.unique(user[had])) / dataset.n_users,
        "ties_in_time": (same_user & same_time).sum() / max(1, same_user.sum()),
        "unseen_in_test": (dataset.train_counts[targets] == 0).mean(),
        "popularity_ndcg@10": _popularity_ndcg(dataset.train_counts, targets),
    }
    return tidy(shares)


def _popularity_ndcg(counts: np.ndarray, targets: np.ndarray, k: int = 10) -> float:
    rising, own = np.sort(counts), counts[targets]
    up_to, below = (np.searchsorted(rising, own, side) for side in ("right", "left"))
    ranks = 1 + len(counts) - up_to + (up_to - below - 1) / 2
    return float(np.where(ranks <= k, 1 / np.log2(1 + ranks), 0).mean())


MISLEADING = {
    "repeats_in_test": "of the test items were had by their user before: the ranking of new items leaves these out",
    "ties_in_time": "of neighbouring interactions have one time: the order in a basket, drawn or kept, is no order",
    "unseen_in_test": "of the test items have no training interaction: only a model that reads text can find them",
}


def protocol_warnings(statistics: pd.DataFrame, above: float = 0.1) -> list[str]:
    """Where the default protocol, the last interaction of each user as the test, would mislead: a line for each reason.

    Args:
        statistics: as from `evaluation_statistics`.
        above: share from which on there is a line.

    >>> protocol_warnings(tidy({"repeats_in_test": 0.3, "ties_in_time": 0.0, "unseen_in_test": 0.0}))
    ['30% of the test items were had by their user before: the ranking of new items leaves these out']
    """
    shares = statistics.set_index("statistic")["value"]
    return [f"{shares[name]:.0%} {what}" for name, what in MISLEADING.items() if shares[name] > above]


def vocabulary(catalogue: pd.DataFrame, vocab_size: int = VOCABULARY) -> pd.DataFrame:
    """The vocabulary of titles and brands (statistic, value), counted as the authors do.

    A byte-pair tokenizer of at most `vocab_size` pieces is learnt from all titles and brands; a field's vocabulary is
    the pieces that occur in it, and `vocabulary` is the sum over both fields, the rows of the model's embeddings.

    Args:
        catalogue: title, brand, text without nulls.
        vocab_size: most pieces of the tokenizer.

    >>> catalogue = pd.DataFrame({"title": ["red pen", "red ink"], "brand": ["acme", "acme"]})
    >>> vocabulary(catalogue, 100).set_index("statistic")["value"].to_dict()
    {'vocabulary': 8, 'vocabulary_title': 7, 'vocabulary_brand': 1, 'tokens': 12}
    """
    tokenizer = train_tokenizer((text for field in FIELDS for text in catalogue[field]), vocab_size)
    bags = token_bags(catalogue, tokenizer, FIELDS)
    sizes = {f"vocabulary_{field}": len(np.unique(bags.ids[field])) for field in FIELDS}
    return tidy({"vocabulary": sum(sizes.values()), **sizes, "tokens": sum(map(len, bags.ids.values()))})


def entropies(dataset: Dataset) -> pd.DataFrame:
    """How uncertain the next item is, in bits, in the training part of the sequences, for each part of a pool.

    Columns: part (empty where this is no pool), `transitions` (pairs of neighbours), `item_entropy` (of the next item,
    its popularity alone being known) and `next_item_entropy` (the last item being known too). Both are the plug-in
    estimate with the correction of Miller & Madow (1955); where most pairs occur once, it lies far below the truth.
    """
    user = np.repeat(np.arange(dataset.n_users), np.diff(dataset.offsets))
    place = np.arange(dataset.n_interactions)
    known = place[(place > dataset.offsets[user]) & (place < dataset.train_ends[user])]
    parts = dataset.user_parts[user[known]]
    rows = []
    for part in dict.fromkeys(parts):
        of_part = known[parts == part]
        last, following = dataset.items[of_part - 1].astype(np.int64), dataset.items[of_part]
        alone = _entropy(last)
        rows.append([part, len(of_part), _entropy(following), _entropy(last * dataset.n_items + following) - alone])
    return pd.DataFrame(rows, columns=["part", "transitions", "item_entropy", "next_item_entropy"])


def _entropy(values: np.ndarray) -> float:
    """In bits, corrected for what a sample of this size misses."""
    counts = np.unique(values, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum() + (len(counts) - 1) / (2 * counts.sum() * np.log(2)))


def growth(dataset: Dataset, n_interactions: list[int], seed: int = 0) -> pd.DataFrame:
    """How a catalogue grows with its users: one row per nested sample of users.

    Args:
        dataset: to sample.
        n_interactions: sizes of the samples.
        seed: of the draw.

    Returns:
        Columns users, interactions, training_targets, items, words (different words in the titles).
    """
    samples = [dataset.sample_users(n_interactions=n, seed=seed) for n in n_interactions]
    rows = [
        {
            "users": sample.n_users,
            "interactions": sample.n_interactions,
            "training_targets": sample.n_targets,
            "items": sample.n_items,
            "words": sample.catalogue["title"].str.lower().str.findall(r"\w+").explode().nunique(),
        }
        for sample in samples
    ]
    return pd.DataFrame(rows)


def growth_exponents(growth: pd.DataFrame) -> pd.Series:
    """How items and words grow with users: slopes of their logarithms, from the smallest sample to the largest.

    >>> growth_exponents(pd.DataFrame({"users": [1, 100], "items": [2, 20], "words": [3, 3]})).to_dict()
    {'items': 0.5, 'words': 0.0}
    """
    first, *_between, last = growth.sort_values("users").to_dict("records")
    users = np.log(last["users"] / first["users"])
    return pd.Series({name: float(np.log(last[name] / first[name]) / users) for name in ("items", "words")})


def record(names: Sequence[str], folder: Path, seed: int = 0) -> None:
    """Describe data sets and write what the book shows of them: statistics.csv, distributions.csv, growth.csv.

    Every row carries the set's name; statistics.csv has its fingerprint and the day as well.

    Args:
        names: of the data sets.
        folder: to write to.
        seed: of ties in time and of the samples.
    """
    tables: dict[str, list[pd.DataFrame]] = {"statistics": [], "distributions": [], "growth": []}
    for name in names:
        dataset = load_dataset(name, seed)
        counts, distributions = describe(name)
        counts = pd.concat([counts, evaluation_statistics(name)])
        about: dict[str, Any] = {"fingerprint": dataset.fingerprint, "seed": seed, "date": f"{date.today():%Y-%m-%d}"}
        sizes = [n for n in GROWTH if n < dataset.n_interactions]
        found = (counts.assign(**about), distributions, growth(dataset, [*sizes, dataset.n_interactions], seed))
        for kind, table in zip(tables, found, strict=True):
            table.insert(0, "set", name)
            tables[kind].append(table)
    for kind, parts in tables.items():
        write_text(folder / f"{kind}.csv", pd.concat(parts).to_csv(index=False))


def tidy(counts: Mapping[str, float]) -> pd.DataFrame:
    """Counts as a table with the columns statistic and value; whole numbers stay whole."""
    return pd.DataFrame({"statistic": list(counts), "value": pd.Series(list(counts.values()), dtype=object)})


def read_counts(path: Path) -> pd.DataFrame:
    """A table of counts as `tidy` made it, from its CSV file."""
    table = pd.read_csv(path, dtype=str)
    return tidy(
        {name: int(v) if v.isdigit() else float(v) for name, v in zip(table["statistic"], table["value"], strict=True)}
    )


def _seen(connection: Backend, table: pd.DataFrame) -> Table:
    """A table as the engine sees it, without a copy in the engine."""
    name = ibis.util.gen_name("table")
    connection.con.register(name, pa.Table.from_pandas(table, preserve_index=False))
    return connection.table(name)


def _spread(name: str, histogram: pd.DataFrame) -> dict[str, float]:
    """Mean, extremes and quantiles of a histogram (value, count)."""
    values, counts = histogram["value"].to_numpy(), histogram["count"].to_numpy()
    reached = np.cumsum(counts)
    quantiles = values[np.searchsorted(reached, np.array(QUANTILES) * reached[-1])]
    return {
        f"{name}_mean": round(float(values @ counts / reached[-1]), 4),
        f"{name}_min": values[0],
        **{f"{name}_p{100 * q:.0f}": value for q, value in zip(QUANTILES, quantiles, strict=True)},
        f"{name}_max": values[-1],
    }
