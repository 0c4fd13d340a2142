"""Estimators against generated runs whose law is known, and by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

from srtlib.laws import comparison
from srtlib.laws.allocation import Allocation
from srtlib.laws.columns import RUNS, Columns
from srtlib.laws.estimators import ComputeEstimator, DataEstimator
from srtlib.laws.law import Law
from srtlib.laws.machines import Machine

from .conftest import EPOCHS, ndcg


def best(C: float) -> tuple[float, float]:
    """N* and the best NDCG at compute C, by brute force."""
    N = np.geomspace(1e3, 1e11, 100_001)
    quality = ndcg(N, C / (6 * N))
    return float(N[quality.argmax()]), float(quality.max())


def test_a_budget_gives_the_best_quality_size_and_data(by_compute: ComputeEstimator) -> None:
    budgets = [3e14, 3e15, 3e16]
    table = by_compute.predict(budgets)
    N, quality = zip(*map(best, budgets), strict=True)
    np.testing.assert_allclose(table["ndcg"], quality, atol=0.003)
    np.testing.assert_allclose(table["N"], N, rtol=0.35)
    np.testing.assert_allclose(6 * table["N"] * table["tokens"], budgets, rtol=0.2)
    assert ((table["tokens"] / EPOCHS * 0.9 < table["D"]) & (table["D"] < table["tokens"])).all()
    assert (table["low"] <= table["high"]).all()
    assert (table["N_low"] <= table["N_high"]).all()


def test_hours_and_money_are_other_words_for_flops(curves: pd.DataFrame, by_compute: ComputeEstimator) -> None:
    machine = Machine(peak=1e14, utilisation=0.5, price=3.0)
    assert machine.hours(5e13 * 3600) == pytest.approx(1)
    assert machine.flops(2) == pytest.approx(5e13 * 7200)
    (row,) = by_compute.predict(1e16, machine=machine).to_dict("records")
    assert row["hours"] == pytest.approx(1e16 / 5e13 / 3600)
    assert row["money"] == pytest.approx(3 * row["hours"])
    for budget in ({"hours": row["hours"]}, {"money": row["money"]}):
        again = by_compute.predict(**budget, machine=machine)
        assert again["flops"][0] == pytest.approx(1e16)
        assert again["ndcg"][0] == pytest.approx(row["ndcg"])
    counted = ComputeEstimator.fit(curves, Columns(compute="flops_paper"), form="log_linear", n_resamples=5)
    assert counted.predict(1e16 / 7, machine=machine)["hours"][0] == pytest.approx(row["hours"])


def test_the_form_is_the_one_that_predicts_the_top_decade_best(
    curves: pd.DataFrame, by_compute: ComputeEstimator
) -> None:
    table = comparison.compare_forms(curves, n_resamples=10)
    assert table["rmse_held_out"].is_monotonic_increasing
    assert set(table["form"]) == set(comparison.COMPUTE_FORMS)
    assert by_compute.law.form == table["form"][0] == by_compute.forms[0]["form"]
    assert by_compute.law.form != "log_linear"  # the generated runs saturate
    with pytest.raises(ValueError, match="within one decade of flops"):
        comparison.compare_forms(curves[curves["flops"] > curves["flops"].max() / 9])


def test_what_lies_far_beyond_the_runs_is_flagged(by_compute: ComputeEstimator, by_data: DataEstimator) -> None:
    low, high = by_compute.law.ranges["C"]
    table = by_compute.predict([low, high, high * 9, high * 11, high * 1000])
    assert table["extrapolated"].tolist() == [False, False, False, True, True]
    assert table["beyond"][4] == pytest.approx(3)
    (n_low, n_high), (_, d_high) = by_data.law.ranges["N"], by_data.law.ranges["D"]
    flags = [by_data.predict(d_high, N=n)["extrapolated"][0] for n in (n_high, n_high * 11, n_low)]
    assert flags == [False, True, False]
    assert by_data.predict(d_high * 11, N=n_high)["extrapolated"][0]


def test_a_form_that_leaves_the_unit_interval_is_refused(curves: pd.DataFrame, by_data: DataEstimator) -> None:
    line = ComputeEstimator.fit(curves, form="log_linear", n_resamples=5)
    with pytest.raises(ValueError, match=r"form log_linear gives 2\.\d+ at 1e\+80 FLOPs, outside \[0, 1\]"):
        line.predict(1e80)
    with pytest.raises(ValueError, match=r"gives -\S+ at 1 FLOPs, outside"):
        line.predict(1.0)
    with pytest.raises(ValueError, match=r"form additive_power gives -.* at N = 10, D = 1e\+06"):
        by_data.predict(1e6, N=10)


def test_data_and_size_give_quality(by_data: DataEstimator, finished: pd.DataFrame) -> None:
    for row in finished.sample(5, random_state=0).itertuples():
        predicted = by_data.predict(row.n_interactions, N=row.params_total)
        assert predicted["ndcg"][0] == pytest.approx(ndcg(row.params_total, row.targets_seen), abs=3e-4)
        assert predicted["low"][0] <= predicted["ndcg"][0] <= predicted["high"][0]


def test_the_size_that_suffices_and_the_data_that_the_next_gain_costs(by_data: DataEstimator) -> None:
    law = by_data.law
    table = by_data.predict([1e6, 1e7], gain=0.005)
    enough = table["N_enough"][0]
    assert law.predict(N=2 * enough, D=1e6) - law.predict(N=enough, D=1e6) == pytest.approx(0.001)
    assert (table["N"] == min(enough, law.ranges["N"][1])).all()
    for row in table.itertuples():
        now = law.predict(N=row.N, D=row.D)
        needed = brentq(lambda d, row=row, now=now: law.predict(N=row.N, D=d) - now - 0.005, row.D, 1e12)
        assert row.more == pytest.approx(needed - row.D, rel=1e-6)
        assert row.more_low <= row.more <= row.more_high
    assert np.isinf(by_data.predict(1e8, gain=0.5)["more"][0])


def test_an_end_that_the_runs_do_not_bound_is_infinite() -> None:
    """One resample in five has a nearly flat law of size or of data, in which a gain costs powers of a hundred."""
    steep, flat_n, flat_d = [0.2, 8.0, 5.0, 0.35, 0.3], [0.5, 0.3, 5.0, 0.011, 0.3], [0.2, 8.0, 0.03, 0.35, 0.011]
    ranges = {"N": (1e5, 1e8), "D": (1e5, 1e8)}
    given = Law.given("additive_power", dict(zip(["E", "A", "B", "alpha", "beta"], steep, strict=True)), ranges)
    law = replace(given, resample=lambda: (np.array([steep, steep, steep, flat_n, flat_d]), 1.0))
    table = DataEstimator(law, RUNS).predict([1e6, 1e8], gain=0.005)
    assert np.isinf(table[["N_enough_high", "more_high"]].to_numpy()).all()
    assert np.isfinite(table[["N_enough_low", "N_enough", "more_low", "more"]].to_numpy()).all()
    alone = replace(given, params=dict(zip(given.params, flat_n, strict=True)))
    (row,) = DataEstimator(alone, RUNS).predict(1e6).to_dict("records")
    assert np.isinf(row["N_enough"])
    assert row["N"] == 1e8  # of the largest run

    powers = pd.DataFrame([[1.0, 0.4, 1.0, 0.6]] * 4 + [[1e-20, 2.0, 1e-20, 2.0]], columns=["k_N", "a", "k_D", "b"])
    allocation = Allocation("envelope", powers.iloc[0].to_dict(), powers, 9, 1.0)
    compute = Law.given("log_linear", {"a": 0.0, "b": 0.001}, {"C": (1e10, 1e14)})
    table = ComputeEstimator(compute, allocation, allocation, Columns(), 1.0).predict([1e12, 1e25])
    assert np.isinf(table[["N_high", "D_high"]].to_numpy()).tolist() == [[False, False], [True, True]]


def test_few_runs_give_no_number_that_nobody_can_mean(finished: pd.DataFrame) -> None:
    nine = finished.sample(9, random_state=1)
    estimator = DataEstimator.fit(nine, form="additive_power", n_resamples=100)
    largest = nine[["params_total", "n_interactions"]].max()
    table = estimator.predict(largest["n_interactions"], level=0.99)
    sizes, amounts = table[["N_enough", "N_enough_high"]].to_numpy(), table[["more", "more_high"]].to_numpy()
    assert (sizes[np.isfinite(sizes)] <= 1e3 * largest["params_total"]).all()
    assert (amounts[np.isfinite(amounts)] <= 1e3 * largest["n_interactions"]).all()
    assert np.isinf([*sizes[0], *amounts[0]]).any()


def test_the_logarithmic_form_prices_data_too(finished: pd.DataFrame) -> None:
    estimator = DataEstimator.fit(finished, form="additive_power_log_data", n_resamples=20)
    row = estimator.predict(1e7, N=1e7).iloc[0]
    gained = estimator.law.predict(N=1e7, D=1e7 + row["more"]) - row["ndcg"]
    assert gained == pytest.approx(0.01)


def test_round_trips(by_compute: ComputeEstimator, by_data: DataEstimator, tmp_path: Path) -> None:
    by_compute.save(tmp_path / "compute.json")
    by_data.save(tmp_path / "data.json")
    again = ComputeEstimator.load(tmp_path / "compute.json")
    pd.testing.assert_frame_equal(again.predict([1e15, 1e19]), by_compute.predict([1e15, 1e19]))
    assert again.forms == by_compute.forms
    pd.testing.assert_frame_equal(
        DataEstimator.load(tmp_path / "data.json").predict(1e7, N=1e6), by_data.predict(1e7, N=1e6)
    )
    with pytest.raises(ValueError, match="holds no ComputeEstimator: expected the keys allocation, columns"):
        ComputeEstimator.load(tmp_path / "data.json")


def test_bad_budgets_and_tables_are_named(
    by_compute: ComputeEstimator, by_data: DataEstimator, curves: pd.DataFrame, finished: pd.DataFrame
) -> None:
    cases = [
        (lambda: by_compute.predict(), "given were none"),
        (lambda: by_compute.predict(1e15, hours=3), "given were flops, hours"),
        (lambda: by_compute.predict(-1), "flops is -1; expected positive"),
        (lambda: by_compute.predict(float("nan")), "flops is nan"),
        (lambda: by_data.predict(0), "interactions is 0"),
        (lambda: Machine(1e14, 1.5, 3.0), "utilisation of a machine is 1.5"),
        (lambda: Machine(1e14, 0.5, 0), "price of a machine is 0"),
        (lambda: ComputeEstimator.fit(curves.drop(columns="n_targets")), "lacks n_targets"),
        (lambda: ComputeEstimator.fit(curves, form="cubic"), "unknown form 'cubic'"),
        (lambda: DataEstimator.fit(finished.drop(columns="n_interactions")), "lacks n_interactions"),
        (lambda: DataEstimator.fit(finished, form="sigmoid"), "'sigmoid' is no law of size and data"),
        (
            lambda: DataEstimator.fit(finished[:4], form="additive_power"),
            "4 runs cannot determine the 5 .* at least 5 runs",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("kind", ["empty", "cut", "list", "other number", "wrong type", "binary"])
def test_a_damaged_estimator_is_named_in_one_line(
    by_compute: ComputeEstimator, by_data: DataEstimator, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "estimator.json"
    for estimator in (by_compute, by_data):
        estimator.save(path)
        text = path.read_text()
        damaged = {
            "empty": "", "cut": text[: len(text) // 2], "list": "[1]", "binary": "\x00" + text,
            "other number": text.replace(": 0.", ": 1.", 1),
            "wrong type": text.replace('"law": {', '"law": {"x": 1, ', 1),
        }[kind]  # fmt: skip
        assert damaged != text
        path.write_text(damaged)
        with pytest.raises(ValueError, match=r"estimator\.json (holds no|is not what was saved)") as error:
            type(estimator).load(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0])
def test_what_no_amount_can_be_is_refused(by_compute: ComputeEstimator, by_data: DataEstimator, bad: float) -> None:
    calls = [
        lambda: by_compute.predict(bad),
        lambda: by_compute.predict(hours=bad),
        lambda: by_compute.allocation.predict(bad),
        lambda: by_compute.law.predict(C=bad),
        lambda: by_data.predict(bad),
        lambda: by_data.predict(1e6, N=bad),
        lambda: by_data.predict(1e6, gain=bad),
        lambda: by_data.predict(1e6, level=bad),
        lambda: Machine(1e14, 0.5, bad),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"expected|not positive and finite"):
            call()
