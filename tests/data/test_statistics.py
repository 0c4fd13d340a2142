"""Statistics against pandas and numpy."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib.data.dataset import Dataset
from srtlib.data.statistics import describe, growth, vocabulary

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
