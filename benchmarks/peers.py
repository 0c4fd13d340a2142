"""srtlib beside RecTools and RecBole on Amazon Beauty: training targets per second, and time to the same quality.

    SRT_DATA=... python benchmarks/peers.py [speed | quality] [--peer NAME ...] [--env FOLDER]

All train 2 layers of width 64 (and that inner width, where not said otherwise), one head, at most 50 positions, on one
thread, on the same interactions. Batches, optimiser and dropout are each library's own. RecTools scores 100 negatives,
drawn for each position; RecBole has no sampled softmax and scores all items. A target is one next-item prediction that
the loss supervises: RecTools and srtlib supervise every position of a sequence, RecBole makes a padded sample of each.

The peers live in an environment of their own (--env; made on first use, several minutes), each in a process that trains
only when it is asked to; so all take turns. Time is processor time of training (one thread), which other work on the
machine disturbs less than the clock. Quality: training goes on in slices, and after each one every user's validation
item is ranked among all items, with srtlib's evaluator for all. A contestant is done when its recipe ends, or when its
best is old (`PATIENCE`). That may be ended at any time: what was reached is recorded after every round.
"""

import argparse
import json
import subprocess
import tempfile
import time
import venv
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import interleaved, record
from peer_worker import PEERS
from throughput import trainer
from tqdm import tqdm

from srtlib.data.dataset import Dataset
from srtlib.data.loading import load_dataset
from srtlib.evaluation import _judge, judge, metrics
from srtlib.params import Architecture, Recipe
from srtlib.recipes import recipe_for
from srtlib.training.trainer import Trainer

# RecBole 1.2.1 asks for more (ray) than its sequential models use, and needs numpy before 2.
PACKAGES = (
    ["torch==2.13.0", "rectools[torch]==0.19.0", "numpy<2"],
    ["colorama==0.4.4", "colorlog==4.7.2", "scikit-learn", "tabulate", "tensorboard", "texttable", "thop"],
    ["--no-deps", "recbole==1.2.1"],
)
VERSIONS = "from importlib.metadata import version as v; print(v('rectools'), v('recbole'), v('torch'), v('numpy'))"
OURS = "srtlib"
OWN_RECIPE, PAPER_RECIPE = f"{OURS}, default recipe", f"{OURS}, the paper's recipe"
SPEED_SLICE, SPEED_REPEATS = 3.0, 3  # processor s
QUALITY_SLICE, QUALITY_BUDGET = 60.0, 5400.0  # processor s of each peer, and of the paper's recipe
OWN_SLICE = 2.0  # processor s: srtlib's recipe is evaluated more finely
PATIENCE = 8  # slices without a new best


