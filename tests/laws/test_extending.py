"""A law from outside the package is fitted, bounded and planned with like one of the package's own."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib import laws
from srtlib.laws.estimators import ComputeEstimator

EXAMPLE = Path(__file__).parents[1] / "examples" / "law.py"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(laws.FORMS)
    spec = importlib.util.spec_from_file_location("example_law", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield
    laws.FORMS.clear()
    laws.FORMS.update(before)


def test_it_recovers_what_it_was_generated_from() -> None:
    truth = {"A": 0.16, "k": 0.3, "m": 30.0}
    C = np.geomspace(1e11, 1e17, 60)
    y = truth["A"] / (1 + np.exp(-truth["k"] * (np.log(C) - truth["m"])))
    law = laws.fit("logistic", y=y + np.random.default_rng(0).normal(0, 3e-4, 60), C=C, metric=True, n_resamples=100)
    assert law.converged
    for name, value in truth.items():
        low, high = law.interval(name, 0.999)
        assert low < value < high, name
    assert laws.Law.from_dict(law.to_dict()).predict(C=1e14) == law.predict(C=1e14)


def test_an_estimator_takes_it(curves: pd.DataFrame) -> None:
    estimator = ComputeEstimator.fit(curves, form="logistic", n_resamples=20)
    assert estimator.law.form == "logistic"
    assert 0 < estimator.predict(1e15)["ndcg"][0] < 0.2
