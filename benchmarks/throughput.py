"""Training targets per second on a CPU: one thread, 2 layers, every target predicted once per epoch.

    SRT_DATA=... python benchmarks/throughput.py [dataset]

A step is everything: batch, negatives, item encoding, forward, backward, clipping, optimiser. Beside the speed are the
step's two numbers, FLOPs and bytes (of every tensor that an operation reads or writes), and what the machine reaches at
best: a 1024 x 1024 matrix product, and a copy of 128 MB.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import interleaved, record
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from srtlib.data.dataset import Dataset
from srtlib.data.loading import load_dataset
from srtlib.params import Architecture, ModelParams, Recipe, TrainParams
from srtlib.recipes import recipe_for
from srtlib.training.trainer import Trainer

STEPS = 10


def trainer(dataset: Dataset, d_model: int, vocab_size: int = 30_000) -> Trainer:
    """A training of the shape that the benchmarks share: d_ff = d, 300 shared negatives, 4,096 targets a batch."""
    made = recipe_for("srtlib", Architecture(d_model=d_model, n_layers=2), dataset)
    model = ModelParams.model_validate({**made.model.model_dump(), "d_ff": d_model, "vocab_size": vocab_size})
    train = TrainParams.model_validate({**made.train.model_dump(), "n_negatives": 300, "batch_size": 4096})
    recipe = Recipe(name="benchmark", model=model, train=train)
    return Trainer(recipe, dataset, dataset.panel(10), Path(tempfile.mkdtemp()), None, None, torch.device("cpu"))


def rate(made: Trainer) -> Callable[[], float]:
    """Targets per second of this thread's processor time over `STEPS` steps, after three to warm up: alone on the
    machine that is the clock's time, and other work slows it less."""
    epoch = made.epoch()
    for _ in range(3):
        made.step(epoch)

    def measure() -> float:
        made.at.batch = 0
        began = time.process_time()
        return sum(made.step(epoch) for _ in range(STEPS)) / (time.process_time() - began)

    return measure


class Traffic(TorchDispatchMode):
    """Counts the bytes of every tensor that operations read or write; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
            self.bytes += sum(x.numel() * x.element_size() for x in tensors)
        return result


def step_numbers(made: Trainer) -> dict[str, float]:
    """FLOPs, bytes and targets of an average step."""
    epoch, before = made.epoch(), made.at.flops
    made.at.batch = 0
    with Traffic() as traffic:
        targets = sum(made.step(epoch) for _ in range(STEPS))
    return {
        "targets_per_step": targets / STEPS,
        "flops_per_step": (made.at.flops - before) / STEPS,
        "bytes_per_step": traffic.bytes / STEPS,
    }


def machine() -> dict[str, float]:
    """The best of many: FLOP/s of a matrix product, bytes/s of a copy (read and written)."""
    square, long = torch.randn(1024, 1024), torch.randn(32 << 20)
    copy = torch.empty_like(long)
    return {
        "matmul_flops_per_s": 2 * 1024**3 / min(_seconds(lambda: square @ square) for _ in range(100)),
        "copy_bytes_per_s": 2 * long.nbytes / min(_seconds(lambda: copy.copy_(long)) for _ in range(30)),
    }


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    torch.set_num_threads(1)
    dataset = load_dataset(sys.argv[1] if len(sys.argv) > 1 else "amazon_beauty_2014")
    trainers = {d: trainer(dataset, d) for d in (64, 128)}
    found = interleaved({str(d): rate(made) for d, made in trainers.items()}, repeats=7)
    peak = machine()
    rows = [
        {"dataset": dataset.name, "d_model": d, "n_layers": 2, "unit": "targets/s of processor time", **found[str(d)]}
        | step_numbers(made)
        | peak
        for d, made in trainers.items()
    ]
    record("throughput", rows)


if __name__ == "__main__":
    main()