class Peer:
    """One library in a process of its own."""

    def __init__(self, python: Path, name: str, folder: Path) -> None:
        command = [str(python), str(Path(__file__).with_name("peer_worker.py")), name, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.vectors_path = folder / f"{name}.npz"
        self.spent = {"targets": 0.0, "cpu_s": 0.0}

    def train(self, seconds: float) -> dict[str, float]:
        """targets and cpu_s of about `seconds` of training; `spent` is their sum."""
        return spend(self.spent, self._ask(str(seconds)))

    def ranks(self, dataset: Dataset) -> np.ndarray:
        """Of the users' validation items among all; an item that the peer does not know is ranked last."""
        self._ask("vectors")
        with np.load(self.vectors_path) as found:
            outputs, vectors = torch.as_tensor(found["outputs"]), torch.as_tensor(found["vectors"])
        unknown = vectors.isnan().any(1, keepdim=True)
        vectors = torch.cat([vectors.nan_to_num(0), torch.where(unknown, -1e6, 0.0)], 1)
        outputs = torch.cat([outputs, torch.ones(len(outputs), 1)], 1)
        targets = torch.as_tensor(dataset.targets("valid").copy()).long()
        parts = zip(outputs.split(1024), targets.split(1024), strict=True)
        return torch.cat([_judge(rows, vectors, own, None, None, 16_384)[0] for rows, own in parts]).numpy()

    def _ask(self, order: str) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            print(order, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.vectors_path.stem} ended; its messages stand above")
        return json.loads(answer)


class Own:
    """srtlib in this process."""

    def __init__(self, made: Trainer) -> None:
        self.made = made
        self.epoch = made.epoch()
        self.spent = {"targets": 0.0, "cpu_s": 0.0}

    def train(self, seconds: float) -> dict[str, float]:
        """As Peer's; stops early where the recipe ends."""
        cpu, targets = time.process_time(), 0
        at = self.made.at
        while time.process_time() - cpu < seconds and at.epoch < self.made.params.epochs:
            targets += self.made.step(self.epoch)
            if at.batch == len(self.epoch):
                at.epoch, at.batch = at.epoch + 1, 0
                if at.epoch < self.made.params.epochs:
                    self.epoch = self.made.epoch()
        return spend(self.spent, {"targets": targets, "cpu_s": time.process_time() - cpu})

    def ranks(self, dataset: Dataset) -> np.ndarray:
        """As Peer's."""
        return judge(self.made.model, dataset, "valid").ranks


def spend(spent: dict[str, float], done: dict[str, float]) -> dict[str, float]:
    """Add what is done to what is spent."""
    for what in spent:
        spent[what] += done[what]
    return done


def environment(folder: Path) -> Path:
    """The Python of the peers' environment, made and filled if it is not there."""
    python, done = folder / "bin" / "python", folder / ".done"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        for packages in PACKAGES:
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        done.touch()
    return python


def hand_over(dataset: Dataset, folder: Path) -> None:
    """The interactions and the items' categories, as peer_worker.py reads them."""
    np.savez(folder / "data.npz", items=dataset.items, offsets=dataset.offsets)
    paths = dataset.catalogue["categories"].str.split(r"\s*[>|]\s*", regex=True)
    words = [" ".join(dict.fromkeys(part.replace(" ", "_") for part in path)) for path in paths]
    (folder / "categories.json").write_text(json.dumps(words))


def own(dataset: Dataset, recipe_name: str = "srtlib") -> Trainer:
    """A recipe of srtlib's at width 64, 2 layers."""
    recipe: Recipe = recipe_for(recipe_name, Architecture(d_model=64, n_layers=2), dataset)
    place = Path(tempfile.mkdtemp())
    return Trainer(recipe, dataset, dataset.panel(10), place, None, None, torch.device("cpu"))


def speed(contestants: dict[str, Own | Peer], about: dict[str, Any]) -> None:
    """Targets per processor second."""

    def rate(contestant: Own | Peer) -> float:
        done = contestant.train(SPEED_SLICE)
        return done["targets"] / done["cpu_s"]

    for contestant in contestants.values():
        contestant.train(1.0)  # to warm up
    calls = {name: partial(rate, contestant) for name, contestant in contestants.items()}
    found = interleaved(calls, SPEED_REPEATS)
    rows = [{"system": name, "unit": "targets per processor s", **found[name]} for name in contestants]
    best = found[next(iter(contestants))]["median"]
    record("peers", [{**row, "srtlib_over_it": best / found[str(row["system"])]["median"], **about} for row in rows])


def quality(dataset: Dataset, contestants: dict[str, Own | Peer], about: dict[str, Any]) -> None:
    """Validation NDCG@10 against processor seconds of training."""
    curves: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    training = list(contestants)
    for _ in tqdm(range(round(QUALITY_BUDGET / QUALITY_SLICE)), desc="rounds", disable=None):
        for name in list(training):
            contestant, curve = contestants[name], curves[name]
            learnt = contestant.train(OWN_SLICE if name == OWN_RECIPE else QUALITY_SLICE)["targets"]
            if learnt:
                curve.append({**contestant.spent, "ndcg@10": metrics(contestant.ranks(dataset))["ndcg@10"]})
            if not learnt or (name in PEERS and best_is_old(curve)):
                training.remove(name)
        record("peers_quality", [{**row, **about} for row in compared(curves)])
        if not training:
            break


def best_is_old(curve: list[dict[str, float]]) -> bool:
    """Whether the last `PATIENCE` points hold no new best."""
    values = [point["ndcg@10"] for point in curve]
    return len(values) > PATIENCE and max(values[-PATIENCE:]) <= max(values[:-PATIENCE])


def compared(curves: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """The best that each reached, when, and when srtlib (the first) had reached the same."""
    ours = next(iter(curves.values()))
    rows = []
    for name, curve in curves.items():
        best = max(curve, key=lambda point: point["ndcg@10"])
        reached = [point["cpu_s"] for point in ours if point["ndcg@10"] >= best["ndcg@10"]]
        row = {"system": name, **best, "srtlib_cpu_s": min(reached, default=None)}
        rows.append({**row, "ratio": best["cpu_s"] / min(reached) if reached else None, "curve": curve})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["speed", "quality"], help="default: both")
    parser.add_argument("--peer", action="append", choices=PEERS, metavar="NAME", help="default: all of peer_worker.py")
    parser.add_argument("--env", type=Path, default=Path(tempfile.gettempdir()) / "srtlib-bench-env", metavar="FOLDER")
    options = parser.parse_args()
    torch.set_num_threads(1)
    python = environment(options.env)
    found = subprocess.run([python, "-c", VERSIONS], check=True, capture_output=True, text=True).stdout.split()
    about: dict[str, Any] = dict(zip(("rectools", "recbole", "peers_torch", "peers_numpy"), found, strict=True))
    dataset = load_dataset("amazon_beauty_2014")
    about |= {"dataset": dataset.name, "d_model": 64, "n_layers": 2}
    with tempfile.TemporaryDirectory() as folder:
        hand_over(dataset, Path(folder))
        peers = {name: Peer(python, name, Path(folder)) for name in options.peer or PEERS}
        try:
            ours = Own(own(dataset))
            if options.what != "quality":
                slim = {f"{OURS}, 300 negatives, d_ff = d": Own(trainer(dataset, 64))}
                speed({**slim, OWN_RECIPE: ours, **peers}, about)
            if options.what != "speed":
                quality(dataset, {OWN_RECIPE: ours, PAPER_RECIPE: Own(own(dataset, "paper")), **peers}, about)
        finally:
            for peer in peers.values():
                peer.process.kill()
                peer.process.wait()


if __name__ == "__main__":
    main()
