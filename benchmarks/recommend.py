"""Recommending to 1,000 users from 1M items at d=64: exact and approximate, with the latter's recall.

    OMP_NUM_THREADS=2 python benchmarks/recommend.py

A synthetic world of a million items, of which a model has learnt on 100,000 interactions (the first call trains it, for
some minutes, and keeps it in the data home): recall depends on how vectors lie, so random ones would not do. Needs the
extra faiss. Loading is timed once: encoding the catalogue, and reading its vectors from the cache.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from common import interleaved, record

from srtlib.data.loading import build_dataset
from srtlib.data.synthetic import World
from srtlib.params import Architecture, TrainParams
from srtlib.paths import home, make_folder
from srtlib.recipes import recipe_for
from srtlib.serving.recommender import Recommender
from srtlib.training.trainer import train

USERS, ITEMS, K = 1_000, 1_000_000, 10


def prepare(folder: Path) -> None:
    """A trained model with its catalogue, and 1,000 users' histories."""
    world = World(n_items=ITEMS)
    log = world.sample(12_000, seed=0)
    data = build_dataset(log, world.items, "a million items")
    recipe = recipe_for("srtlib", Architecture(d_model=64, n_layers=2), data)
    settings = {**recipe.train.model_dump(), "epochs": 5, "eval_every": 5, "protocol": "sampled:1000"}
    recipe = recipe.model_copy(update={"train": TrainParams(**settings)})
    train(recipe, data, folder / "runs", panel=data.panel(1_000))
    (model,) = (folder / "runs").glob("*/model")
    model.rename(folder / "model")
    users = log["user_id"].unique()[:USERS]
    log[log["user_id"].isin(users)].to_parquet(folder / "histories.parquet")


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    folder = make_folder(home() / "cache" / "benchmark_recommend", prepare)
    histories = pd.read_parquet(folder / "histories.parquet")
    one = histories[histories["user_id"] == histories["user_id"].iloc[0]]
    rows: list[dict[str, Any]] = []
    shutil.rmtree(home() / "cache" / "vectors", ignore_errors=True)
    for what in ("load, encoding the catalogue", "load, vectors cached"):
        rows.append({"what": what, "unit": "s", "median": timed(lambda: Recommender.load(folder / "model"))})
    exact = Recommender.load(folder / "model")
    began = time.perf_counter()
    approximate = Recommender.load(folder / "model", approximate=True)
    rows.append({"what": "load, vectors cached, FAISS index built", "unit": "s", "median": time.perf_counter() - began})
    calls = {
        "exact": lambda: timed(lambda: exact.recommend(histories, K)),
        "FAISS": lambda: timed(lambda: approximate.recommend(histories, K)),
        "exact, one user": lambda: timed(lambda: exact.recommend(one, K)),
        "FAISS, one user": lambda: timed(lambda: approximate.recommend(one, K)),
    }
    found = interleaved(calls, repeats=5)
    rows += [{"what": what, "unit": "s", **times} for what, times in found.items()]
    rows.append({"what": "recall@10 of FAISS", "unit": "share", "median": approximate.recall(histories, K)})
    shape = {"n_users": USERS, "n_items": ITEMS, "d_model": 64, "k": K}
    record("recommend", [{**row, **shape} for row in rows])


if __name__ == "__main__":
    main()
