"""What too few resamples or runs make no interval or law of, said wherever a number of them is taken."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from srtlib.laws import allocation, comparison, efficiency, mapping, rollout
from srtlib.laws.covariates import compare_covariates
from srtlib.laws.estimators import ComputeEstimator, DataEstimator
from srtlib.laws.fitting import fit_frontier
from srtlib.laws.planner import Planner
from srtlib.params import PublishedRuns, parse

Tables = tuple[pd.DataFrame, pd.DataFrame]
TAKE_RESAMPLES: dict[str, Callable[[Tables, dict[str, Any]], object]] = {
    "fit_frontier": lambda t, n: fit_frontier("log_linear", t[1], **n),
    "allocate": lambda t, n: allocation.allocate("parametric", t[1], **n),
    "combined": lambda t, n: allocation.combined(t[1], **n),
    "compare_forms": lambda t, n: comparison.compare_forms(t[1], **n),
    "compare_data_forms": lambda t, n: comparison.compare_data_forms(t[0], **n),
    "fit_data_law": lambda t, n: comparison.fit_data_law("additive_power", t[0], **n),
    "cost_ratios": lambda t, n: efficiency.cost_ratios(t[1], t[1], [0.05], ("flops",), **n),
    "frontier_slopes": lambda t, n: efficiency.frontier_slopes({"a": t[1]}, **n),
    "rank_correlations": lambda t, n: mapping.rank_correlations(t[1], "epoch", **n),
    "ComputeEstimator": lambda t, n: ComputeEstimator.fit(t[1], form="log_linear", **n),
    "DataEstimator": lambda t, n: DataEstimator.fit(t[0], form="additive_power", **n),
    "Planner": lambda t, n: Planner.fit(*t, form="log_linear", **n),
}


@pytest.mark.parametrize("name", TAKE_RESAMPLES)
@pytest.mark.parametrize("n_resamples", [0, 1])
def test_an_interval_needs_two_resamples(
    finished: pd.DataFrame, curves: pd.DataFrame, name: str, n_resamples: int
) -> None:
    with pytest.raises(ValueError, match=f"n_resamples is {n_resamples}; expected a whole number, at least 2"):
        TAKE_RESAMPLES[name]((finished, curves), {"n_resamples": n_resamples})


@pytest.mark.parametrize("rolled", [rollout.compute_rollout, rollout.data_rollout])
def test_a_rollout_does_not_take_them_for_a_form_that_fails(
    finished: pd.DataFrame, curves: pd.DataFrame, rolled: Callable[..., pd.DataFrame]
) -> None:
    with pytest.raises(ValueError, match="n_resamples is 1"):
        rolled(curves if rolled is rollout.compute_rollout else finished, n_resamples=1)


def test_a_size_takes_two_resamples_or_more() -> None:
    assert parse(PublishedRuns, {"n_resamples": 2}, "here").n_resamples == 2
    with pytest.raises(ValueError, match="n_resamples"):
        parse(PublishedRuns, {"n_resamples": 1}, "here")


def test_too_few_runs_name_the_least(finished: pd.DataFrame, curves: pd.DataFrame) -> None:
    few = finished.sort_values("flops").iloc[[0, 1, 2, -1]]
    parts = pd.DataFrame({"part": list("abcd"), "entropy": [1.0, 2.0, 3.0, 4.0]})
    judged = few.assign(**{f"test_part_{part}": few["valid_ndcg@5"] for part in parts["part"]})
    below = "3 of 4 runs lie below the top decade of flops, on which forms are tried; expected at least"
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: comparison.compare_forms(curves[curves["run_id"].isin(few["run_id"])]), f"{below} 4, .* of sigmoid"),
        (lambda: comparison.compare_data_forms(few), f"{below} 5, .* of additive_power"),
        (lambda: comparison.compare_sizes(few.assign(params_non_embedding=1e4)), f"{below} 7, .* of split_power"),
        (lambda: compare_covariates(judged, parts, ["entropy"]), f"{below} 5, .* of additive_power"),
        (lambda: compare_covariates(judged, parts[:3], ["entropy"]), "3 parts are too few .* at least 4"),
        (lambda: fit_frontier("sigmoid", curves[curves["run_id"] == few["run_id"].iloc[0]]), "at least 4 runs"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
