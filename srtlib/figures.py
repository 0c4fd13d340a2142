"""The book's figures: tidy tables in, matplotlib figures out. Nothing here computes results or needs torch.

One look for all: opaque white ground (legible on dark pages), type that survives a phone's width, viridis for
ordered quantities and seaborn's colour-blind palette for kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

LABELS = {
    "flops": "training compute [FLOP]",
    "flops_paper": "training compute, counted the paper's way [FLOP]",
    "params_total": "parameters",
    "params_non_embedding": "non-embedding parameters",
    "n_interactions": "interactions",
    "n_targets": "training targets",
    "interactions_per_parameter": "interactions per parameter",
    "valid_ndcg@5": "validation NDCG@5",
    "test_ndcg@5": "test NDCG@5",
}
STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 13,
    "figure.dpi": 110,
}
INK = "#222222"
ACCENT = sns.color_palette("colorblind")[3]


def canvas(width: float = 7.0, height: float = 4.8, columns: int = 1) -> tuple[Figure, Any]:
    """A figure and its axes (an array of them where there are several columns) in the common style, inches."""
    with plt.rc_context(STYLE):
        return plt.subplots(1, columns, figsize=(width, height), layout="constrained")


def label(column: str) -> str:
    """What an axis that shows `column` says, with its unit.

    >>> label("flops")
    'training compute [FLOP]'
    """
    return LABELS.get(column, column)


def scaling_curves(
    curves: pd.DataFrame,
    colour: str = "params_total",
    x: str = "flops",
    y: str = "valid_ndcg@5",
    frontier: pd.DataFrame | None = None,
    fit: Callable[[np.ndarray], np.ndarray] | None = None,
    band: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None,
    ceiling: float | None = None,
) -> Figure:
    """Quality against training compute over the course of every run; a dot ends each.

    curves: one row per evaluation (runs.curves). colour: a column, or interactions_per_parameter. frontier: drawn as a
    dark line. fit, band: functions of compute drawn over it. ceiling: the best achievable value, where it is known.
    """
    curves = curves.assign(interactions_per_parameter=curves["n_interactions"] / curves["params_total"])
    figure, ax = canvas()
    norm = LogNorm(curves[colour].min(), max(curves[colour].max(), curves[colour].min() * 1.01))
    for _, run in curves.groupby("run_id", sort=False):
        run = run.sort_values(x)
        tint = plt.get_cmap("viridis")(norm(run[colour].iloc[0]))
        ax.plot(run[x], run[y], color=tint, linewidth=1.6, alpha=0.9)
        ax.plot(run[x].iloc[-1], run[y].iloc[-1], "o", color=tint, markersize=6, markeredgecolor="white")
    if frontier is not None:
        ax.plot(frontier[x], frontier[y], color=INK, linewidth=2.2, label="frontier")
    if fit is not None:
        _draw_fit(ax, curves[x], fit, band)
    if ceiling is not None:
        ax.axhline(ceiling, color=INK, linestyle=":", label="best achievable")
    ax.set(xscale="log", xlabel=label(x), ylabel=label(y))
    ax.set_ylim(bottom=0)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, loc="upper left")
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=ax, label=label(colour))
    return figure


def _draw_fit(
    ax: Axes,
    x: pd.Series,
    fit: Callable[[np.ndarray], np.ndarray],
    band: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None,
) -> None:
    grid = np.geomspace(x.min(), x.max() * 3, 100)
    ax.plot(grid, fit(grid), color=ACCENT, linestyle="--", linewidth=2, label="fit")
    if band is not None:
        low, high = band(grid)
        ax.fill_between(grid, low, high, color=ACCENT, alpha=0.18, linewidth=0, label="95% interval")
