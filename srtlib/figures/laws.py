"""Fitted laws beside the runs that they rest on."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from srtlib.figures.style import (
    ACCENT,
    DASHES,
    GREY,
    INK,
    MARKERS,
    VIRIDIS,
    add_colour_bar,
    as_ink,
    kind_tint,
    label,
    legend_above,
    log_norm,
    log_ticks,
    ranked,
    short,
    styled,
    words,
)


@styled
def observed_vs_predicted(
    points: pd.DataFrame,
    observed: str = "valid_ndcg@5",
    predicted: str = "predicted",
    kind: str | None = None,
) -> Figure:
    """Observed against predicted values with the line of agreement.

    Args:
        points: one row per run.
        observed: a column.
        predicted: a column, in the same units.
        kind: a column whose values get a colour and a marker each; default: all points look alike.
    """
    figure, ax = plt.subplots(figsize=(6.0, 5.4))
    groups = points.groupby(kind, sort=False) if kind else [("", points)]
    for i, (name, group) in enumerate(groups):
        ax.plot(
            group[predicted], group[observed], MARKERS[i % 7], color=kind_tint(i), markersize=7, alpha=0.75,
            markeredgecolor="white", label=str(name),
        )  # fmt: skip
    values = points[[observed, predicted]].to_numpy()
    ends = [values.min(), values.max()]
    ax.plot(ends, ends, color=INK, linewidth=1.2, zorder=1)
    ax.annotate("equal", (ends[1], ends[1]), xytext=(-6, 8), textcoords="offset points", ha="right", color=INK)
    named = ranked(observed, points)
    ax.set(xlabel=f"predicted {label(observed)}", ylabel=named, aspect="equal")
    if kind:
        ax.legend(title=label(kind), loc="upper left")
    return figure


@styled
def holdout_errors(table: pd.DataFrame, held_out: str = "the held-out runs") -> Figure:
    """Error of each form where it was fitted and where it was not, on a logarithmic axis; the best on top.

    Args:
        table: one row per form with columns `form`, `rmse` and `rmse_held_out` [NDCG], as from
            `laws.comparison.hold_out`.
        held_out: what the legend calls the runs that were not fitted.
    """
    table = table.sort_values("rmse_held_out", ignore_index=True)
    figure, ax = plt.subplots(figsize=(6.0, 1.6 + 0.5 * len(table)))
    rows = table.index.to_numpy()
    ax.hlines(rows, table["rmse"], table["rmse_held_out"], color=GREY, linewidth=1.5)
    ax.plot(table["rmse"], rows, "o", color=kind_tint(0), markersize=9, label="fitted runs")
    ax.plot(table["rmse_held_out"], rows, "D", color=ACCENT, markersize=8, label=held_out)
    ax.set(xscale="log", xlabel="root mean squared error [NDCG]", ylim=(len(table) - 0.5, -0.5))
    ax.set_yticks(rows, table["form"].map(words))
    ax.margins(x=0.12)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    legend_above(figure)
    return figure


@styled
def estimator_curves(
    curves: pd.DataFrame,
    x: str = "flops",
    y: str = "valid_ndcg@5",
    kind: str = "estimator",
    points: pd.DataFrame | None = None,
    points_label: str = "runs",
    log_y: bool = False,
) -> Figure:
    """What estimators predict, with their bands, over the runs that they rest on.

    Args:
        curves: one row per point of a curve; for an interval, with columns `low` and `high`.
        x: a column: compute, or data.
        y: a column: what is predicted.
        kind: a column whose values get a line each.
        points: runs, or their frontier, with `x` and `y`.
        points_label: what the legend calls them.
        log_y: for y that spans decades, such as the best number of parameters. Bands that reach further than thirty
            times below or above all lines and points are cut there.

    The ground beyond the largest `x` of the points is shaded: there, curves extrapolate.
    """
    figure, ax = plt.subplots()
    if points is not None:
        ax.plot(points[x], points[y], "o", color=GREY, markersize=5, alpha=0.6, label=points_label)
        if (largest := points[x].max()) < curves[x].max():
            ax.axvspan(largest, curves[x].max(), color=GREY, alpha=0.12, linewidth=0, label="beyond the runs")
    _draw_laws(ax, curves, x, y, kind)
    ax.set(xscale="log", xlabel=label(x), ylabel=ranked(y, curves if points is None else points))
    if log_y:
        drawn = pd.concat([curves[y]] if points is None else [curves[y], points[y]])
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.set_ylim(max(low, drawn.min() / 30), min(high, drawn.max() * 30))
    else:
        ax.set_ylim(bottom=0)
    legend_above(figure)
    return figure


def _draw_laws(ax: Axes, curves: pd.DataFrame, x: str, y: str, kind: str) -> None:
    for i, (name, curve) in enumerate(curves.sort_values(x).groupby(kind, sort=False)):
        text = words(str(name))
        if {"low", "high"} <= set(curve) and curve["low"].notna().any():
            ax.fill_between(curve[x], curve["low"], curve["high"], color=kind_tint(i), alpha=0.2, linewidth=0)
            text += " (band: 95%)"
        ax.plot(curve[x], curve[y], color=kind_tint(i), linestyle=DASHES[i % 4], label=text)


@styled
def compute_laws(
    curves: pd.DataFrame,
    frontier: pd.DataFrame,
    best: pd.Series[float],
    x: str = "flops",
    y: str = "valid_ndcg@5",
    sizes: str = "n_interactions",
) -> Figure:
    """Laws of compute over the frontier that they were fitted to, whose colour says which amount of data holds it.

    Args:
        curves: one row per point of a law: `estimator`, `x`, `y` and, for a 95% interval, `low` and `high`.
        frontier: one row per point, with the columns `x`, `y` and `sizes`.
        best: the run with the best `y`, starred.
        x: a column: compute.
        y: a column: quality.
        sizes: a column: the amount of data.

    Shaded are the last decade of compute, which is held out where forms are compared, and what lies beyond the runs.
    """
    figure, ax = plt.subplots(figsize=(6.0, 5.2))
    largest = frontier[x].max()
    ax.axvspan(largest / 10, largest, color=GREY, alpha=0.14, linewidth=0, label="held-out decade")
    ax.axvspan(largest, curves[x].max(), color=GREY, alpha=0.32, linewidth=0, label="beyond the runs")
    _draw_laws(ax, curves, x, y, "estimator")
    amounts = sorted(frontier[sizes].unique())
    every = 1 + len(frontier) // 200
    for i, amount in enumerate(amounts):
        held = frontier[y].where(frontier[sizes] == amount)
        tint = VIRIDIS(i / max(len(amounts) - 1, 1))
        ax.plot(frontier[x], held, MARKERS[i % 7] + "-", color=tint, markersize=6, markevery=every, zorder=3)
        end = tuple(frontier.loc[held.notna(), [x, y]].to_numpy()[-1])
        ax.annotate(short(amount), end, (5, -8), textcoords="offset points", va="top", color=as_ink(tint))
    ax.plot(best[x], best[y], "*", color=ACCENT, markersize=16, markeredgecolor="white", label="best run", zorder=5)
    ax.plot([], [], "o", color=VIRIDIS(0), markersize=6, label=f"frontier, by {label(sizes)}")
    ax.set(xscale="log", xlabel=label(x), ylabel=ranked(y, frontier))
    ax.set_ylim(bottom=0)
    legend_above(figure)
    return figure


@styled
def isoflop(
    points: pd.DataFrame,
    parabolas: pd.DataFrame,
    optima: pd.DataFrame,
    x: str = "params_total",
    y: str = "valid_ndcg@5",
    budget: str = "flops",
    cut: pd.DataFrame | None = None,
) -> Figure:
    """Quality against size at fixed compute: runs, a parabola per budget, and its optimum.

    Args:
        points: the runs, with the columns `x`, `y` and `budget`, as have the other tables.
        parabolas: their points in order.
        optima: one row per budget.
        x: a column: size.
        y: a column: quality.
        budget: a column: compute.
        cut: what longer runs had reached at the same budgets: hollow, joined by dots.
    """
    figure, ax = plt.subplots()
    norm = log_norm(points[budget])
    tint = {value: VIRIDIS(norm(value)) for value in points[budget].unique()}
    for value, group in points.groupby(budget):
        ax.plot(group[x], group[y], "o", color=tint[value], markersize=6)
        if cut is not None:
            longer = cut[cut[budget] == value].sort_values(x)
            ax.plot(longer[x], longer[y], "o:", color=tint[value], markerfacecolor="white", linewidth=1)
            ax.plot(*group.sort_values(x)[[x, y]].to_numpy(float).T, color=tint[value], linewidth=1, alpha=0.5)
    if cut is not None:
        ax.plot([], [], "o", color=GREY, label="planned to end there")
        ax.plot([], [], "o:", color=GREY, markerfacecolor="white", linewidth=1, label="cut from longer runs")
    for value, curve in parabolas.groupby(budget):
        ax.plot(curve[x], curve[y], color=tint[value], linewidth=1.5)
    ax.plot(
        optima[x],
        optima[y],
        "*",
        color=ACCENT,
        markersize=15,
        markeredgecolor="white",
        label="optimum",
        zorder=4,
    )
    ax.set(xscale="log", xlabel=label(x), ylabel=ranked(y, points))
    log_ticks(ax)
    legend_above(figure)
    add_colour_bar(figure, ax, norm, points[budget], budget)
    return figure
