"""The example that ships: small, whole, and what the script makes of the whole data."""

import os
from pathlib import Path

import pandas as pd
import pytest

from srtlib.data.excerpting import CUSTOMERS, LONGEST, excerpt
from srtlib.data.loading import load_dataset
from srtlib.data.reading import read_table
from srtlib.paths import project_root

FOLDER = project_root() / "datasets" / "online_retail"


def test_it_is_small_and_loads_by_name() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1e6
    data = load_dataset("online_retail")
    assert (data.n_users, data.n_items, data.n_interactions) == (3_000, 4_232, 176_032)
    assert max(data.offsets[1:] - data.offsets[:-1]) == LONGEST
    assert data.dropped == {"interactions_without_item": 0, "users_too_short": 0}
    assert (data.catalogue["title"] != "").all()


def test_its_source_is_named() -> None:
    text = (FOLDER / "SOURCE.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert "D. Chen" in text


def test_a_smaller_excerpt_is_a_part_of_a_larger_one(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    log, items = tables
    small, large = (excerpt(log, items, customers=n, longest=5)[0] for n in (10, 20))
    assert set(small["user_id"]) < set(large["user_id"])
    assert large.groupby("user_id").size().max() == 5
    for user, rows in large.groupby("user_id"):
        own = log[log["user_id"] == user].sort_values("timestamp")
        assert rows["item_id"].tolist() == own["item_id"].tolist()[-5:]


def test_it_is_what_the_script_makes_of_the_whole() -> None:
    whole = Path(os.environ.get("SRT_DATA", "nowhere")) / "online_retail_ii_2009_2011"
    if not whole.is_dir():
        pytest.skip("the whole data set is not in SRT_DATA")
    log, items = (read_table(whole / f"{stem}.parquet") for stem in ("interactions", "items"))
    made = excerpt(log[["user_id", "item_id", "timestamp"]], items[["item_id", "title"]])
    assert made[0]["user_id"].nunique() == CUSTOMERS
    for table, stem in zip(made, ("interactions", "items"), strict=True):
        pd.testing.assert_frame_equal(table, pd.read_parquet(FOLDER / f"{stem}.parquet"), check_dtype=False)
