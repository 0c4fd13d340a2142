"""Seconds to rank every user's test item: the whole catalogue, and among 10,000 sampled negatives (d=64).

SRT_DATA=... python benchmarks/evaluation.py [dataset]
"""

import sys
import time
from collections.abc import Callable

from common import interleaved, record

from srtlib.data.loading import load_dataset
from srtlib.evaluation import judge
from srtlib.model.making import new_model
from srtlib.params import Architecture
from srtlib.recipes import recipe_for


def main() -> None:
    dataset = load_dataset(sys.argv[1] if len(sys.argv) > 1 else "amazon_beauty_2014")
    model = new_model(recipe_for("srtlib", Architecture(d_model=64, n_layers=2), dataset).model, dataset)

    def seconds(protocol: str) -> Callable[[], float]:
        def measure() -> float:
            began = time.perf_counter()
            judge(model, dataset, protocol=protocol)
            return time.perf_counter() - began

        return measure

    protocols = ("full", "sampled:10000")
    found = interleaved({protocol: seconds(protocol) for protocol in protocols}, repeats=5)
    shape = {"dataset": dataset.name, "n_users": dataset.n_users, "n_items": dataset.n_items, "d_model": 64}
    record("evaluation", [{**shape, "protocol": p, "unit": "s", **found[p]} for p in protocols])


if __name__ == "__main__":
    main()
