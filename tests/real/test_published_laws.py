"""Laws and estimators on the authors' 119 runs: what is known about them must come out."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib import laws, runs
from srtlib.laws import allocation, comparison, frontiers, planner
from srtlib.runs import published

STORE = Path(os.environ.get("SRT_DATA", "")) / "published_runs" / "mlruns.sqlite.bz2"
pytestmark = pytest.mark.skipif(
    "SRT_DATA" not in os.environ or not STORE.exists(),
    reason="SRT_DATA has no published_runs/mlruns.sqlite.bz2",
)
COMPUTE, QUALITY = "flops_paper", "valid_ndcg@5"
COLUMNS = laws.Columns(compute=COMPUTE)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return runs.table(f"sqlite:///{STORE}")


@pytest.fixture(scope="module")
def curves() -> pd.DataFrame:
    return runs.curves(f"sqlite:///{STORE}")


@pytest.fixture(scope="module")
def frontier(curves: pd.DataFrame) -> pd.DataFrame:
    return frontiers.frontier(curves, COLUMNS)


def test_the_published_sigmoid_describes_the_frontier_and_ours_no_worse(
    curves: pd.DataFrame, frontier: pd.DataFrame
) -> None:
    limits = (frontier[COMPUTE].min(), frontier[COMPUTE].max())
    theirs = laws.Law.given("sigmoid", published.COMPUTE_LAW, {"C": limits})
    residuals = theirs.predict(C=frontier[COMPUTE]) - frontier[QUALITY]
    rmse = np.sqrt(np.mean(residuals**2))
    assert rmse == pytest.approx(0.0026, abs=1e-4)
    assert 1 - rmse**2 / frontier[QUALITY].var(ddof=0) == pytest.approx(0.990, abs=1e-3)
    ours = laws.fit_frontier("sigmoid", curves, COLUMNS, loss="lsq")
    assert ours.rmse <= rmse
    grid = np.geomspace(*limits, 50)
    np.testing.assert_allclose(ours.predict(C=grid), theirs.predict(C=grid), atol=0.006)


def test_the_published_ceiling_rests_on_the_choice_of_points(table: pd.DataFrame) -> None:
    best = runs.best_runs(table[table["d_model"] >= 64], ["dataset", "d_model"], f"{QUALITY}_final")
    refit = published.refit_data_law(best)
    assert refit == pytest.approx({"E": 0.161, "A": 18.64, "B": 2.89}, rel=0.007)
    law = laws.fit("additive_power", y=table[QUALITY], N=table["params_total"], D=table["n_targets"], metric=True)
    assert "beta" in law.at_bound  # no saturation of data is visible
    assert law.rmse < 0.0104  # that of the published coefficients


def test_a_decade_of_data_buys_two_hundredths(table: pd.DataFrame) -> None:
    law = laws.fit(
        "additive_power_log_data",
        y=table[QUALITY],
        N=table["params_total"],
        D=table["n_targets"],
        metric=True,
        n_resamples=300,
    )
    assert law.at_bound == ()
    low, high = np.log(10) * np.array(law.interval("B"))
    assert 0.015 < low < high < 0.025


def test_saturating_forms_underestimate_the_large_sets(curves: pd.DataFrame, frontier: pd.DataFrame) -> None:
    """Fitted to sets up to 1M, a line predicts the frontier of 5M and 10M; a sigmoid does not."""
    small = curves[curves["n_targets"] < 1e6]
    beyond = frontier[frontier["n_targets"] > 1e6]
    fitted = [laws.fit_frontier(form, small, COLUMNS, loss="lsq", n_resamples=5) for form in ("log_linear", "sigmoid")]
    errors = comparison.hold_out(fitted, y=beyond[QUALITY], C=beyond[COMPUTE]).set_index("form")
    assert errors["rmse_held_out"]["log_linear"] < 0.005
    assert errors["rmse_held_out"]["sigmoid"] > 0.008
    assert errors["bias"]["sigmoid"] < 0


def test_approaches_agree_on_the_size_where_they_can(curves: pd.DataFrame) -> None:
    _, found = allocation.compare(curves, 1e16, COLUMNS, n_resamples=50)
    sizes = {name: float(allocation.predict(1e16)[0]) for name, allocation in found.items()}
    assert sizes["envelope"] == pytest.approx(sizes["isoflop"], rel=0.5)
    assert found["parametric"].at_bound == ("beta",)


def test_plans() -> None:
    source = f"sqlite:///{STORE}"
    plan = planner.plan(source, compute=[1e16, 1e18], form="sigmoid", n_resamples=20)
    assert plan["by_compute"][0] == pytest.approx(published.predict_from_compute(1e16), abs=0.004)
    assert plan["ndcg"][0] == pytest.approx(plan["by_compute"][0], abs=0.004)
    assert plan["extrapolated"].str.startswith("flops above").tolist() == [False, True]
    assert plan["hours"].isna().all()  # exact FLOPs are not on record
    with pytest.raises(ValueError, match="needs exact FLOPs"):
        planner.plan(source, hours=10, form="sigmoid", n_resamples=20)
    plan = planner.plan(source, interactions=5e6, size=2e7, n_resamples=20)
    assert plan["data_form"][0] == "product_power"
    assert plan["ndcg"][0] == pytest.approx(0.115, abs=0.006)
