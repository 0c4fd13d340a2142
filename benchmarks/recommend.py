"""Recommending from 10^4 to 10^7 items at d=64, to one user and to 1,000: exact and with FAISS, its recall, and memory.

    OMP_NUM_THREADS=1 python benchmarks/recommend.py

A model learns on 100,000 interactions in a synthetic world of a million items (the first call trains it, for some
minutes, and keeps it in the data home) and serves worlds of each size, the largest ten of a million, by their words:
recall depends on how vectors lie, so random ones would not do. Vectors are float16. Needs the extra faiss, and Linux.
Each search has a process, so that memory is its own; the two of a size take turns. Percentiles are over the requests
of all repeats: of the few with 1,000 users p99 is nearly the highest. Loading is timed twice: vectors and index made,
and mapped.
"""

import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import record

from srtlib.data.loading import build_dataset
from srtlib.data.synthetic import World
from srtlib.model.folder import write_items
from srtlib.model.srt import SRT
from srtlib.params import Architecture, TrainParams
from srtlib.paths import home, make_folder
from srtlib.recipes import recipe_for
from srtlib.serving.recommender import APPROXIMATE_FROM, Recommender
from srtlib.training.trainer import train

SIZES = (10**4, 10**5, 10**6, 10**7)
USERS, TRAINED_ON, K = 1_000, 1_000_000, 10
REPEATS, REQUESTS = 5, 50  # in each repeat: requests of one user each, and one of all 1,000


def trained(folder: Path) -> None:
    """A model of a world of a million items."""
    world = World(n_items=TRAINED_ON)
    data = build_dataset(world.sample(12_000, seed=0), world.items, "a million items")
    recipe = recipe_for("srtlib", Architecture(d_model=64, n_layers=2), data)
    settings = {**recipe.train.model_dump(), "epochs": 5, "eval_every": 5, "protocol": "sampled:1000"}
    recipe = recipe.model_copy(update={"train": TrainParams(**settings)})
    train(recipe, data, folder / "runs", panel=data.panel(1_000))
    (model,) = (folder / "runs").glob("*/model")
    model.rename(folder / "model")


def prepare(folder: Path, model: Path, n_items: int) -> None:
    """The model with a catalogue, and histories of 1,000 users of its first world."""
    worlds = [World(n_items=min(n_items, TRAINED_ON), seed=seed) for seed in range(max(1, n_items // TRAINED_ON))]
    items = [world.items.assign(item_id=f"{world.seed}-" + world.items["item_id"]) for world in worlds]
    SRT.from_pretrained(model).save_pretrained(folder / "model")
    write_items(folder / "model", pd.concat(items, ignore_index=True).assign(count=0))
    log = worlds[0].sample(USERS, seed=1)
    log.assign(item_id="0-" + log["item_id"]).to_parquet(folder / "histories.parquet")


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def memory(reset: bool = False) -> int:
    """Bytes of memory that this process has held at most, since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return peak


def serve(folder: Path, search: str) -> None:
    """Say how long loading took; then measure once for each line that comes in, and at the end memory and recall."""
    began = time.perf_counter()
    made = Recommender.load(folder / "model", approximate=search == "FAISS", half=True)
    print(json.dumps({"s": time.perf_counter() - began, "peak_bytes": memory()}), flush=True)
    histories = pd.read_parquet(folder / "histories.parquet")
    users = itertools.cycle([history for _, history in histories.groupby("user_id")])
    for number, line in enumerate(sys.stdin):
        if number == 0:
            made.recommend(histories, K)  # to warm up
            memory(reset=True)
        if line == "end\n":
            print(json.dumps({"peak_bytes": memory(), "recall": made.recall(histories, K)}), flush=True)
            return
        one = [timed(partial(made.recommend, next(users), K)) for _ in range(REQUESTS)]
        print(json.dumps({"one_user": one, "all_users": [timed(partial(made.recommend, histories, K))]}), flush=True)


class Server:
    """A process that serves one catalogue by one search."""

    def __init__(self, folder: Path, search: str) -> None:
        command = [sys.executable, __file__, "serve", str(folder), search]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.loaded = self.answer()

    def answer(self, line: str = "") -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if line:
            print(line, file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def end(self) -> None:
        self.process.communicate()


def measure(folder: Path, n_items: int) -> list[dict[str, Any]]:
    """A row for each search: seconds and bytes."""
    shutil.rmtree(folder / "model" / "search", ignore_errors=True)
    searches = ("exact", "FAISS") if n_items >= APPROXIMATE_FROM else ("exact",)
    first = {}
    for search in searches:
        making = Server(folder, search)
        making.end()
        first[search] = making.loaded
    servers = {search: Server(folder, search) for search in searches}
    rounds = [{search: server.answer("go") for search, server in servers.items()} for _ in range(REPEATS)]
    rows = []
    for search, server in servers.items():
        row: dict[str, Any] = {"n_items": n_items, "search": search, "k": K, "repeats": REPEATS}
        for name in ("one_user", "all_users"):
            times = [seconds for each in rounds for seconds in each[search][name]]
            row |= {f"{name}_p{p}_s": float(np.percentile(times, p)) for p in (50, 99)}
            row[f"{name}_requests"] = len(times)
        row |= {f"first_load_{name}": value for name, value in first[search].items()}
        row |= {f"load_{name}": value for name, value in server.loaded.items()}
        rows.append({**row, **server.answer("end")})
        server.end()
    return rows


def main() -> None:
    model = make_folder(home() / "cache" / "benchmark_recommend", trained) / "model"
    rows = []
    for n_items in SIZES:
        folder = home() / "cache" / f"benchmark_recommend_{n_items}"
        subprocess.run([sys.executable, __file__, "prepare", str(folder), str(model), str(n_items)], check=True)
        rows += measure(folder, n_items)
    shape = {"users": USERS, "d_model": 64, "dtype": "float16", "faiss": version("faiss-cpu")}
    record("recommend", [{**row, **shape} for row in rows])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare", folder, model, n_items]:
            make_folder(Path(folder), lambda aside: prepare(aside, Path(model), int(n_items)))
        case ["serve", folder, search]:
            serve(Path(folder), search)
        case _:
            main()
