"""From a loss to a metric of the same models: a loss scales more regularly, a metric is what is wanted."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import isotonic_regression
from scipy.stats import ConstantInputWarning, spearmanr

from srtlib.laws.columns import CURVES, Columns
from srtlib.laws.fitting import resample_counts
from srtlib.laws.frontiers import check_table

Array = npt.NDArray[np.float64]


def monotone_map(table: pd.DataFrame, loss: str = "valid_loss", metric: str = "valid_ndcg@5") -> pd.DataFrame:
    """The metric as a function of the loss that only falls, by least squares.

    Args:
        table: one row per model.
        loss: a column, in nats.
        metric: a column: larger is better.

    Returns:
        The two columns, sorted by loss, and `fitted`. Between points the map is linear; beyond them it says nothing.

    Source: isotonic regression (Barlow et al., 1972), by `scipy.optimize.isotonic_regression`.

    >>> models = pd.DataFrame({"valid_loss": [9.0, 8.0, 7.0], "valid_ndcg@5": [0.02, 0.01, 0.04]})
    >>> monotone_map(models)["fitted"].round(4).tolist()
    [0.04, 0.015, 0.015]
    """
    check_table(table, (loss, metric))
    points = table[[loss, metric]].sort_values(loss, ignore_index=True)
    points = points.assign(same=points.groupby(loss)[metric].transform("mean"))  # one loss has one value
    return points.assign(fitted=isotonic_regression(points["same"], increasing=False).x).drop(columns="same")


def rank_correlations(
    curves: pd.DataFrame,
    loss: str = "valid_loss",
    columns: Columns = CURVES,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether the model with the smaller loss is the one with the better metric: Spearman's correlation, -1 if always.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        loss: a column, in nats.
        columns: those of the curves.
        n_resamples: of the bootstrap over whole runs.
        seed: of that bootstrap.

    Returns:
        Two rows, by where the models stand: "ends of runs", and "within a run", the mean over the runs of at least
        three evaluations. Columns: `models`, `runs`, `correlation`, and its 95% interval `low`, `high`; NaN where there
        are fewer than three runs, or evaluations, that differ.
    """
    check_table(curves, (columns.compute, columns.quality, loss), names=(columns.run,))
    ordered = curves.sort_values(columns.compute, kind="stable").groupby(columns.run, sort=False)
    ends = ordered[[loss, columns.quality]].last().to_numpy(float)
    inside = [_spearman(run.to_numpy(float)) for _, run in ordered[[loss, columns.quality]]]
    within = np.array([value for value in inside if np.isfinite(value)])

    def row(models: str, values: Array, statistic: Callable[[Array], float]) -> list[object]:
        if len(values) == 0:
            return [models, 0, np.nan, np.nan, np.nan]
        counts = resample_counts(len(values), n_resamples, seed).astype(int)
        drawn = np.array([statistic(np.repeat(values, count, axis=0)) for count in counts])
        low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
        return [models, len(values), statistic(values), low, high]

    rows = [row("ends of runs", ends, _spearman), row("within a run", within, lambda values: float(values.mean()))]
    return pd.DataFrame(rows, columns=["models", "runs", "correlation", "low", "high"])


def _spearman(points: Array) -> float:
    """Of points (n, 2); NaN for fewer than three, or where one column does not vary."""
    if len(points) < 3:
        return np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return float(spearmanr(points).statistic)
