"""Tables about fitted laws, against values computed by hand."""

import numpy as np
import pandas as pd
import pytest

from srtlib import laws
from srtlib.laws import comparison
from srtlib.laws.law import Law

C = np.geomspace(1e12, 1e16, 30)


@pytest.fixture(scope="module")
def law() -> Law:
    noise = np.random.default_rng(0).normal(0, 1e-3, len(C))
    return laws.fit("log_linear", y=0.01 * np.log(C) - 0.25 + noise, C=C, metric=True, n_resamples=200)


def test_coefficients_stand_beside_the_published_ones(law: Law) -> None:
    table = comparison.coefficients({"ours": law}, {"a": -0.2, "b": 0.012}).set_index("parameter")
    assert table.index.tolist() == ["a", "b"]
    row = table.loc["b"]
    assert (row["law"], row["published"], row["fitted"]) == ("ours", 0.012, law.params["b"])
    assert (row["low"], row["high"]) == law.interval("b")
    assert row["low"] < 0.01 < row["high"]
    assert not row["at_bound"]


def test_coefficients_of_another_form_are_not_comparable(law: Law) -> None:
    for published in ({"b": 0.012}, {"a": 1.0, "b": 0.012, "beta": 0.3}):
        assert comparison.coefficients({"ours": law}, published)["published"].isna().all()


def test_predictions_carry_the_band(law: Law) -> None:
    grid = np.geomspace(1e13, 1e18, 4)
    table = comparison.predictions({"one": law, "two": law}, C=grid)
    assert table["estimator"].tolist() == ["one"] * 4 + ["two"] * 4
    np.testing.assert_allclose(table["predicted"][:4], law.params["a"] + law.params["b"] * np.log(grid))
    assert (table["low"] < table["predicted"]).all()
    assert (table["predicted"] < table["high"]).all()
    width = table["high"] - table["low"]
    assert width[3] == width[:4].max()  # far from the runs, the band is widest


def test_hold_out_by_hand(law: Law) -> None:
    beyond = np.geomspace(1e17, 1e18, 3)
    flat = laws.fit("power", y=np.full(len(C), 0.1) + 1e-9 * np.arange(len(C)), C=C, metric=True, n_resamples=20)
    observed = law.predict(C=beyond) + np.array([0.0, 0.003, -0.004])
    table = comparison.hold_out([flat, law], y=observed, C=beyond).set_index("form")
    assert table.index.tolist() == ["log_linear", "power"]  # the best first
    row = table.loc["log_linear"]
    assert row["rmse_held_out"] == pytest.approx(0.005 / np.sqrt(3))
    assert row["bias"] == pytest.approx(0.001 / 3)
    low, high = law.band(C=beyond)
    assert row["coverage"] == pytest.approx(((low <= observed) & (observed <= high)).mean())
    assert table.loc["power", "bias"] == pytest.approx(np.mean(0.1 - observed), abs=1e-6)
    assert row["rmse"] == law.rmse


def test_what_the_quality_rests_on_predicts_best() -> None:
    """Quality of two parts with powers of their own; a law of their sum cannot know which part a model has."""
    rng = np.random.default_rng(0)
    text, blocks, data = (10 ** rng.uniform(low, low + 2, 120) for low in (5, 4, 4))
    quality = 0.2 - 3 / text**0.35 - 2 / blocks**0.5 - 1.5 / data**0.3
    table = pd.DataFrame({"params_total": text + blocks, "params_non_embedding": blocks, "n_interactions": data})
    table = table.assign(flops=6 * (text + blocks) * data, **{"valid_ndcg@5": quality})
    found = comparison.compare_sizes(table, n_resamples=20)
    assert found["size"].iloc[0] == "blocks and text table"
    assert found["rmse_held_out"].iloc[0] < found["rmse_held_out"].iloc[1] / 20
    assert set(found["size"]) == {"all parameters", "blocks", "text table", "blocks and text table"}
    alone = table.assign(**{"valid_ndcg@5": 0.2 - 2 / blocks**0.5 - 1.5 / data**0.3})
    assert "blocks" in comparison.compare_sizes(alone, n_resamples=20)["size"].iloc[0]
