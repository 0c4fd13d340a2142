"""What a whole study says: recipes side by side, laws tried decade by decade, a loss beside its metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from srtlib.figures.style import (
    ACCENT,
    DASHES,
    GREY,
    INK,
    MARKERS,
    VIRIDIS,
    add_colour_bar,
    kind_tint,
    label,
    log_norm,
    styled,
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
) -> Figure:
    """Quality against compute of several recipes: every run thin, each frontier bold and named on the line.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        frontiers: by recipe, with the columns `x` and `y`.
        fits: by recipe, a law as a function of `x`, drawn dashed over the range of its frontier.
        x: a column: compute, or seconds.
        y: a column: quality.
        kind: the column that names the recipe.
    """
    figure, ax = plt.subplots(figsize=(6.6, 4.5))
    for i, (name, best) in enumerate(frontiers.items()):
        tint = kind_tint(i)
        for _, run in curves[curves[kind] == name].sort_values(x).groupby("run_id", sort=False):
            ax.plot(run[x], run[y], color=tint, linewidth=0.7, alpha=0.3)
            ax.plot(run[x].iloc[-1], run[y].iloc[-1], MARKERS[i], color=tint, markersize=3, alpha=0.5)
        ax.plot(best[x], best[y], color=tint, linewidth=3)
        if name in fits:
            ax.plot(best[x], fits[name](best[x].to_numpy(float)), color=INK, linestyle=DASHES[1], linewidth=1.4)
        end = best.iloc[-1]
        ax.annotate(
            str(name), (end[x], end[y]), xytext=(6, 0), textcoords="offset points", color=tint, va="center",
            fontweight="bold",
        )  # fmt: skip
    if fits:
        ax.plot([], [], color=INK, linestyle=DASHES[1], linewidth=1.4, label="fitted law")
        ax.legend(loc="upper left")
    ax.set(xscale="log", xlabel=label(x), ylabel=label(y))
    ax.set_ylim(bottom=0)
    return figure


@styled
def rollout(points: pd.DataFrame, x: str = "flops", y: str = "valid_ndcg@5") -> Figure:
    """Laws fitted below each decade against what was then measured: one panel per form.

    Args:
        points: as from `laws.rollout.compute_rollout`.
        x: a column: compute.
        y: what is predicted, for the label.
    """
    forms = list(points["form"].unique())
    figure, axes = plt.subplots(
        len(forms), 1, figsize=(6.0, 0.8 + 2.0 * len(forms)), sharex=True, sharey=True, squeeze=False
    )
    for ax, form in zip(axes[:, 0], forms, strict=True):
        part = points[points["form"] == form]
        seen = part.sort_values(x)
        ax.plot(seen[x], seen["observed"], color=INK, linewidth=2.5, label="measured")
        for i, (start, decade) in enumerate(part.groupby("start")):
            ax.axvline(start, color=GREY, linewidth=0.6)
            ax.fill_between(decade[x], decade["low"], decade["high"], color=kind_tint(i), alpha=0.25, linewidth=0)
            ax.plot(decade[x], decade["predicted"], color=kind_tint(i), linestyle="--", marker=MARKERS[i % 7], ms=4)
        ax.set_title(str(form).replace("_", " "), loc="left", fontsize=13)
        ax.set(xscale="log", ylim=(0, 1.6 * points["observed"].max()))
    axes[0, 0].plot([], [], color=GREY, linestyle="--", label="predicted from below, 95% band")
    axes[0, 0].legend(loc="upper left")
    axes[-1, 0].set_xlabel(label(x))
    figure.supylabel(label(y), fontsize=13)
    return figure


@styled
def loss_and_metric(
    table: pd.DataFrame, x: str = "valid_loss", y: str = "valid_ndcg@5", colour: str = "n_interactions"
) -> Figure:
    """A metric against the loss of the same model, one dot per run or evaluation.

    Args:
        table: with the columns below.
        x: a column: the loss, in nats; it falls to the right.
        y: a column: the metric.
        colour: a positive column.
    """
    figure, ax = plt.subplots()
    norm = log_norm(table[colour])
    ax.scatter(table[x], table[y], c=VIRIDIS(norm(table[colour])), s=22, alpha=0.8, linewidths=0)
    ax.set(xlabel=label(x), ylabel=label(y))
    ax.set_ylim(bottom=0)
    ax.invert_xaxis()
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
    for chosen, marker, tint, name in ((several, "D", ACCENT, "several seeds"), (~several, "o", GREY, "one seed")):
        ax.plot(summary.loc[chosen, "effect"], rows[chosen], marker, color=tint, markersize=7, label=name)
    ax.axvline(0, color=INK, linewidth=1)
    ax.set(xlabel=f"change of validation {metric}", ylim=(len(summary) - 0.5, -0.5))
    ax.set_yticks(rows, summary["variation"])
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure
