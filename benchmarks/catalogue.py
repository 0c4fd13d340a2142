"""Training speed and memory as the catalogue grows: the same interactions among 10^4 to 10^7 items.

    python benchmarks/catalogue.py

Items are synthetic token bags (12 title tokens of 30,000). Each size has a process, so that its peak memory is its own;
they take turns, and time is processor time. Histories are drawn from the whole catalogue, so no cache hides the growth.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from common import interleaved, record
from throughput import STEPS, trainer

from srtlib.data.dataset import Dataset
from srtlib.data.text import TokenBags, train_tokenizer

SIZES = (10**4, 10**5, 10**6, 10**7)
USERS, LENGTH, TOKENS, VOCABULARY = 10_000, 10, 12, 30_000
# Tokens and where they begin, as prepared, for training and for evaluation; counts, cumulative weights, log q.
ITEM_BYTES = 3 * (TOKENS * 4 + 8) + 8 + 8 + 4


def synthetic(n_items: int) -> Dataset:
    """Interactions of 10,000 users, 10 each, with items drawn uniformly; titles are not needed."""
    rng = np.random.default_rng(0)
    return Dataset(
        name=f"{n_items} items",
        user_ids=np.arange(USERS).astype(str),
        offsets=np.arange(USERS + 1, dtype=np.int64) * LENGTH,
        items=rng.integers(0, n_items, USERS * LENGTH).astype(np.int32),
        catalogue=pd.DataFrame(index=pd.RangeIndex(n_items), columns=[]),
    )


def bags(dataset: Dataset, _tokenizer: object, fields: Mapping[str, int]) -> TokenBags:
    """Random token bags of every item."""
    rng = np.random.default_rng(1)
    ids = {name: rng.integers(0, VOCABULARY, dataset.n_items * TOKENS, dtype=np.int32) for name in fields}
    offsets = {name: np.arange(dataset.n_items + 1, dtype=np.int64) * TOKENS for name in fields}
    return TokenBags(ids, offsets)


def one(n_items: int) -> None:
    """Measure one size each time that a line comes in."""
    torch.set_num_threads(1)
    words = train_tokenizer((f"w{i} w{i}" for i in range(VOCABULARY)), VOCABULARY)
    with (
        patch.object(sys.modules["srtlib.model.srt"], "dataset_bags", bags),
        patch.object(Dataset, "text_fields", ("title",)),
        patch.object(sys.modules["srtlib.model.making"], "dataset_tokenizer", lambda *_: words),
    ):
        made = trainer(synthetic(n_items), 64)
    epoch = made.epoch()
    for _ in sys.stdin:
        made.at.batch = 0
        began = time.process_time()
        targets = sum(made.step(epoch) for _ in range(STEPS))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps([targets / (time.process_time() - began), peak]), flush=True)


class Size:
    """A process with a catalogue of its own."""

    def __init__(self, n_items: int) -> None:
        command = [sys.executable, __file__, str(n_items)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.peak = 0

    def rate(self) -> float:
        """Targets per processor second over a few steps."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print("go", file=self.process.stdin, flush=True)
        rate, self.peak = json.loads(self.process.stdout.readline())
        return rate


def main() -> None:
    torch.set_num_threads(1)
    sizes = {str(n): Size(n) for n in SIZES}
    for size in sizes.values():
        size.rate()  # to warm up
    found = interleaved({name: size.rate for name, size in sizes.items()}, repeats=7)
    rows = [
        {
            "n_items": n,
            "targets_per_s": found[str(n)]["median"],
            **found[str(n)],
            "peak_bytes": sizes[str(n)].peak,
            "catalogue_bytes": n * ITEM_BYTES,
        }
        for n in SIZES
    ]
    for size in sizes.values():
        size.process.communicate()
    record("catalogue", rows)


if __name__ == "__main__":
    one(int(sys.argv[1])) if len(sys.argv) > 1 else main()
