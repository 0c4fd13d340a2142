"""Training speed and memory as the catalogue grows: the same interactions among 10^4 to 10^7 items.

    python benchmarks/catalogue.py

Items are synthetic token bags (12 title tokens of 30,000). One process per size, so that its peak memory is its own;
sizes are interleaved. Users' histories are drawn from the whole catalogue, so no cache hides the growth.
"""

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from common import record
from throughput import rate, trainer

from srtlib.data.dataset import Dataset
from srtlib.data.text import TokenBags, train_tokenizer

SIZES = (10**4, 10**5, 10**6, 10**7)
USERS, LENGTH, TOKENS, VOCABULARY = 10_000, 10, 12, 30_000


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
    """Measure one size and print it."""
    torch.set_num_threads(1)
    words = train_tokenizer((f"w{i} w{i}" for i in range(VOCABULARY)), VOCABULARY)
    with (
        patch.object(sys.modules["srtlib.model"], "dataset_bags", bags),
        patch.object(Dataset, "text_fields", ("title",)),
        patch.object(sys.modules["srtlib.train"], "dataset_tokenizer", lambda *_: words),
    ):
        measure = rate(trainer(synthetic(n_items), 64))
        speed = statistics.median(measure() for _ in range(3))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"targets_per_s": speed, "peak_bytes": peak}))


def main() -> None:
    found: dict[int, list[dict[str, float]]] = {n: [] for n in SIZES}
    for _ in range(3):
        for n in SIZES:
            output = subprocess.run([sys.executable, __file__, str(n)], check=True, capture_output=True, text=True)
            found[n].append(json.loads(output.stdout.splitlines()[-1]))
    rows = [
        {
            "n_items": n,
            "targets_per_s": statistics.median(r["targets_per_s"] for r in found[n]),
            "peak_bytes": statistics.median(r["peak_bytes"] for r in found[n]),
            "catalogue_bytes": n * (TOKENS * 4 + 8) * 2,  # as prepared and as resident on the device
        }
        for n in SIZES
    ]
    record("catalogue", rows)


if __name__ == "__main__":
    one(int(sys.argv[1])) if len(sys.argv) > 1 else main()
