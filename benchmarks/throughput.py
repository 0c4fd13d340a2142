"""Training targets per second on a CPU: one thread, 2 layers, every target predicted once per epoch.

    SRT_DATA=... python benchmarks/throughput.py [dataset]

A step is everything: batch, negatives, item encoding, forward, backward, clipping, optimiser.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import interleaved, record

from srtlib.data.dataset import Dataset, load_dataset
from srtlib.params import ModelParams, Recipe, TrainParams, srtlib
from srtlib.train import Trainer

STEPS = 10


def trainer(dataset: Dataset, d_model: int, vocab_size: int = 30_000) -> Trainer:
    """A training of the shape that the benchmarks share: d_ff = d, 300 shared negatives, 4,096 targets a batch."""
    made = srtlib(d_model, 2, n_targets=dataset.n_targets, fields=dataset.text_fields)
    model = ModelParams.model_validate({**made.model.model_dump(), "d_ff": d_model, "vocab_size": vocab_size})
    train = TrainParams.model_validate({**made.train.model_dump(), "n_negatives": 300, "batch_size": 4096})
    recipe = Recipe(name="benchmark", model=model, train=train)
    return Trainer(recipe, dataset, dataset.panel(10), Path(tempfile.mkdtemp()), None, None, torch.device("cpu"))


def rate(made: Trainer) -> Callable[[], float]:
    """Targets per second over `STEPS` steps, after three to warm up."""
    epoch = made._epoch()
    for _ in range(3):
        made._step(epoch)

    def measure() -> float:
        made.at.batch = 0
        began = time.perf_counter()
        return sum(made._step(epoch) for _ in range(STEPS)) / (time.perf_counter() - began)

    return measure


def main() -> None:
    torch.set_num_threads(1)
    dataset = load_dataset(sys.argv[1] if len(sys.argv) > 1 else "amazon_beauty_2014")
    widths = (64, 128)
    found = interleaved({str(d): rate(trainer(dataset, d)) for d in widths}, repeats=7)
    rows = [
        {"dataset": dataset.name, "d_model": d, "n_layers": 2, "unit": "targets/s", **found[str(d)]} for d in widths
    ]
    record("throughput", rows)


if __name__ == "__main__":
    main()
