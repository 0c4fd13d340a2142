"""Raw files of the synthetic world go through the real pipeline."""

from pathlib import Path

import pandas as pd
import pytest

from srtlib.data.amazon.made import prepare_synthetic
from srtlib.data.amazon.sources import scaled_sets, stages
from srtlib.data.loading import load_dataset


def test_prepared_worlds_have_a_funnel_and_unseen_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path))
    name, counts = prepare_synthetic(3_000, [200, 1_000], seed=0)
    left = stages(counts)["ratings"]
    assert left.is_monotonic_decreasing
    assert left.nunique() >= 5  # metadata, cold users, transfer users and the samples each take something
    large, small = (load_dataset(f"{name}-{n}") for n in (1_000, 200))
    assert set(small.user_ids) < set(large.user_ids)
    for part in ("beauty", "sports"):
        target = load_dataset(f"{name}-{part}")
        assert not set(target.user_ids) & set(large.user_ids)
        assert (target.catalogue["title"] != "").all()
    pd.testing.assert_frame_equal(prepare_synthetic(3_000, [200, 1_000], seed=0)[1], counts)


def test_scaled_sets_have_the_authors_counts_and_no_invented_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path))
    table = scaled_sets().set_index("set")
    assert table.loc["amazon-1M", ["training_targets, authors", "items, authors"]].tolist() == [813_811, 622_646]
    assert table.filter(like="ours").isna().all(axis=None)
