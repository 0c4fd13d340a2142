"""What a whole study says: recipes side by side, laws tried decade by decade, a loss beside its metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator, PercentFormatter

from srtlib.figures.style import (
    ACCENT,
    DASHES,
    GREY,
    HALO,
    INK,
    MARKERS,
    VIRIDIS,
    add_colour_bar,
    add_legend,
    as_power,
    kind_tint,
    label,
    legend_above,
    log_norm,
    log_ticks,
    named_in,
    ranked,
    short,
    styled,
    words,
)

Array = npt.NDArray[np.float64]


@styled
def recipes_compared(
    curves: pd.DataFrame,
    frontiers: Mapping[str, pd.DataFrame],
    fits: Mapping[str, Callable[[Array], Array]],
    x: str = "flops",
    y: str = "valid_ndcg@5",
    kind: str = "recipe",
    slopes: pd.DataFrame | None = None,
    ratios: pd.DataFrame | None = None,
) -> Figure:
    """Quality against compute of several recipes: every run thin, each frontier bold.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        frontiers: by recipe, with the columns `x` and `y`.
        fits: by recipe, a law as a function of `x`, drawn dotted over the range of its frontier.
        x: a column: compute, or seconds.
        y: a column: quality.
        kind: the column that names the recipe.
        slopes: as from `laws.efficiency.frontier_slopes`, one row per recipe: what the legend says of it.
        ratios: as from `laws.efficiency.cost_ratios` for the cost `x`: an arrow at each quality that both recipes
            reach, from what theirs needed to what ours did.
    """
    figure, ax = plt.subplots(figsize=(6.4, 5.2))
    for i, (name, best) in enumerate(frontiers.items()):
        tint = kind_tint(i)
        for _, run in curves[curves[kind] == name].sort_values(x).groupby("run_id", sort=False):
            ax.plot(run[x], run[y], color=tint, linewidth=0.7, alpha=0.3)
            ax.plot(run[x].iloc[-1], run[y].iloc[-1], MARKERS[i], color=tint, markersize=3, alpha=0.5)
        text = f"recipe {name}" if kind == "recipe" else words(str(name))
        if slopes is not None:
            slope, low, high = slopes.set_index("set").loc[name, ["slope", "low", "high"]].astype(float)
            text += f":\n{slope:+.4f} per decade\n(95%: {low:.4f} to {high:.4f})"
        ax.plot(best[x], best[y], color=tint, linestyle=DASHES[i % 4], linewidth=3, label=text)
        if name in fits:
            ax.plot(best[x], fits[name](best[x].to_numpy(float)), color=INK, linestyle=":", linewidth=1.4)
    if fits:
        ax.plot([], [], color=INK, linestyle=":", linewidth=1.4, label="fitted law")
    if ratios is not None:
        _ratio_arrows(ax, ratios)
    ax.set(xscale="log", xlabel=label(x), ylabel=ranked(y, curves))
    ax.set_ylim(bottom=0)
    legend_above(figure)
    return figure


def _ratio_arrows(ax: Axes, ratios: pd.DataFrame) -> None:
    for quality, ours, theirs, ratio in ratios[["quality", "ours", "theirs", "ratio"]].dropna().to_numpy(float):
        arrow = {"arrowstyle": "->", "color": INK, "linewidth": 1.2}
        ax.annotate("", (ours, quality), (theirs, quality), arrowprops=arrow)
        ax.annotate(
            f"{float(f'{ratio:.2g}'):,g}\N{MULTIPLICATION SIGN}", (np.sqrt(ours * theirs), quality), (0, 3),
            textcoords="offset points", ha="center", color=INK,
        )  # fmt: skip


@styled
def rollout(points: pd.DataFrame, x: str = "flops") -> Figure:
    """Each decade predicted from what lies below it, a panel per form: predicted / measured - 1 with the law's band.

    Args:
        points: as from `laws.rollout.compute_rollout` or `data_rollout`.
        x: a column: compute, or data. Points of one decade at the same x are drawn side by side.

    Vertical lines are where decades begin. Panels end at -100% and 100%, or before.
    """
    forms = list(points.groupby("form", sort=False))
    rows = -(-len(forms) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(6.5, 1.7 + 2.3 * rows), sharex=True, sharey=True, squeeze=False)
    for ax, (form, group) in zip(axes.flat, forms, strict=False):
        _rollout_of_form(ax, group, x)
        ax.set_title(words(str(form)), fontsize=13)
    for ax in axes.flat[len(forms) :]:
        ax.set_axis_off()
    off = (points["predicted"] / points["observed"] - 1).abs().max()
    edge = 1.1 * min(1.0, float(np.nan_to_num(off, nan=1.0)))
    axes[0, 0].set(xscale="log", ylim=(-edge, edge))
    axes[0, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes[0, 0].xaxis.set_major_locator(LogLocator(numticks=4))
    written = as_power if x.startswith("flops") else short
    axes[0, 0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))
    axes[0, 0].xaxis.set_minor_locator(NullLocator())
    figure.supxlabel(label(x), fontsize=13)
    figure.supylabel("predicted / measured \N{MINUS SIGN} 1", fontsize=13)
    legend_above(figure, named_in(axes[0, 0]), columns=1)
    return figure


def _rollout_of_form(ax: Axes, points: pd.DataFrame, x: str) -> None:
    points = points.sort_values([x, "predicted"])
    twins = points.groupby(x)[x]
    at = points[x] * 10 ** (0.3 * ((twins.cumcount() + 0.5) / twins.transform("size") - 0.5))
    error, low, high = (points[name] / points["observed"] - 1 for name in ("predicted", "low", "high"))
    inside = (low <= 0) & (high >= 0)
    for _, part in points.groupby("start"):
        ax.axvline(float(part["start"].iloc[0]), color=GREY, linewidth=0.8, alpha=0.6)
        if part["predicted"].isna().all():
            ax.annotate(
                "no fit",
                (part["start"].iloc[0] * 10**0.5, 0),
                (0, 3),
                textcoords="offset points",
                ha="center",
                color=GREY,
            )
    ax.vlines(at, low, high, color=kind_tint(0), alpha=0.3, linewidth=3)
    ax.plot(
        at[inside], error[inside], "o", color=kind_tint(0), markersize=5, label="measured inside the 95% band (bar)"
    )
    ax.plot(at[~inside], error[~inside], "D", color=ACCENT, markerfacecolor="white", markersize=5, label="outside")
    ax.axhline(0, color=INK, linewidth=1)


@styled
def loss_and_metric(
    table: pd.DataFrame,
    x: str = "valid_loss",
    y: str = "valid_ndcg@5",
    colour: str = "n_interactions",
    fitted: pd.DataFrame | None = None,
) -> Figure:
    """A metric against the loss of the same model, one dot per run or evaluation.

    Args:
        table: with the columns below.
        x: a column: the loss, in nats; it falls to the right.
        y: a column: the metric.
        colour: a positive column.
        fitted: as from `laws.mapping.monotone_map`.
    """
    figure, ax = plt.subplots()
    norm = log_norm(table[colour])
    if fitted is not None:
        ax.plot(fitted[x], fitted["fitted"], color=HALO, linewidth=5, label="monotone fit", zorder=0.5)
    ax.scatter(table[x], table[y], c=VIRIDIS(norm(table[colour])), s=22, alpha=0.8, linewidths=0)
    ax.set(xlabel=label(x), ylabel=ranked(y, table))
    ax.set_ylim(bottom=0)
    ax.invert_xaxis()
    ax.xaxis.set_major_locator(MaxNLocator(5))
    add_legend(ax)
    add_colour_bar(figure, ax, norm, table[colour], colour)
    return figure


@styled
def variations(summary: pd.DataFrame, metric: str = "NDCG@10") -> Figure:
    """What each change of a recipe does: relative effect on validation, with its 95% interval where seeds allow one.

    Args:
        summary: as from `runs.summarise_effects(pairs, "variation")`; one pair has no interval.
        metric: what changes, for the label.
    """
    summary = summary.sort_values("effect", ascending=False, ignore_index=True)
    figure, ax = plt.subplots(figsize=(6.4, 1.2 + 0.34 * len(summary)))
    rows = summary.index.to_numpy()
    ax.hlines(rows, summary["low"], summary["high"], color=ACCENT, linewidth=3, alpha=0.5)
    several = summary["pairs"] > 1
    looks = ((several, "D", ACCENT, "mean of several seeds, 95% interval"), (~several, "o", GREY, "one seed"))
    for chosen, marker, tint, name in looks:
        if chosen.any():
            ax.plot(summary.loc[chosen, "effect"], rows[chosen], marker, color=tint, markersize=7, label=name)
    ax.axvline(0, color=INK, linewidth=1)
    ax.set(xlabel=f"change of validation {metric}", ylim=(len(summary) - 0.5, -0.5))
    ax.set_yticks(rows, summary["variation"].map(words))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    legend_above(figure)
    return figure


@styled
def seed_spread(rows: pd.DataFrame, x: str = "n_interactions", colour: str = "d_model") -> Figure:
    """How far runs that differ in their seed alone lie from their mean.

    Args:
        rows: as from `runs.seed_spread`.
        x: a column: size of something. Runs at the same x are drawn side by side.
        colour: a column of a few ordered values.
    """
    figure, ax = plt.subplots()
    groups = list(rows.groupby(colour))
    for i, (value, group) in enumerate(groups):
        place = 10 ** (0.25 * ((i + 0.5) / len(groups) - 0.5))
        tint = VIRIDIS(i / max(len(groups) - 1, 1))
        ax.plot(
            group[x] * place, group["off"], MARKERS[i % 7], color=tint, alpha=0.8, label=f"{label(colour)} {value:,}"
        )
    ax.axhline(0, color=INK, linewidth=1)
    edge = 1.15 * rows["off"].abs().max()
    ax.set(xscale="log", xlabel=label(x), ylabel="run / mean of its seeds \N{MINUS SIGN} 1", ylim=(-edge, edge))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if edge > 0.04 else 1))
    log_ticks(ax)
    legend_above(figure, columns=3)
    return figure


@styled
def quality_by_group(table: pd.DataFrame, ranking: str = "all items") -> Figure:
    """For whom a model is better: quality by length of history, above, and by popularity of the target, below.

    Args:
        table: as from `srtlib.studies.judging.by_group`.
        ranking: "all items" or "new items".
    """
    figure, axes = _by_group(table[table["ranking"] == ranking], "model", "ndcg")
    for ax in axes:
        ax.set(ylabel=f"NDCG, {ranking}", ylim=(0, None))
    return figure


@styled
def difference_by_group(table: pd.DataFrame, second: str, first: str) -> Figure:
    """For whom one of two models is better: the difference of both rankings, by history and by popularity.

    Args:
        table: as from `srtlib.studies.judging.difference_by_group`.
        second: what the better of the two is called, where the difference is above zero.
        first: what the other is called.
    """
    figure, axes = _by_group(table, "ranking", "difference")
    for ax in axes:
        ax.axhline(0, color=INK, linewidth=1)
        ax.set(ylabel=f"NDCG, {second} \N{MINUS SIGN} {first}")
    return figure


def _by_group(table: pd.DataFrame, kind: str, y: str) -> tuple[Figure, list[Axes]]:
    """Two panels of `y` and its interval, by history above and by popularity below, a line per value of `kind`."""
    axes_of = {
        "history": "items in the user's history, at least",
        "popularity": "times the target was taken in training, at least",
    }
    figure, axes = plt.subplots(2, 1, figsize=(6.0, 7.0))
    for ax, (by, title) in zip(axes, axes_of.items(), strict=True):
        part = table[table["by"] == by]
        groups = part.drop_duplicates("least").sort_values("least")
        for i, (name, rows) in enumerate(part.groupby(kind, sort=False)):
            x = np.searchsorted(groups["least"], rows["least"]) + 0.08 * i
            error = [rows[y] - rows["low"], rows["high"] - rows[y]]
            look = {"color": kind_tint(i), "marker": MARKERS[i % len(MARKERS)], "linestyle": DASHES[i % len(DASHES)]}
            ax.errorbar(x, rows[y], error, label=f"{name} (bar: 95%)", capsize=3, **look)
        ax.set_xticks(range(len(groups)), groups["least"].map(short))
        ax.set(xlabel=title)
    legend_above(figure, named_in(axes[0]))
    return figure, list(axes)


@styled
def tuned_settings(optima: Mapping[str, pd.DataFrame], x: str = "n_targets") -> Figure:
    """The best value of each setting against the amount of data, a panel each; open marks where it is at an edge.

    Args:
        optima: by the setting's name in words, as from `laws.tuning.best_settings`: the setting stands in the third
            column, after those of the cell.
        x: a column: amount of data.
    """
    figure, axes = plt.subplots(len(optima), 1, figsize=(6.0, 2.5 * len(optima)), sharex=True, squeeze=False)
    for i, (ax, (name, table)) in enumerate(zip(axes[:, 0], optima.items(), strict=True)):
        setting = table.columns[2]
        for at_edge, part in table.groupby("at_edge"):
            text = "largest or smallest tried" if at_edge else "best lies between those tried"
            face = "white" if at_edge else kind_tint(i)
            ax.plot(part[x], part[setting], MARKERS[i], color=kind_tint(i), ms=9, mfc=face, mew=2, label=text)
        ax.set(xscale="log", yscale="log", ylabel=name)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.margins(y=0.4)
        ax.legend(loc="best")
    log_ticks(axes[-1, 0])
    figure.supxlabel(label(x), fontsize="medium")
    return figure
