"""Raw files of the synthetic world in the true format of Amazon Product Data: the pipeline seen at work."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srtlib.data.amazon.sources import STEPS, prepare
from srtlib.data.amazon.steps import METADATA, RATINGS, TRANSFER
from srtlib.data.synthetic import World
from srtlib.paths import home, make_folder

TRANSFER_SHARE = 0.03  # of the users are in each transfer set
STAY = 0.72  # chance that a user who has rated k items rates another: most end with fewer than five
NO_METADATA, BAD_TITLE, REPEATED = 0.01, 0.02, 0.01  # shares of the items


def prepare_synthetic(n_users: int, n_interactions: list[int], seed: int = 0) -> tuple[str, pd.DataFrame]:
    """Write raw files and run the whole pipeline on them.

    Args:
        n_users: in the file of ratings; most of them rate too little to be kept.
        n_interactions: sizes of the samples to make.
        seed: of the files and of the samples.

    Returns:
        The name of what was made, and every count, as `sources.prepare` returns them. The data sets are called
        <name>-<n>, one for each of `n_interactions`, and <name>-beauty, <name>-sports.
    """
    name = f"synthetic/raw-{n_users}-{seed}"
    raw = make_folder(home() / f"{name}-files", lambda aside: write_raw(aside, n_users, seed))
    sizes = {str(n): n for n in n_interactions}
    return name, prepare(raw, [step for step in STEPS if step != "download"], sizes=sizes, seed=seed, name=name)


def write_raw(folder: Path, n_users: int, seed: int = 0) -> None:
    """Ratings and metadata of domain "a", reviews and metadata of "b"; with users who rate little, as in life.

    Args:
        folder: to write to; it is there.
        n_users: in the file of ratings.
        seed: of both domains and of all draws.
    """
    rng = np.random.default_rng([seed, n_users])
    source, target = World(seed=seed, domain="a"), World(seed=seed, domain="b")
    log = source.sample(n_users, seed)
    place = log.groupby("user_id").cumcount()
    stays = pd.Series(rng.geometric(1 - STAY, n_users), index=log["user_id"].unique())
    log = log[place < log["user_id"].map(stays)]
    rows = log.assign(rating=rng.integers(1, 6, len(log)).astype(str) + pd.Series(".0", index=log.index))
    rows[["item_id", "user_id", "rating", "timestamp"]].sample(frac=1, random_state=seed).to_csv(
        folder / RATINGS, header=False, index=False
    )
    _write_gzip(folder / METADATA, map(json.dumps, _metadata(source.items, rng)))
    old = [repr({**item, "categories": [item["category"]]}) for item in _rows(target.items)]
    for part, (reviews, metadata) in enumerate(TRANSFER.values()):
        found = target.sample(max(3, int(TRANSFER_SHARE * n_users)), seed + part)
        users = dict(zip(found["user_id"].unique(), rng.permutation(log["user_id"].unique()), strict=False))
        columns = {"user_id": "reviewerID", "item_id": "asin", "timestamp": "unixReviewTime"}
        found = found.assign(user_id=found["user_id"].map(users), overall=5.0).rename(columns=columns)
        _write_gzip(folder / reviews, map(json.dumps, found.to_dict("records")))
        _write_gzip(folder / metadata, old)


def _metadata(items: pd.DataFrame, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of metadata, a few of them absent, without a title, with a page's script for one, or there twice."""
    fate = rng.random(len(items))
    rows = []
    for row, u in zip(_rows(items), fate, strict=True):
        if u < NO_METADATA:
            continue
        if u < NO_METADATA + BAD_TITLE:
            row["title"] = "" if u < NO_METADATA + BAD_TITLE / 2 else "var t = (new Date()).getTime();"
        rows += [row] * (2 if u > 1 - REPEATED else 1)
    return rows


def _rows(items: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[Any, str]] = items.to_dict("records")
    return [
        {
            "asin": row["item_id"],
            "title": row["title"],
            "brand": row["brand"],
            "category": row["categories"].split(" > "),
        }
        for row in rows
    ]


def _write_gzip(path: Path, lines: Iterable[str]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as stream:
        stream.writelines(f"{line}\n" for line in lines)
