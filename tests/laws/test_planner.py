"""Plans from recorded runs: both laws asked about the same size and data, with the data that one has."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from srtlib import runs
from srtlib.laws import planner
from srtlib.laws.comparison import PLANNING_FORMS
from srtlib.laws.machines import MACHINES, Machine
from srtlib.laws.planner import OWN_END, Planner

from .conftest import EPOCHS, ndcg

RECORDED = {"pool": ("results/pool", OWN_END), "beauty": ("results/beauty_M", None), "authors": ("published", None)}


@pytest.fixture(scope="module")
def store(curves: pd.DataFrame, finished: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated runs as a folder of CSV files."""
    folder = tmp_path_factory.mktemp("runs")
    finished.to_csv(folder / "runs.csv", index=False)
    curves.to_csv(folder / "curves.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def generated(store: Path) -> Planner:
    return Planner.fit(*planner.read(store), n_resamples=20)


@pytest.fixture(scope="module", params=RECORDED)
def recorded(request: pytest.FixtureRequest) -> tuple[Planner, pd.DataFrame]:
    path, grids = RECORDED[request.param]
    table, curves = planner.read(path, grids=grids)
    return Planner.fit(table, curves, n_resamples=40), table


def best(C: float, unique: float) -> float:
    """The best NDCG of the generated world at compute C and on so many unique targets, by brute force."""
    N = np.geomspace(1e3, 1e11, 20_001)
    return float(ndcg(N, np.minimum(C / (6 * N), EPOCHS * unique)).max())


@pytest.mark.parametrize("unique", [1e6, 1e7, 1e8])
def test_a_budget_is_answered_for_the_data_at_hand(generated: Planner, unique: float) -> None:
    budgets = np.geomspace(1e14, 1e17, 7)
    found = generated.budget(budgets, unique)
    missed = np.array([best(C, unique) for C in budgets]) - found["ndcg"]
    assert missed.between(-0.005, 0.015).all()  # where data run out a size other than N* may be somewhat better
    assert (found["unique_targets"] <= unique).all()
    assert found["ndcg"].is_monotonic_increasing
    ends = found["data_end"][0]
    enough = found["flops"] < ends
    np.testing.assert_allclose(found["unique_targets"][enough], found["wanted_targets"][enough])
    np.testing.assert_allclose(found["unique_targets"][~enough], unique)
    (at,) = generated.budget(ends, unique * 10)["wanted_targets"]
    assert at == pytest.approx(unique)


def test_what_exceeds_the_data_and_the_runs_adds_nothing(recorded: tuple[Planner, pd.DataFrame]) -> None:
    laws, _ = recorded
    largest, most = laws.ranges["flops"][1], laws.ranges["unique_targets"][1]
    for share in (0.1, 1, 10):
        far = laws.budget([largest * 1e5, largest * 1e7], share * most)
        ends = far["data_end"][0]
        assert (far["used"] == max(ends, largest)).all()
        assert far["ndcg"][0] == far["ndcg"][1]
        np.testing.assert_allclose(far["unique_targets"], share * most)
    without = laws.budget(largest)  # data: those of the runs
    assert without["ndcg"][0] == laws.budget(largest, most)["ndcg"][0]


@pytest.mark.parametrize("share", [0.1, 1, 1000])
def test_neither_law_contradicts_the_plan(recorded: tuple[Planner, pd.DataFrame], share: float) -> None:
    """The law of size and data, asked anew about N* and D*, lies inside the interval, and so does the other."""
    laws, _ = recorded
    low, high = laws.ranges["flops"]
    found = laws.budget(np.geomspace((low * high**3) ** 0.25, high * 100, 9), share * laws.ranges["unique_targets"][1])
    for row in found.itertuples():
        asked = laws.by_data.law.predict(N=row.N, D=row.unique_targets)
        assert asked == pytest.approx(row.by_data)
        assert row.low - 1e-3 <= min(asked, row.by_compute) <= row.ndcg <= max(asked, row.by_compute) <= row.high + 1e-3


def test_the_best_recorded_run_is_near_the_plan_for_its_budget_and_data(recorded: tuple[Planner, pd.DataFrame]) -> None:
    laws, table = recorded
    run = table.loc[table["valid_ndcg@5"].idxmax()]
    (found,) = laws.budget(run[runs.compute_column(table)], run["n_targets"]).to_dict("records")
    assert found["ndcg"] == pytest.approx(run["valid_ndcg@5"], rel=0.08)


def test_every_output_outside_the_runs_is_flagged_with_their_range(generated: Planner) -> None:
    (inside,) = generated.budget(1e16, 1e7)["extrapolated"]
    assert inside == ""
    low, high = generated.ranges["unique_targets"]
    assert set(generated.data(np.round([low, high]), 1e7)["extrapolated"].str.count("unique_targets")) == {0}
    (outside,) = generated.budget(1e22, 1e12)["extrapolated"]
    for name, limit in (("flops", "2.4e+17"), ("N", "1e+08"), ("unique_targets", "1e+08")):
        assert f"{name} above the runs' {limit}" in outside
    assert "unique_targets below the runs' 3e+05" in generated.data(1e5, 1e8)["extrapolated"][0]
    assert "N above the runs' 1e+08" in generated.data(1e7, 1e9)["extrapolated"][0]
    assert "needed_targets above the runs' 1e+08" in generated.data(1e8, 1e7)["extrapolated"][0]


def test_hours_and_money_are_other_words_for_flops(generated: Planner) -> None:
    (row,) = generated.budget(1e16).to_dict("records")
    assert row["hours"] == pytest.approx(MACHINES["H100"].hours(1e16))
    machine = Machine(1e14, 0.5, 3.0)
    again = generated.budget(hours=machine.hours(1e16), machine=machine)
    assert again["ndcg"][0] == pytest.approx(row["ndcg"])
    assert again["money"][0] == pytest.approx(3 * machine.hours(1e16))
    assert generated.budget(money=3 * machine.hours(1e16), machine=machine)["flops"][0] == pytest.approx(1e16)


def test_widths_lie_between_those_that_were_measured(recorded: tuple[Planner, pd.DataFrame]) -> None:
    laws, _ = recorded
    sizes, widths = zip(*laws.widths, strict=True)
    np.testing.assert_array_equal(laws.width(sizes), widths)
    np.testing.assert_array_equal(laws.width([1, 1e12]), [widths[0], widths[-1]])


def test_plans_from_recorded_runs(store: Path) -> None:
    plan = planner.plan(store, compute=[1e15, 1e16], form="sigmoid", n_resamples=10)
    assert plan["flops"].tolist() == [1e15, 1e16]
    assert plan["compute_form"][0] == "sigmoid"
    plan = planner.plan(store, interactions=1e7, size=1e6, form="additive_power", n_resamples=10)
    assert plan["ndcg"][0] == pytest.approx(ndcg(1e6, 1e7 * EPOCHS), abs=1e-3)
    assert plan["data_form"][0] == "additive_power"
    capped = planner.plan(store, compute=1e17, interactions=1e6, n_resamples=10)
    assert capped["unique_targets"][0] == 1e6
    assert capped["data_form"][0] in PLANNING_FORMS


EXTREMES = (1e-300, 1e-30, 1e-9, 1.0, 1e12, 1e20, 1e40, 1e90, 1e300, 0.0, -1.0, np.nan, np.inf, -np.inf)


@pytest.mark.parametrize("value", EXTREMES)
def test_any_amount_is_answered_or_refused_in_one_line(recorded: tuple[Planner, pd.DataFrame], value: float) -> None:
    """Warnings are errors here: what overflows would be one."""
    laws, _ = recorded
    asked: list[dict[str, Any]] = [{name: value} for name in ("compute", "interactions", "hours", "money")]
    asked += [{"compute": 1e13, "interactions": value}, {"interactions": value, "size": 1e6}]
    asked += [{"interactions": 1e6, "size": value}, {"interactions": value, "size": value}]
    asked += [{"hours": value, "machine": Machine(1e90, 1.0, 1e-30)}, {"money": value, "machine": Machine(1, 1, 1e90)}]
    for arguments in asked:
        try:
            ndcg = float(laws.plan(**arguments)["ndcg"].iloc[0])
            said = ""
        except ValueError as error:
            ndcg, said = np.nan, str(error)
        assert len(said.splitlines()) == 1 or 0 <= ndcg <= 1
        assert said or 1e-30 <= value <= 1e90


@pytest.mark.parametrize("column", ["flops", "params_total", "n_targets", "targets_seen", "valid_ndcg@5"])
@pytest.mark.parametrize("value", [np.nan, np.inf, "many"])
def test_one_bad_cell_of_a_table_is_named(
    curves: pd.DataFrame, finished: pd.DataFrame, column: str, value: object
) -> None:
    """A missing number of exact FLOPs, above all, does not turn a plan to another count."""
    run = finished["run_id"].iloc[3]
    spoilt = [
        table.assign(**{column: table[column].astype(object).mask(table["run_id"] == run, value).infer_objects()})
        for table in (finished, curves)
    ]
    with pytest.raises(ValueError, match=rf"column {column} .*run {run} first") as error:
        Planner.fit(*spoilt, n_resamples=5)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("column", ["flops", "params_total", "n_targets", "targets_seen"])
@pytest.mark.parametrize("value", [0.0, -1.0, 1e-300, 1e300])
def test_amounts_of_a_table_are_positive(
    curves: pd.DataFrame, finished: pd.DataFrame, column: str, value: float
) -> None:
    spoilt = [
        t.assign(**{column: t[column].mask(t["run_id"] == t["run_id"].iloc[3], value)}) for t in (finished, curves)
    ]
    with pytest.raises(ValueError, match=f"column {column} holds values that are not positive numbers"):
        Planner.fit(*spoilt, n_resamples=5)


def test_what_is_no_plan_is_named(store: Path, generated: Planner) -> None:
    cases = [
        (lambda: generated.plan(), "a plan needs a budget"),
        (lambda: generated.plan(1e15, hours=1), "given were flops, hours"),
        (lambda: generated.plan(1e15, [1e6, 1e7]), "interactions holds 2 numbers"),
        (lambda: generated.plan(1e15, size=1e6), "size goes with interactions alone"),
        (lambda: generated.plan(1e15, -1), "interactions is -1; expected positive numbers"),
        (lambda: generated.budget(1e15, -1), "targets is -1; expected positive numbers"),
        (lambda: generated.budget(1.0), r"the laws give -\S+ at 1 FLOPs, outside \[0, 1\]"),
        (lambda: planner.read(store, "books"), "no run on a data set 'books'; there are toys"),
        (lambda: planner.read(store, grids=["scaling"]), "no runs of grid scaling; there are none"),
        (lambda: planner.read("results/pool", grids=["scaling", "x"]), "no runs of grid x; there are corners, depth"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
