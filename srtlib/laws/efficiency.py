"""How much less compute one set of runs needs than another for the same quality, and what more compute brings each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from srtlib.laws.columns import CURVES, Columns
from srtlib.laws.fitting import fit_frontier
from srtlib.laws.frontiers import check_table
from srtlib.runs.intervals import check_resamples

Array = npt.NDArray[np.float64]
SLOPES = {"log_linear": ("b", np.log(10)), "power": ("a", 1.0)}  # the parameter that is the slope, and its unit


def cost_to_reach(curves: pd.DataFrame, levels: npt.ArrayLike, columns: Columns = CURVES) -> pd.DataFrame:
    """What each run had spent when it first reached a quality, linear in the logarithm between its evaluations.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        levels: qualities.
        columns: those of the curves; `compute` is what is spent, such as FLOPs or seconds.

    Returns:
        A table of runs (rows) x levels (columns); infinite where a run never reaches the level. A level that the first
        evaluation exceeds costs as much as that evaluation: what lies before is not known.

    >>> curves = pd.DataFrame({"run_id": ["a", "a"], "flops": [1.0, 100.0], "valid_ndcg@5": [0.0, 0.2]})
    >>> cost_to_reach(curves, [0.1, 0.3]).round(3).loc["a"].tolist()
    [10.0, inf]
    """
    x, y, run = columns.compute, columns.quality, columns.run
    check_table(curves, (x, y), names=(run,))
    wanted = np.asarray(levels, dtype=float)
    rows = {}
    for name, unordered in curves[curves[x] > 0].groupby(run, sort=False):
        curve = unordered.sort_values(x)
        cost, quality = np.log(curve[x].to_numpy(float)), curve[y].to_numpy(float)
        at = np.searchsorted(np.maximum.accumulate(quality), wanted)  # the first evaluation that is as good
        after = np.minimum(at, len(cost) - 1)
        before = np.maximum(after - 1, 0)
        rise = quality[after] - quality[before]
        share = np.divide(wanted - quality[before], rise, out=np.ones(len(wanted)), where=(at == after) & (after > 0))
        rows[name] = np.where(at == after, np.exp(cost[before] + share * (cost[after] - cost[before])), np.inf)
    return pd.DataFrame.from_dict(rows, orient="index", columns=pd.Index(wanted, name=y)).rename_axis(run)


def cost_ratios(
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    levels: npt.ArrayLike,
    costs: Sequence[str] = ("flops", "wall_s"),
    columns: Columns = CURVES,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """The least that any run of each set spent to reach a quality, and the ratio, with intervals over runs.

    Args:
        ours, theirs: the two sets' curves, as from `runs.curves`.
        levels: qualities; those that a set never reaches have no ratio (NaN).
        costs: columns of what is spent.
        columns: those of the curves.
        n_resamples: bootstrap resamples of whole runs, of both sets, at least 2.
        seed: of the resampling.

    Returns:
        One row per level and cost: `quality`, `cost`, `ours`, `theirs` (the least spent), `ratio` = theirs / ours and
        its 95% interval `low`, `high` over the resamples in which both sets reach the level; NaN where fewer than half
        do.
    """
    rng, n_resamples = np.random.default_rng(seed), check_resamples(n_resamples)
    rows = []
    for cost in costs:
        spent = [cost_to_reach(c, levels, replace(columns, compute=cost)).to_numpy() for c in (ours, theirs)]
        least = [table.min(axis=0) for table in spent]
        draws = np.stack([_ratio(*(_resampled(table, rng).min(axis=0) for table in spent)) for _ in range(n_resamples)])
        for i, level in enumerate(np.asarray(levels, dtype=float)):
            found = draws[np.isfinite(draws[:, i]), i]
            low, high = np.quantile(found, [0.025, 0.975]) if 2 * len(found) >= n_resamples else (np.nan, np.nan)
            ratio = float(_ratio(least[0][i], least[1][i]))
            rows.append([level, cost, least[0][i], least[1][i], ratio, low, high])
    return pd.DataFrame(rows, columns=["quality", "cost", "ours", "theirs", "ratio", "low", "high"])


def frontier_slopes(
    sets: Mapping[str, pd.DataFrame],
    columns: Columns = CURVES,
    forms: Sequence[str] = tuple(SLOPES),
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How steep the frontier of each set of runs is, by laws of one slope.

    Args:
        sets: curves by the name that the table calls them.
        columns: those of the curves.
        forms: "log_linear", whose slope is quality per tenfold compute, and "power", whose slope is the exponent.
        n_resamples: of the bootstrap over whole runs.
        seed: of that bootstrap.

    Returns:
        One row per set and form: `set`, `form`, `slope`, its 95% interval `low`, `high`, and `rmse` of the fit.

    >>> curves = pd.DataFrame({"run_id": list("abc"), "flops": [1.0, 10.0, 100.0], "valid_ndcg@5": [0.1, 0.2, 0.3]})
    >>> frontier_slopes({"ours": curves}, forms=["log_linear"], n_resamples=2)["slope"].round(6).tolist()
    [0.1]
    """
    rows = []
    for name, curves in sets.items():
        for form in forms:
            parameter, unit = SLOPES[form]
            law = fit_frontier(form, curves, columns, n_resamples=n_resamples, seed=seed)
            slope, low, high = (unit * value for value in (law.params[parameter], *law.interval(parameter)))
            rows.append([name, form, slope, low, high, law.rmse])
    return pd.DataFrame(rows, columns=["set", "form", "slope", "low", "high", "rmse"])


def _ratio(ours: Array, theirs: Array) -> Array:
    """theirs / ours, NaN where either is infinite."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    return np.divide(theirs, ours, out=np.full(np.shape(ours), np.nan), where=both)


def _resampled(table: Array, rng: np.random.Generator) -> Array:
    return table[rng.integers(len(table), size=len(table))]
