"""Levels and resamples, wherever runs are summarised; which count of compute runs have."""

from collections.abc import Callable

import pandas as pd
import pytest

from srtlib import runs

PAIRS = pd.DataFrame({"step": ["a", "a"], "effect": [0.1, 0.2], "ndcg": [0.1, 0.2]})


@pytest.mark.parametrize("level", [0, 1, 1.5, -1, float("nan")])
@pytest.mark.parametrize(
    "summarise", [runs.summarise_effects, lambda table, level: runs.over_seeds(table, "step", ["ndcg"], level)]
)
def test_a_level_is_a_share(summarise: Callable[..., pd.DataFrame], level: float) -> None:
    with pytest.raises(ValueError, match=f"level is {level}; expected a number between 0 and 1"):
        summarise(PAIRS, level=level)


def test_one_count_of_compute_serves_all_runs() -> None:
    """Exact FLOPs of some runs and the paper's of others lie a factor apart: no plan rests on both."""
    table = pd.DataFrame({"run_id": list("abc"), "flops": [1.0, 2.0, 3.0], "flops_paper": [0.1, 0.2, 0.3]})
    assert runs.compute_column(table) == "flops"
    assert runs.compute_column(table.assign(flops=float("nan"))) == "flops_paper"
    assert runs.compute_column(table.drop(columns="flops")) == "flops_paper"
    for bad in ("b", "c"):
        with pytest.raises(ValueError, match=f"flops has no value in 1 of 3 rows, run {bad} first"):
            runs.compute_column(table.assign(flops=table["flops"].mask(table["run_id"] == bad)))
