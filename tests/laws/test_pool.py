"""The numbers of the recorded study of the pool, computed again by other means than the library's.

Whatever the tables hold is used: recipes where there are two, else every other run.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import huber

from srtlib import runs
from srtlib.laws import efficiency, frontiers
from srtlib.paths import project_root

QUALITY = "valid_ndcg@5"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return runs.table("results/pool")


@pytest.fixture(scope="module")
def curves() -> pd.DataFrame:
    return runs.curves("results/pool")


@pytest.fixture(scope="module")
def sets(curves: pd.DataFrame) -> dict[str, pd.DataFrame]:
    by_recipe = {name: curves[curves["recipe"] == name] for name in ("srtlib", "paper")}
    if all(len(part) for part in by_recipe.values()):
        return by_recipe
    odd = curves.groupby("run_id").ngroup() % 2 == 1
    return {"odd": curves[odd], "even": curves[~odd]}


def walk(curve: pd.DataFrame, cost: str) -> np.ndarray:
    """Points (ln cost, quality), close together along the straight lines between evaluations."""
    points = curve.sort_values(cost)[[cost, QUALITY]].to_numpy(float)
    points[:, 0] = np.log(points[:, 0])
    share = np.linspace(0, 1, 2001)[:, None]
    return np.concatenate([points[:1], *((1 - share) * start + share * end for start, end in pairwise(points))])


def spent(curves: pd.DataFrame, level: float, cost: str) -> float:
    """The least that any run spent until it was as good as the level; infinite where none was."""
    least = np.inf
    for _, curve in curves.groupby("run_id"):
        steps = walk(curve, cost)
        least = min(least, np.exp(steps[steps[:, 1] >= level - 1e-12, 0].min(initial=np.inf)))
    return float(least)


def test_every_run_was_judged_alike_and_says_where_it_comes_from(table: pd.DataFrame, curves: pd.DataFrame) -> None:
    assert table["panel_fingerprint"].nunique() == 1
    assert set(table["dataset"]) == {"amazon-pool"}
    assert (
        table[["commit", "version", "dataset_fingerprint", "seed", "device", "date", "recipe"]].notna().all(axis=None)
    )
    assert table["run_id"].is_unique
    assert set(curves["run_id"]) == set(table["run_id"])


def test_every_part_of_the_pool_is_described_and_judged(table: pd.DataFrame) -> None:
    parts = pd.read_csv(project_root() / "results" / "pool" / "parts.csv")
    assert {f"test_part_{part}" for part in parts["part"]} == set(table.filter(like="test_part_"))
    assert (parts["next_item_entropy"] < parts["item_entropy"]).all()
    assert (parts["item_entropy"] <= np.log2(parts["items"])).all()


def test_runs_are_what_their_curves_came_to(table: pd.DataFrame, curves: pd.DataFrame) -> None:
    ends = curves.sort_values("flops").groupby("run_id").last().loc[table["run_id"]]
    for column in ("flops", "flops_paper", "targets_seen", "wall_s"):
        np.testing.assert_allclose(table[column], ends[column], rtol=1e-9)
    for metric in ("ndcg@5", "ndcg@10", "loss"):
        np.testing.assert_allclose(table[f"valid_{metric}_final"], ends[f"valid_{metric}"], rtol=1e-9)
    best = curves.groupby("run_id")[QUALITY].max().loc[table["run_id"]]
    assert (table[QUALITY].to_numpy() <= best.to_numpy() + 1e-12).all()


@pytest.mark.parametrize("cost", ["flops", "wall_s"])
def test_ratios_of_cost_are_those_of_a_walk_along_every_curve(sets: dict[str, pd.DataFrame], cost: str) -> None:
    ours, theirs = sets.values()
    ceiling = min(part[QUALITY].max() for part in sets.values())
    levels = np.array([0.3, 0.6, 0.9, 1.0]) * ceiling
    found = efficiency.cost_ratios(ours, theirs, [*levels, 1.01 * ceiling], [cost], n_resamples=200)
    for level, row in zip(levels, found.itertuples(), strict=False):
        expected = [spent(part, level, cost) for part in (ours, theirs)]
        assert [row.ours, row.theirs] == pytest.approx(expected, rel=2e-3)
        assert row.ratio == pytest.approx(expected[1] / expected[0], rel=5e-3)
        assert not row.low > row.high
    assert np.isnan(found["ratio"].iloc[-1])  # the better set alone gets there


def test_frontiers_are_the_best_of_a_walk_along_every_curve(sets: dict[str, pd.DataFrame]) -> None:
    for part in sets.values():
        found = frontiers.frontier(part)
        steps = np.concatenate([walk(curve, "flops") for _, curve in part.groupby("run_id")])
        for row in found.iloc[:: max(1, len(found) // 10)].itertuples():
            reached = steps[steps[:, 0] <= np.log(row.flops) + 1e-12, 1].max()
            assert found.loc[row.Index, QUALITY] == pytest.approx(reached, rel=1e-2)


def test_no_other_line_lies_closer_to_a_frontier(sets: dict[str, pd.DataFrame]) -> None:
    found = efficiency.frontier_slopes(sets, forms=["log_linear"], n_resamples=20).set_index("set")
    for name, part in sets.items():
        best = frontiers.frontier(part)
        x, y = np.log10(best["flops"].to_numpy()), best[QUALITY].to_numpy()

        def off(line: np.ndarray, x: np.ndarray = x, y: np.ndarray = y) -> float:
            return float(huber(1e-3, line[0] + line[1] * (x - x.mean()) - y).sum())

        slope = found.loc[name, "slope"]
        ours = minimize_scalar(lambda level, s=slope, off=off: off(np.array([level, s])), bounds=(0, 1)).fun
        options = {"xatol": 1e-9, "fatol": 1e-15, "maxiter": 4000}
        assert ours <= minimize(off, [y.mean(), 0.01], method="Nelder-Mead", options=options).fun * (1 + 1e-6)
