"""The book's figures: tidy tables in, matplotlib figures out. Nothing here computes results or needs torch.

One look for all: opaque white ground (legible on dark pages), type that stays legible when a figure is
shown 360 pixels wide, viridis for ordered quantities, seaborn's colour-blind palette with a marker and a dash
of its own for kinds.

>>> curves = pd.DataFrame({"run_id": "a", "flops": [1e9, 2e9], "valid_ndcg@5": [0.01, 0.02],
...                        "params_total": 500, "n_interactions": 5000})
>>> scaling_curves(curves, colour="interactions_per_parameter").axes[0].get_xlabel()
'training compute [FLOP]'
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

Array = npt.NDArray[np.float64]
Arguments = ParamSpec("Arguments")

LABELS = {
    "flops": "training compute [FLOP]",
    "flops_paper": "training compute, the paper's count [FLOP]",
    "params_total": "parameters",
    "params_non_embedding": "non-embedding parameters",
    "n_interactions": "interactions",
    "n_targets": "training targets",
    "n_layers": "layers",
    "n_heads": "attention heads",
    "n_negatives": "negatives",
    "d_model": "width",
    "interactions_per_parameter": "interactions per parameter",
    "valid_ndcg@5": "validation NDCG@5",
    "valid_ndcg@5_final": "validation NDCG@5, last",
    "test_ndcg@5": "test NDCG@5",
    "test_ndcg@10": "test NDCG@10",
    "test_unseen_ndcg@10": "test NDCG@10, new items only",
    "pretrain_interactions": "interactions of pre-training",
    "share": "share of the target's users",
}
STYLE: Any = {
    "figure.figsize": (6.0, 4.5),
    "figure.dpi": 120,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "font.size": 13,
    "legend.fontsize": 12,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "lines.linewidth": 2,
}
INK, GREY, HALO = "#222222", "#888888", "#bdbdbd"
ACCENT = sns.color_palette("colorblind")[3]
VIRIDIS = ListedColormap(sns.color_palette("viridis", 256)[:236])  # without the yellow that fades on white
MARKERS, DASHES = "osD^vPX", ("-", "--", ":", "-.")


def _styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw in the common style and leave the caller's settings alone."""

    @wraps(draw)
    def styled(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with plt.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def label(column: str) -> str:
    """What an axis that shows `column` says, with its unit.

    >>> label("flops")
    'training compute [FLOP]'
    """
    return LABELS.get(column, column.replace("_", " "))


def short(value: float) -> str:
    """A count as people write it.

    >>> short(2_000_000), short(1.5e3), short(0.05), short(1e18)
    ('2M', '1.5K', '0.05', '1e18')
    """
    if abs(value) >= 1e12:
        return f"{value:.3g}".replace("e+", "e")
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= power:
            return f"{value / power:.3g}{letter}"
    return f"{value:.3g}"


@_styled
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
        frontier: columns `x` and `y`, drawn as a broad grey line beneath the runs.
        fit, band: functions of `x`: a fitted law and its interval.
        ceiling: the best achievable `y`, where it is known.
    """
    if colour == "interactions_per_parameter":
        curves = curves.assign(**{colour: curves["n_interactions"] / curves["params_total"]})
    figure, ax = plt.subplots()
    norm = _log_norm(curves[colour])
    width = 1.6 if curves["run_id"].nunique() < 40 else 1.0
    for _, run in curves.sort_values(x).groupby("run_id", sort=False):
        tint = VIRIDIS(norm(run[colour].iloc[0]))
        ax.plot(run[x], run[y], color=tint, linewidth=width, alpha=0.8)
        ax.plot(run[x].iloc[-1], run[y].iloc[-1], "o", color=tint, markersize=5, markeredgecolor="white", zorder=3)
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
    ax.set(xscale="log", xlabel=label(x), ylabel=label(y))
    ax.set_ylim(bottom=0)
    _legend(ax)
    _colour_bar(figure, ax, norm, curves[colour], colour)
    return figure


@_styled
def data_scaling(
    runs: pd.DataFrame,
    colour: str = "d_model",
    x: str = "n_targets",
    y: str = "valid_ndcg@5",
    predicted: str | None = None,
) -> Figure:
    """Quality against the amount of data, one line per value of `colour` (a few ordered values).

    runs: one row per point, such as the best run of each data set and width. predicted: a column with a law's
    prediction at each row, drawn dashed.
    """
    figure, ax = plt.subplots()
    groups = list(runs.sort_values(x).groupby(colour))
    tints = [VIRIDIS(i / max(len(groups) - 1, 1)) for i in range(len(groups))]
    for i, (value, group) in enumerate(groups):
        ax.plot(group[x], group[y], color=tints[i], marker=MARKERS[i % 7], label=f"{label(colour)} {value:,}")
        if predicted is not None:
            ax.plot(group[x], group[predicted], color=tints[i], linestyle="--", linewidth=1.5)
    if predicted is not None:
        ax.plot([], [], color=GREY, linestyle="--", linewidth=1.5, label="law")
    ax.set(xscale="log", xlabel=label(x), ylabel=label(y))
    ax.set_ylim(bottom=0)
    _log_ticks(ax)
    _legend(ax, loc="best")
    return figure


@_styled
def paired_effects(pairs: pd.DataFrame, summary: pd.DataFrame, title: str = "") -> Figure:
    """What each step of a factor changes: a dot per pair of runs, the mean and its 95% interval.

    pairs: `runs.paired_effects`; summary: `runs.summarise_effects` of them, one row per step.
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
    ax.set(xlabel="change of NDCG@5", ylabel=title, ylim=(len(summary) - 0.5, -0.5))
    ax.set_yticks(rows, summary["step"] + "\n" + summary["pairs"].astype(str) + " pairs")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


@_styled
def observed_vs_predicted(
    points: pd.DataFrame,
    observed: str = "valid_ndcg@5",
    predicted: str = "predicted",
    kind: str | None = None,
) -> Figure:
    """Observed against predicted values with the line of agreement; `kind` names a column of kinds."""
    figure, ax = plt.subplots(figsize=(6.0, 5.4))
    groups = points.groupby(kind, sort=False) if kind else [("", points)]
    for i, (name, group) in enumerate(groups):
        ax.plot(
            group[predicted], group[observed], MARKERS[i % 7], color=_tint(i), markersize=7, alpha=0.75,
            markeredgecolor="white", label=str(name),
        )  # fmt: skip
    values = points[[observed, predicted]].to_numpy()
    ends = [values.min(), values.max()]
    ax.plot(ends, ends, color=INK, linewidth=1.2, zorder=1)
    ax.annotate("equal", (ends[1], ends[1]), xytext=(-6, 8), textcoords="offset points", ha="right", color=INK)
    ax.set(xlabel=f"predicted {label(observed)}", ylabel=label(observed), aspect="equal")
    if kind:
        ax.legend(title=label(kind), loc="upper left")
    return figure


@_styled
def holdout_errors(table: pd.DataFrame, held_out: str = "the held-out runs") -> Figure:
    """Error of each form where it was fitted and where it was not, on a logarithmic axis; the best on top.

    table: one row per form with columns `form`, `rmse` and `rmse_held_out` [NDCG], as from `reports.hold_out`.
    held_out: what the legend calls the runs that were not fitted.
    """
    table = table.sort_values("rmse_held_out", ignore_index=True)
    figure, ax = plt.subplots(figsize=(6.0, 1.6 + 0.5 * len(table)))
    rows = table.index.to_numpy()
    ax.hlines(rows, table["rmse"], table["rmse_held_out"], color=GREY, linewidth=1.5)
    ax.plot(table["rmse"], rows, "o", color=_tint(0), markersize=9, label="fitted runs")
    ax.plot(table["rmse_held_out"], rows, "D", color=ACCENT, markersize=8, label=held_out)
    ax.set(xscale="log", xlabel="root mean squared error [NDCG]", ylim=(len(table) - 0.5, -0.5))
    ax.set_yticks(rows, table["form"].str.replace("_", " "))
    ax.margins(x=0.12)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


@_styled
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
        curves: one row per point of a curve: `x`, `y`, `kind` (a line each) and, for an interval, `low` and `high`.
        points: runs, or their frontier, with `x` and `y`.
        points_label: what the legend calls them.
        log_y: for y that spans decades, such as the best number of parameters.

    The ground beyond the largest `x` of the points is shaded: there, curves extrapolate.
    """
    figure, ax = plt.subplots()
    if points is not None:
        ax.plot(points[x], points[y], "o", color=GREY, markersize=5, alpha=0.6, label=points_label)
        if (largest := points[x].max()) < curves[x].max():
            ax.axvspan(largest, curves[x].max(), color=GREY, alpha=0.12, linewidth=0, label="beyond the runs")
    for i, (name, curve) in enumerate(curves.sort_values(x).groupby(kind, sort=False)):
        if {"low", "high"} <= set(curve) and curve["low"].notna().any():
            ax.fill_between(curve[x], curve["low"], curve["high"], color=_tint(i), alpha=0.2, linewidth=0)
        ax.plot(curve[x], curve[y], color=_tint(i), linestyle=DASHES[i % 4], label=str(name))
    ax.set(xscale="log", xlabel=label(x), ylabel=label(y))
    if log_y:
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=0)
    _legend(ax, loc="best")
    return figure


@_styled
def isoflop(
    points: pd.DataFrame,
    parabolas: pd.DataFrame,
    optima: pd.DataFrame,
    x: str = "params_total",
    y: str = "valid_ndcg@5",
    budget: str = "flops",
) -> Figure:
    """Quality against size at fixed compute: runs, a parabola per budget, and its optimum.

    Each table has the columns `x`, `y` and `budget`; a parabola is its points in order.
    """
    figure, ax = plt.subplots()
    norm = _log_norm(points[budget])
    tint = {value: VIRIDIS(norm(value)) for value in points[budget].unique()}
    for value, group in points.groupby(budget):
        ax.plot(group[x], group[y], "o", color=tint[value], markersize=6)
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
    ax.set(xscale="log", xlabel=label(x), ylabel=label(y))
    _log_ticks(ax)
    _legend(ax, loc="best")
    _colour_bar(figure, ax, norm, points[budget], budget)
    return figure


@_styled
def catalogue_scaling(sizes: pd.DataFrame) -> Figure:
    """Training speed and peak memory as the catalogue grows.

    sizes: one row per size, as benchmarks/catalogue.py records them: `n_items`, `targets_per_s`, `peak_bytes` and
    `catalogue_bytes`, what the catalogue's own arrays take. The band is 15% wide, centred on the middle of the speeds;
    the broken line adds the arrays' growth to the smallest catalogue's peak.
    """
    sizes = sizes.sort_values("n_items")
    figure, (speed, memory) = plt.subplots(2, figsize=(6.0, 7.0))
    rate = sizes["targets_per_s"] / 1e3
    low = (rate.min() + rate.max()) / 2.15  # the middle of (low, 1.15 low)
    speed.axhspan(low, 1.15 * low, color=GREY, alpha=0.2, linewidth=0, label="within 15%")
    speed.plot(sizes["n_items"], rate, "o-", color=_tint(0), label="measured")
    speed.set(ylabel="speed [1000 targets/s]")
    speed.set_ylim(0, 1.4 * rate.max())
    peak, arrays = sizes["peak_bytes"] / 1e9, sizes["catalogue_bytes"] / 1e9
    expected = peak.iloc[0] + arrays - arrays.iloc[0]
    memory.plot(sizes["n_items"], peak, "o-", color=_tint(0), label="measured")
    memory.plot(sizes["n_items"], expected, "--", color=ACCENT, label="growth of the catalogue's arrays")
    memory.set(ylabel="peak memory [GB]")
    memory.set_ylim(bottom=0)
    for ax in (speed, memory):
        ax.set(xscale="log", xlabel="items in the catalogue")
        _log_ticks(ax)
    speed.legend(loc="upper left", ncols=2)
    _legend(memory)
    return figure


@_styled
def method_ranking(table: pd.DataFrame, y: str = "test_ndcg@10", ours: tuple[str, ...] = ()) -> Figure:
    """Methods by quality, the best on top, with their intervals.

    Args:
        table: one row per method: `method`, `y`, and where several seeds were run `low` and `high`.
        ours: methods that stand out by colour and marker: the pre-trained ones.
    """
    table = table.sort_values(y, ignore_index=True)
    figure, ax = plt.subplots(figsize=(6.0, 1.4 + 0.38 * len(table)))
    for chosen, tint, marker, name in ((True, ACCENT, "D", "pre-trained"), (False, _tint(0), "o", "not pre-trained")):
        part = table[table["method"].isin(ours) == chosen]
        ax.hlines(part.index, part["low"], part["high"], color=tint, linewidth=3, alpha=0.5)
        ax.plot(part[y], part.index, marker, color=tint, markersize=8, label=name)
    ax.set(xlabel=label(y), ylim=(-0.6, len(table) - 0.4), xlim=(0, None))
    ax.set_yticks(table.index, table["method"].str.replace("_", " "))
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


@_styled
def transfer_curves(
    table: pd.DataFrame, x: str, kind: str, y: str = "test_ndcg@10", baseline: pd.DataFrame | None = None
) -> Figure:
    """Quality on the target against the size of something, a line per kind, with its interval where there is one.

    Args:
        table: `x`, `y`, `kind` and, where several seeds were run, `low` and `high`.
        baseline: `kind` and `y` of what has no `x`: a thin level line in the kind's colour, "<kind>, from scratch".
    """
    figure, ax = plt.subplots()
    for i, (name, curve) in enumerate(table.sort_values(x).groupby(kind)):
        if {"low", "high"} <= set(curve):
            ax.fill_between(curve[x], curve["low"], curve["high"], color=_tint(i), alpha=0.2, linewidth=0)
        ax.plot(
            curve[x],
            curve[y],
            color=_tint(i),
            marker=MARKERS[i],
            linestyle=DASHES[i % 4],
            label=str(name).replace("_", " "),
        )
        if baseline is not None:
            for level in baseline.loc[baseline[kind] == name, y]:
                ax.axhline(level, color=_tint(i), linewidth=1.2, linestyle=":", label=f"{name}, from scratch")
    ax.set(xscale="log", xlabel=label(x), ylabel=label(y), ylim=(0, 1.06 * ax.dataLim.ymax))
    _log_ticks(ax)
    if x == "share":
        ax.set_xticks(table[x].unique())
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def _tint(i: int) -> tuple[float, float, float]:
    palette = sns.color_palette("colorblind")
    return palette[i % len(palette)]


def _log_norm(values: pd.Series) -> LogNorm:
    return LogNorm(values.min(), max(values.max(), values.min() * 1.01))


def _legend(ax: Axes, loc: Literal["upper left", "best"] = "upper left") -> None:
    if any(ax.get_legend_handles_labels()[1]):
        ax.legend(loc=loc)


def _colour_bar(figure: Figure, ax: Axes, norm: LogNorm, values: pd.Series, column: str) -> None:
    """Ticks at the values themselves where they are few and far enough apart, else at 1, 2, 5, 10, ..."""
    bar = figure.colorbar(ScalarMappable(norm, VIRIDIS), ax=ax, label=label(column))
    own = np.sort(values.unique())
    gaps = np.diff(np.log(own)) / max(np.log(own[-1] / own[0]), 1e-9)
    few = len(own) <= 7 and bool((gaps > 0.08).all())
    bar.ax.yaxis.set_major_locator(FixedLocator(own.tolist()) if few else LogLocator(subs=(1, 2, 5)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    bar.ax.yaxis.set_minor_locator(FixedLocator([]))


def _log_ticks(ax: Axes) -> None:
    """Labels at 1, 2, 5, 10, ... of a logarithmic x axis, as people write them; at decades alone beyond three."""
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())


# ---- data ----


@_styled
def funnel(stages: pd.DataFrame) -> Figure:
    """What is left after each step of a pipeline: a bar per stage from the top, with its count and share.

    stages: columns `stage` and `ratings`, the largest first.
    """
    figure, ax = plt.subplots(figsize=(6.0, 1.2 + 0.55 * len(stages)))
    rows = np.arange(len(stages))
    ax.barh(rows, stages["ratings"], color=_tint(0), height=0.7)
    largest = stages["ratings"].max()
    for row, count in zip(rows, stages["ratings"], strict=True):
        ax.annotate(
            f"{count:,} ({count / largest:.1%})", (count, row), xytext=(5, 0), textcoords="offset points", va="center"
        )
    ax.set_yticks(rows, stages["stage"])
    ax.set(xlabel="ratings", xlim=(0, 1.45 * largest), ylim=(len(stages) - 0.5, -0.5))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    ax.grid(axis="y", visible=False)
    return figure


@_styled
def popularity(distributions: pd.DataFrame) -> Figure:
    """Interactions of an item against its rank, on logarithmic axes (Zipf plot): a line per data set.

    distributions: columns `set`, `value` (interactions) and `count` (items that have so many).
    """
    figure, ax = plt.subplots(figsize=(6.0, 5.2))
    for rows, look in _sets(distributions):
        rows = rows.sort_values("value", ascending=False)
        ax.plot(rows["count"].cumsum(), rows["value"], **look)
    ax.set(xscale="log", yscale="log", xlabel="rank of the item", ylabel="interactions of the item")
    _short_ticks(ax)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


@_styled
def sequence_lengths(distributions: pd.DataFrame) -> Figure:
    """Share of users with at least so many interactions, on logarithmic axes: a line per data set.

    distributions: columns `set`, `value` (interactions) and `count` (users who have so many).
    """
    figure, ax = plt.subplots(figsize=(6.0, 5.2))
    for rows, look in _sets(distributions):
        rows = rows.sort_values("value", ascending=False)
        ax.plot(rows["value"], 100 * rows["count"].cumsum() / rows["count"].sum(), **look)
    ax.set(xscale="log", yscale="log", xlabel="interactions of a user, at least", ylabel="users [%]")
    _short_ticks(ax)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


@_styled
def catalogue_growth(growth: pd.DataFrame) -> Figure:
    """Items (above) and different words of their titles (below) against users: a line per data set.

    growth: columns `set`, `users`, `items` and `words`, one row per nested sample.
    """
    figure, axes = plt.subplots(2, 1, figsize=(6.0, 7.6), sharex=True)
    for i, (rows, look) in enumerate(_sets(growth)):
        axes[0].plot(rows["users"], rows["items"], marker=MARKERS[i % 7], **look)
        axes[1].plot(rows["users"], rows["words"], marker=MARKERS[i % 7], **{**look, "label": None})
    for ax, column in zip(axes, ("items", "different words in titles"), strict=True):
        ax.set(xscale="log", yscale="log", ylabel=column)
        _short_ticks(ax)
    axes[1].set_xlabel("users")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def _sets(table: pd.DataFrame) -> list[tuple[pd.DataFrame, dict[str, Any]]]:
    """The rows of each data set of a table, in its order, and how its line looks; the last one stands out."""
    groups = list(table.groupby("set", sort=False))
    last = len(groups) - 1
    return [
        (
            rows,
            {
                "color": INK if i == last else _tint(i),
                "linestyle": "-" if i == last else DASHES[i % 4],
                "label": str(name).removeprefix("amazon_").replace("_", " "),
            },
        )
        for i, (name, rows) in enumerate(groups)
    ]


def _short_ticks(ax: Axes) -> None:
    """Counts as people write them on both logarithmic axes."""
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axis.set_minor_formatter(NullFormatter())
