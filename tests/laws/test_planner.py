"""Plans from recorded runs, and what the planner page gets."""

import json
from pathlib import Path

import pandas as pd
import pytest

from srtlib.laws import planner
from srtlib.laws.columns import CURVES
from srtlib.laws.comparison import DATA_FORMS
from srtlib.laws.estimators import ComputeEstimator, DataEstimator, Machine
from srtlib.laws.law import Law

from .conftest import EPOCHS, ndcg


@pytest.fixture
def store(curves: pd.DataFrame, finished: pd.DataFrame, tmp_path: Path) -> Path:
    """The generated runs as a folder of CSV files."""
    finished.to_csv(tmp_path / "runs.csv", index=False)
    curves.to_csv(tmp_path / "curves.csv", index=False)
    return tmp_path


def test_plans_from_recorded_runs(store: Path) -> None:
    plan = planner.plan(store, compute=[1e15, 1e16], form="sigmoid", n_resamples=10)
    assert plan["flops"].tolist() == [1e15, 1e16]
    assert plan["ndcg"].is_monotonic_increasing
    hours = Machine().hours(1e15)
    assert planner.plan(store, hours=hours, form="sigmoid", n_resamples=10)["ndcg"][0] == pytest.approx(plan["ndcg"][0])
    plan = planner.plan(store, interactions=1e7, size=1e6, n_resamples=10)
    assert plan["ndcg"][0] == pytest.approx(ndcg(1e6, 1e7 * EPOCHS), abs=1e-3)
    assert plan["form"][0] in DATA_FORMS
    with pytest.raises(ValueError, match="exactly one of compute, hours, money and interactions"):
        planner.plan(store)
    with pytest.raises(ValueError, match="no run on a data set 'books'; there are toys"):
        planner.plan(store, compute=1e15, dataset="books")


def test_the_planner_page_gets_the_laws(by_compute: ComputeEstimator, by_data: DataEstimator, tmp_path: Path) -> None:
    given = Law.given("sigmoid", {"A": 0.4, "k": 0.2, "m": 24.0, "d": 0.25}, {"C": (1e12, 1e16)})
    published = ComputeEstimator(given, by_compute.allocation, CURVES, 50, 1.0)
    planner.write_planner(tmp_path / "data.js", {"ours": (by_compute, by_data), "paper": (published, by_data)}, n=7)
    text = (tmp_path / "data.js").read_text()
    assert text.startswith("window.PLANNER = ")
    ours, paper = json.loads(text.removeprefix("window.PLANNER = ").rstrip(";\n"))["models"]
    assert ours["compute"]["params"] == list(by_compute.law.params.values())
    assert len(ours["compute"]["samples"]) == len(ours["allocation"]["samples"]) == 7
    assert paper["compute"]["samples"] == []
    assert paper["name"] == "paper"
