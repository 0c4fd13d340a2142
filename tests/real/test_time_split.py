"""A split by time of real ratings, against pandas."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib.data.dataset import PARTS
from srtlib.data.loading import build_dataset, load_dataset
from srtlib.data.splitting import target_groups
from srtlib.protocols import Cuts

NAME = "movielens_1m"
FOLDER = Path(os.environ.get("SRT_DATA", "")) / NAME
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"SRT_DATA names no folder with {NAME}")
CUTS = Cuts(0.8, 0.9, True)


def test_counts_of_the_whole() -> None:
    data = load_dataset(NAME, cuts=CUTS)
    log = pd.read_parquet(FOLDER / "interactions.parquet")
    first, second = (np.sort(log["timestamp"])[int(np.ceil(q * (len(log) - 1)))] for q in (0.8, 0.9))
    at = log["timestamp"]
    train = log[at < first]
    assert data.n_targets == (train.groupby("user_id").size() - 1).sum()
    assert 0.79 < len(train) / len(log) <= 0.8
    for part, inside in zip(PARTS, ((at >= first) & (at < second), at >= second), strict=True):
        begun = log[at < (first if part == "valid" else second)]["user_id"].unique()
        judged = {user for user in log["user_id"][inside].unique() if user in set(begun)}
        assert len(judged) == data.has_target(part).sum() == data.with_target(part).n_users
        assert data.held_out(part).sum() == log["user_id"][inside].nunique()
    cold = len(judged - set(train["user_id"]))
    assert target_groups(data, data, "test")["cold_users"].sum() == cold > 100


def test_targets_of_an_excerpt() -> None:
    """Where many ratings share a second, the target is one of the first second's."""
    log, items = (pd.read_parquet(FOLDER / f"{stem}.parquet") for stem in ("interactions", "items"))
    log = log[log["user_id"].isin(log["user_id"].unique()[::20])]
    data = build_dataset(log, items, "excerpt", cuts=CUTS)
    times = np.sort(log["timestamp"])
    second = times[int(np.ceil(0.9 * (len(times) - 1)))]
    judged = data.with_target("test")
    ids = judged.catalogue["item_id"].to_numpy()
    assert judged.n_users > 30
    for user, start, end, target in zip(
        judged.user_ids, judged.offsets, judged.history_ends("test"), judged.targets("test"), strict=False
    ):
        own = log[log["user_id"].astype(str) == user]
        later = own[own["timestamp"] >= second]
        earliest = later["item_id"][later["timestamp"] == later["timestamp"].min()].astype(str)
        assert ids[target] in set(earliest)
        earlier = own["item_id"][own["timestamp"] < second].astype(str)
        assert sorted(ids[judged.items[start:end]]) == sorted(earlier)
