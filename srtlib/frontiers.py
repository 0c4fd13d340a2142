"""Frontiers of a set of runs: the best that was reached for a given amount of compute.

Tables in, tables out: these functions fit nothing, and serve runs of any model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]


def check_table(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise ValueError unless `table` has the columns and, where they are numbers, finite values."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"the table of runs lacks {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    if table.empty:
        raise ValueError("the table of runs is empty")
    for column in columns:
        if pd.api.types.is_numeric_dtype(table[column]) and not np.isfinite(table[column]).all():
            raise ValueError(f"column {column} holds values that are not finite")


def interpolate(curves: pd.DataFrame, x: str, y: str, run: str) -> tuple[Array, Array, pd.Index]:
    """Every curve on the union of all x, linear in ln x, NaN outside the curve's own range.

    Returns the grid (n,), the values (runs, n) and the runs' names in the rows' order.
    """
    check_table(curves, (run, x, y))
    if not (curves[x] > 0).all():
        raise ValueError(f"column {x} holds values that are not positive")
    grid = np.unique(curves[x].to_numpy(float))
    names, rows = [], []
    for name, curve in curves.groupby(run, sort=False):
        points = curve.groupby(x)[y].mean()  # sorted by x
        log_x = np.log(points.index.to_numpy(float))
        rows.append(np.interp(np.log(grid), log_x, points.to_numpy(float), left=np.nan, right=np.nan))
        names.append(name)
    return grid, np.array(rows), pd.Index(names, name=run)


def envelope(values: Array, metric: bool = True) -> tuple[Array, npt.NDArray[np.intp]]:
    """Running best over the rows of `values` (runs, n) and the row that holds it; NaN and -1 before the first."""
    filled = np.where(np.isnan(values), -np.inf, values if metric else -values)
    row = filled.argmax(0)
    best = filled[row, np.arange(filled.shape[1])]
    running = np.maximum.accumulate(best)
    # index of the last place where the running maximum was renewed
    renewed = np.maximum.accumulate(np.where(best >= running, np.arange(best.size), 0))
    reached = np.isfinite(running)
    out = np.where(reached, running if metric else -running, np.nan)
    return out, np.where(reached, row[renewed], -1)


def frontier(
    curves: pd.DataFrame,
    x: str = "flops",
    y: str = "valid_ndcg@5",
    run: str = "run_id",
    metric: bool = True,
) -> pd.DataFrame:
    """The upper envelope of learning curves: the best `y` reached with at most `x` (the lower one for a loss).

    Curves are interpolated in ln x, and the running maximum is taken: more compute never buys less. Source: the
    authors' optimal curve, which interpolates in x and drops each run's last point; here no point is lost.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        x, y, run: its columns of compute (positive), of quality, and of the run's name.
        metric: True when larger is better, False for a loss.

    Returns one row per distinct `x`, ascending, with x, y, the run that holds the frontier there, and every other
    column that is constant within runs (sizes of model and data).

    >>> curves = pd.DataFrame({"run_id": ["a", "a", "b"], "flops": [1.0, 100.0, 10.0],
    ...                        "valid_ndcg@5": [0.0, 0.2, 0.05]})
    >>> frontier(curves)["valid_ndcg@5"].tolist()
    [0.0, 0.1, 0.2]
    """
    grid, values, names = interpolate(curves, x, y, run)
    best, holder = envelope(values, metric)
    table = pd.DataFrame({x: grid, y: best, run: names[holder]})
    groups = curves.groupby(run, sort=False)
    constant = [c for c in curves.columns if c not in (x, y, run) and (groups[c].nunique(dropna=False) == 1).all()]
    return table.merge(groups[constant].first(), left_on=run, right_index=True, how="left")
