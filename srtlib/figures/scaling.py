"""Runs themselves: quality against compute and data, and what one factor changes."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from srtlib.figures.style import (
    ACCENT,
    GREY,
    HALO,
    INK,
    MARKERS,
    VIRIDIS,
    add_colour_bar,
    add_legend,
    label,
    label_ends,
    legend_above,
    log_norm,
    log_ticks,
    named_in,
    percent,
    ranked,
    rounded,
    styled,
)

Array = npt.NDArray[np.float64]


@styled
def scaling_curves(
    curves: pd.DataFrame,
    colour: str = "params_total",
    x: str = "flops",
    y: str = "valid_ndcg@5",
    frontier: pd.DataFrame | None = None,
    fit: Callable[[Array], Array] | None = None,
    band: Callable[[Array], tuple[Array, Array]] | None = None,
    ceiling: float | None = None,
) -> Figure:
    """Quality against training compute over the course of every run; a dot ends each.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        colour: a positive column, or "interactions_per_parameter".
        x: a column: compute.
        y: a column: quality.
        frontier: columns `x` and `y`, drawn as a broad grey line beneath the runs.
        fit: a fitted law as a function of `x`.
        band: (low, high) of its interval as a function of `x`.
        ceiling: the best achievable `y`, where it is known.
    """
    if colour == "interactions_per_parameter":
        curves = curves.assign(**{colour: curves["n_interactions"] / curves["params_total"]})
    figure, ax = plt.subplots()
    norm = log_norm(curves[colour])
    _draw_runs(ax, curves, x, y, colour, norm, 1.6 if curves["run_id"].nunique() < 40 else 1.0)
    if frontier is not None:
        # Beneath the runs: whose colour lies on it is what the figure is about.
        ax.plot(frontier[x], frontier[y], color=HALO, linewidth=7, label="frontier", zorder=1.5)
    if fit is not None:
        grid = np.geomspace(curves[x].min(), curves[x].max() * 3, 200)
        if band is not None:
            ax.fill_between(grid, *band(grid), color=ACCENT, alpha=0.2, linewidth=0, label="95% interval")
        ax.plot(grid, fit(grid), color=ACCENT, linestyle="--", label="fit", zorder=5)
    if ceiling is not None:
        ax.axhline(ceiling, color=INK, linestyle=":", label="best achievable")
    ax.set(xscale="log", xlabel=label(x), ylabel=ranked(y, curves))
    ax.set_ylim(bottom=0)
    add_legend(ax)
    add_colour_bar(figure, ax, norm, curves[colour], colour)
    return figure


def _draw_runs(
    ax: Axes, curves: pd.DataFrame, x: str, y: str, colour: str, norm: LogNorm, width: float, dot: float = 5
) -> None:
    for _, run in curves.sort_values(x).groupby("run_id", sort=False):
        tint = VIRIDIS(norm(run[colour].iloc[0]))
        ax.plot(run[x], run[y], color=tint, linewidth=width, alpha=0.8)
        ax.plot(run[x].iloc[-1], run[y].iloc[-1], "o", color=tint, markersize=dot, markeredgecolor="white", zorder=3)


@styled
def scaling_by_set(
    curves: pd.DataFrame,
    frontier: pd.DataFrame,
    x: str = "flops",
    y: str = "valid_ndcg@5",
    colour: str = "params_total",
    kind: str = "dataset",
) -> Figure:
    """Quality against training compute, a panel per data set or sample: its runs, and the frontier of all.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        frontier: columns `x`, `y` and `kind`: a broad grey line in each panel, dark where the panel's own runs hold it.
        x: a column: compute.
        y: a column: quality.
        colour: a positive column.
        kind: a column: the data set, or a size of samples. Panels stand in the order of `n_interactions`.
    """
    sets = curves.sort_values("n_interactions")[kind].unique()
    rows = -(-len(sets) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(6.4, 1.2 + 2.4 * rows), sharex=True, sharey=True, squeeze=False)
    norm = log_norm(curves[colour])
    for ax, name in zip(axes.flat, sets, strict=False):
        ax.plot(frontier[x], frontier[y], color=HALO, linewidth=6, label="frontier of all", zorder=1.4)
        held = frontier[y].where(frontier[kind] == name)
        ax.plot(frontier[x], held, color=GREY, linewidth=6, label="held by these runs", zorder=1.5)
        _draw_runs(ax, curves[curves[kind] == name], x, y, colour, norm, 1.0, 4)
        ax.set_title(name if isinstance(name, str) else f"{rounded(name)} {label(kind)}", fontsize=13)
    for ax in axes.flat[len(sets) :]:
        ax.set_axis_off()
    for ax in axes.flat[max(0, len(sets) - 2) : len(sets)]:
        ax.xaxis.set_tick_params(labelbottom=True)
    axes[0, 0].set(xscale="log", ylim=(0, None))
    axes[0, 0].xaxis.set_major_locator(LogLocator(numticks=4))
    figure.supxlabel(label(x), fontsize=13)
    figure.supylabel(ranked(y, curves), fontsize=13)
    legend_above(figure, named_in(axes[0, 0]))
    add_colour_bar(figure, axes, norm, curves[colour], colour)
    return figure


@styled
def data_scaling(
    runs: pd.DataFrame,
    colour: str = "d_model",
    x: str = "n_targets",
    y: str = "valid_ndcg@5",
    predicted: str | None = None,
) -> Figure:
    """Quality against the amount of data, one line per value of `colour`.

    Args:
        runs: one row per point, such as the best run of each data set and width.
        colour: a column of a few ordered values.
        x: a column: amount of data.
        y: a column: quality.
        predicted: a column with a law's prediction at each row, drawn dashed.
    """
    figure, ax = plt.subplots()
    groups = list(runs.sort_values(x).groupby(colour))
    tints = [VIRIDIS(i / max(len(groups) - 1, 1)) for i in range(len(groups))]
    for i, (_, group) in enumerate(groups):
        ax.plot(group[x], group[y], color=tints[i], marker=MARKERS[i % 7])
        if predicted is not None:
            ax.plot(group[x], group[predicted], color=tints[i], linestyle="--", linewidth=1.5)
    if predicted is not None:
        ax.plot([], [], color=GREY, marker="o", label="measured")
        ax.plot([], [], color=GREY, linestyle="--", linewidth=1.5, label="law")
    ax.set(xscale="log", xlabel=label(x), ylabel=ranked(y, runs))
    ax.set_ylim(bottom=0)
    log_ticks(ax)
    add_legend(ax, loc="best")
    names = [f"{label(colour)} {value:,}" for value, _ in groups]
    label_ends(ax, [(g[y].iloc[-1], name, tint) for (_, g), name, tint in zip(groups, names, tints, strict=True)])
    return figure


@styled
def paired_effects(pairs: pd.DataFrame, summary: pd.DataFrame, title: str = "") -> Figure:
    """What each step of a factor changes: a dot per pair of runs, the mean and its 95% interval.

    Args:
        pairs: as from `runs.paired_effects`.
        summary: `runs.summarise_effects` of them, one row per step.
        title: what the axis of steps says.
    """
    figure, ax = plt.subplots(figsize=(6.0, 1.4 + 0.75 * len(summary)))
    rows = np.arange(len(summary))
    for row, step in zip(rows, summary["step"], strict=True):
        effects = pairs.loc[pairs["step"] == step, "effect"].sort_values()
        spread = row + 0.28 * (np.linspace(-1, 1, len(effects)) if len(effects) > 1 else np.zeros(1))
        name = "pair of runs" if row == 0 else None
        ax.plot(effects, spread, "o", color=GREY, markersize=5, alpha=0.6, label=name)
    arms = [summary["effect"] - summary["low"], summary["high"] - summary["effect"]]
    ax.errorbar(
        summary["effect"], rows, xerr=arms, color=ACCENT, marker="D", markersize=8, capsize=6, linestyle="",
        label="mean, 95% interval", zorder=3,
    )  # fmt: skip
    ax.axvline(0, color=INK, linewidth=1)
    ax.set(xlabel="relative change of NDCG@5", ylabel=title, ylim=(len(summary) - 0.5, -0.5))
    ax.set_yticks(rows, summary["step"] + "\n" + summary["pairs"].astype(str) + " pairs")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    legend_above(figure)
    return figure
