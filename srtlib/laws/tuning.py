"""How the best setting of a recipe, such as its learning rate, moves with model and data: small power laws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from srtlib.laws.frontiers import check_table, vertex
from srtlib.runs.intervals import tails


def best_settings(
    table: pd.DataFrame,
    factor: str,
    by: Sequence[str] = ("n_targets", "params_non_embedding"),
    metric: str = "valid_ndcg@10",
) -> pd.DataFrame:
    """The best value of a setting in each cell: the top of a parabola through its three levels nearest the best.

    Args:
        table: one row per run, as from `runs.table`; runs of a cell differ in the setting alone, repeats are averaged.
        factor: a column of positive numbers: the setting.
        by: the columns that make a cell.
        metric: a column: larger is better.

    Returns:
        One row per cell: `by`, `factor` (its best value), the metric there, and `at_edge`: the best level is the
        smallest or the largest that was tried, so that the true best may lie beyond.

    >>> runs = pd.DataFrame({"n_targets": 1, "params_non_embedding": 1, "learning_rate": [0.1, 1.0, 10.0],
    ...                      "valid_ndcg@10": [0.2, 0.3, 0.2]})
    >>> best_settings(runs, "learning_rate")["learning_rate"].round(6).tolist()
    [1.0]
    """
    check_table(table, (metric,), (factor,), by)
    rows = []
    for cell, part in table.groupby(list(by)):
        levels = part.groupby(factor)[metric].mean()
        logs, values = np.log(levels.index.to_numpy(float)), levels.to_numpy(float)
        best = int(values.argmax())
        near = slice(max(0, best - 1), best + 2)
        found = vertex(logs[near], values[near])
        if found:
            rows.append([*cell, float(np.exp(found[0])), float(np.polyval(found[1], found[0])), False])
        else:
            rows.append([*cell, float(levels.index[best]), float(values[best]), True])
    return pd.DataFrame(rows, columns=[*by, factor, metric, "at_edge"])


def power_law(
    optima: pd.DataFrame,
    factor: str,
    inputs: Sequence[str] = ("n_targets", "params_non_embedding"),
    level: float = 0.95,
) -> pd.DataFrame:
    """factor = k x input^a x ... by least squares in logarithms.

    Args:
        optima: one row per cell, as from `best_settings`.
        factor: a column: the best value of the setting.
        inputs: columns of positive numbers.
        level: of the intervals (Student's, of linear regression).

    Returns:
        One row per parameter, `parameter` ("k" and the inputs' names), `value`, `low`, `high`; NaN bounds where there
        are no more cells than parameters.

    Raises ValueError where the cells cannot tell the parameters apart.

    >>> cells = pd.DataFrame({"n_targets": [1e3, 1e4, 1e5, 1e4], "batch_size": [4.0, 16.0, 64.0, 16.0]})
    >>> power_law(cells, "batch_size", ["n_targets"])["value"].round(4).tolist()
    [0.0625, 0.6021]
    """
    check_table(optima, (), (factor, *inputs))
    x = np.column_stack([np.ones(len(optima)), *(np.log(optima[name].to_numpy(float)) for name in inputs)])
    y = np.log(optima[factor].to_numpy(float))
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError(
            f"{len(optima)} cells cannot tell {x.shape[1]} parameters apart: "
            f"expected at least {x.shape[1]} that vary {', '.join(inputs)}"
        )
    beta, freedom = np.linalg.lstsq(x, y, rcond=None)[0], len(y) - x.shape[1]
    if freedom > 0:
        variance = np.sum((y - x @ beta) ** 2) / freedom * np.diag(np.linalg.inv(x.T @ x))
        half = stats.t.ppf(tails(level)[1], freedom) * np.sqrt(variance)
    else:
        half = np.full(len(beta), np.nan)
    bounds = np.column_stack([beta, beta - half, beta + half])
    bounds[0] = np.exp(bounds[0])
    found = pd.DataFrame(bounds, columns=["value", "low", "high"])
    found.insert(0, "parameter", ["k", *inputs])
    return found
