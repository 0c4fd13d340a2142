"""Statistics against pandas and numpy."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib.data import statistics
from srtlib.data.dataset import Dataset
from srtlib.data.loading import load_dataset
from srtlib.data.statistics import describe, entropies, growth, vocabulary
from srtlib.evaluation import metrics
from srtlib.studies import baselines

Tables = tuple[pd.DataFrame, pd.DataFrame]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_counts_and_distributions(tables: Tables, dataset: Dataset, tmp_path: Path, suffix: str) -> None:
    for table, stem in zip(tables, ("interactions", "items"), strict=True):
        path = tmp_path / f"{stem}.{suffix}"
        table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    counts, distributions = describe(tmp_path)
    found = dict(counts.itertuples(index=False))
    log, items = tables
    lengths, popularity = log.groupby("user_id").size(), log.groupby("item_id").size()
    assert found["users"] == 60
    assert found["interactions"] == len(log)
    assert found["training_targets"] == dataset.n_targets
    assert (found["items"], found["items_with_interactions"]) == (40, log["item_id"].nunique())
    assert found["items_with_brand"] == (items["brand"] != "").sum()
    assert (found["first_timestamp"], found["last_timestamp"]) == (log["timestamp"].min(), log["timestamp"].max())
    for name, values in (("sequence_length", lengths), ("item_popularity", popularity)):
        assert found[f"{name}_mean"] == pytest.approx(values.mean(), abs=1e-4)
        assert (found[f"{name}_min"], found[f"{name}_max"]) == (values.min(), values.max())
        for q in (0.25, 0.5, 0.75, 0.9, 0.99):
            assert found[f"{name}_p{100 * q:.0f}"] == np.quantile(values, q, method="inverted_cdf")
        rows = distributions[distributions["distribution"] == name]
        assert dict(zip(rows["value"], rows["count"], strict=True)) == values.value_counts().to_dict()


def test_growth_is_that_of_the_samples(dataset: Dataset) -> None:
    table = growth(dataset, [200, 400, 10_000], seed=1)
    for n, row in zip((200, 400, 10_000), table.to_dict("records"), strict=True):
        sample = dataset.sample_users(n_interactions=n, seed=1)
        assert (row["users"], row["items"], row["interactions"]) == (
            sample.n_users,
            sample.n_items,
            sample.n_interactions,
        )
        assert row["words"] == len({word for title in sample.catalogue["title"] for word in title.split()})
    assert table["items"].is_monotonic_increasing


def test_vocabulary_is_bounded_and_counts_both_fields(tables: Tables) -> None:
    found = dict(vocabulary(tables[1], 60).itertuples(index=False))
    assert found["vocabulary"] == found["vocabulary_title"] + found["vocabulary_brand"]
    assert 0 < found["vocabulary_brand"] < found["vocabulary_title"] <= 60


def test_entropies_are_those_of_a_known_chain() -> None:
    """Part a: the next of eight items is the one after the last, with probability 1/4 the one after that; b: any."""
    rng = np.random.default_rng(0)
    users, length = 400, 60
    steps = rng.choice([1, 2], p=[0.75, 0.25], size=(users, length)).cumsum(1) % 8
    items = np.concatenate([steps, 8 + rng.integers(0, 8, size=(users, length))])
    ids = [f"{part}/{i}" for part in "ab" for i in range(users)]
    catalogue = pd.DataFrame({"item_id": [f"{part}/{i}" for part in "ab" for i in range(8)], "title": "x"})
    dataset = Dataset(
        name="pool", user_ids=np.array(ids), offsets=np.arange(0, 2 * users * length + 1, length), parts=("a", "b"),
        items=items.ravel().astype(np.int32), catalogue=catalogue,
    )  # fmt: skip
    table = entropies(dataset).set_index("part")
    assert table["transitions"].tolist() == [users * (length - 3)] * 2  # without the two held out, and the first
    assert table["item_entropy"].tolist() == pytest.approx([3, 3], abs=0.01)
    chain = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert table["next_item_entropy"].tolist() == pytest.approx([chain, 3], abs=0.01)
    whole = Dataset(**{**vars(dataset), "parts": ()})
    (row,) = entropies(whole).to_dict("records")
    assert (row["part"], row["transitions"]) == ("", 2 * users * (length - 3))
    assert row["item_entropy"] == pytest.approx(4, abs=0.01)


def test_what_an_evaluation_must_know(tmp_path: Path) -> None:
    """By hand: of four users one buys again, and one ends with an item that nobody was trained on; u's last two and v's
    first two have one time."""
    log = pd.DataFrame(
        {
            "user_id": list("uuuvvvwwwxxx"),
            "item_id": list("abcabaabdbac"),
            "timestamp": [1, 2, 2, 1, 1, 2, 1, 2, 3, 1, 2, 3],
        }
    )
    log.to_parquet(tmp_path / "interactions.parquet")
    pd.DataFrame({"item_id": list("abcd"), "title": list("ABCD")}).to_parquet(tmp_path / "items.parquet")
    shares = statistics.evaluation_statistics(tmp_path).set_index("statistic")["value"]
    data = load_dataset(tmp_path)
    last = [data.items[end - 1] for end in data.offsets[1:]]
    again = [last[u] in data.items[data.offsets[u] : data.offsets[u + 1] - 1] for u in range(4)]
    seen = {int(data.items[start]) for start in data.offsets[:-1]}
    assert shares["repeats_in_test"] == np.mean(again) == 0.25
    assert shares["ties_in_time"] == 2 / 8
    assert shares["unseen_in_test"] == np.mean([int(item) not in seen for item in last])


def test_popularity_is_the_baseline_that_is_recorded_elsewhere(folder: str, dataset: Dataset) -> None:
    shares = statistics.evaluation_statistics(folder).set_index("statistic")["value"]
    ranks = baselines.score_ranks(baselines.popularity(dataset), dataset)
    assert 0.05 < shares["popularity_ndcg@10"] == pytest.approx(metrics(ranks)["ndcg@10"])


@pytest.mark.parametrize("share", [0.1, 0.100001])
@pytest.mark.parametrize("name", statistics.MISLEADING)
def test_a_protocol_that_misleads_is_said(name: str, share: float) -> None:
    shares = dict.fromkeys(statistics.MISLEADING, 0.0) | {name: share}
    table = pd.DataFrame({"statistic": list(shares), "value": list(shares.values())})
    said = statistics.protocol_warnings(table)
    assert said == ([f"10% {statistics.MISLEADING[name]}"] if share > 0.1 else [])


def test_what_is_recorded_says_what_an_evaluation_must_know(folder: str, dataset: Dataset, tmp_path: Path) -> None:
    statistics.record([folder], tmp_path)
    recorded = pd.read_csv(tmp_path / "statistics.csv").set_index("statistic")
    for table in (describe(folder)[0], statistics.evaluation_statistics(folder)):
        expected = table.set_index("statistic")["value"].astype(float)
        assert recorded.loc[expected.index, "value"].to_numpy() == pytest.approx(expected.to_numpy())
    assert set(recorded["fingerprint"]) == {dataset.fingerprint}
    assert pd.read_csv(tmp_path / "growth.csv")["interactions"].max() == dataset.n_interactions
