"""Time of a fit and of its bootstrap on 245 runs, and the coverage of its intervals in 200 repetitions.

    python benchmarks/laws.py

Runs are generated from the coefficients that Besiroglu et al. (2024) found for Chinchilla's approach 3, with noise of
0.5% and ten outliers.
"""

from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from common import interleaved, record

from srtlib import laws
from srtlib.laws.fitting import Loss

TRUTH = {"E": 1.817, "A": 482.0, "B": 2085.0, "alpha": 0.348, "beta": 0.366}
RESAMPLES, REPETITIONS = 1_000, 200


def generated(seed: int, n: int = 245) -> dict[str, Any]:
    """Losses of `n` runs."""
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(8, 10, n), 10 ** rng.uniform(9, 12, n)
    y = TRUTH["E"] + TRUTH["A"] / N ** TRUTH["alpha"] + TRUTH["B"] / D ** TRUTH["beta"]
    y *= np.exp(rng.normal(0, 0.005, n))
    y[:10] *= 1.1
    return {"y": y, "N": N, "D": D}


def seconds(loss: Loss) -> float:
    """A fit and 1,000 resamples."""
    start = perf_counter()
    _ = laws.fit("additive_power", **generated(0), loss=loss, n_resamples=RESAMPLES).samples
    return perf_counter() - start


def coverage(level: float = 0.95) -> dict[str, float]:
    """Share of repetitions whose interval holds the truth, by parameter."""
    hits = dict.fromkeys(TRUTH, 0)
    for seed in range(REPETITIONS):
        law = laws.fit("additive_power", **generated(seed), n_resamples=RESAMPLES)
        for name, (low, high) in ((name, law.interval(name, level)) for name in TRUTH):
            hits[name] += low <= TRUTH[name] <= high
    return {name: count / REPETITIONS for name, count in hits.items()}


def main() -> None:
    losses: tuple[Loss, ...] = ("huber", "lad", "lsq")
    times = interleaved({loss: partial(seconds, loss) for loss in losses}, repeats=5)
    rows: list[dict[str, Any]] = [
        {"what": f"fit and {RESAMPLES} resamples of 245 runs [s]", "loss": loss, **time} for loss, time in times.items()
    ]
    rows.append({"what": f"coverage of 95% intervals in {REPETITIONS} repetitions", "loss": "huber", **coverage()})
    record("laws", rows)


if __name__ == "__main__":
    main()
