"""Methods of transfer, by quality and by how much data they had."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from srtlib.figures.style import ACCENT, DASHES, GREY, MARKERS, kind_tint, label, log_ticks, styled


@styled
def method_ranking(table: pd.DataFrame, y: str = "test_ndcg@10", ours: tuple[str, ...] = ()) -> Figure:
    """Methods by quality, the best on top, with their intervals.

    Args:
        table: one row per method: `method`, `y`, and where several seeds were run `low` and `high`.
        y: a column: quality.
        ours: methods that stand out by colour and marker: the pre-trained ones.
    """
    table = table.sort_values(y, ignore_index=True)
    figure, ax = plt.subplots(figsize=(6.0, 1.4 + 0.38 * len(table)))
    for chosen, tint, marker, name in (
        (True, ACCENT, "D", "pre-trained"),
        (False, kind_tint(0), "o", "not pre-trained"),
    ):
        part = table[table["method"].isin(ours) == chosen]
        ax.hlines(part.index, part["low"], part["high"], color=tint, linewidth=3, alpha=0.5)
        ax.plot(part[y], part.index, marker, color=tint, markersize=8, label=name)
    ax.plot([], [], color=GREY, linewidth=3, alpha=0.5, label="95% interval")
    ax.set(xlabel=label(y), ylim=(-0.6, len(table) - 0.4), xlim=(0, None))
    ax.set_yticks(table.index, table["method"].str.replace("_", " "))
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


@styled
def transfer_curves(
    table: pd.DataFrame, x: str, kind: str, y: str = "test_ndcg@10", baseline: pd.DataFrame | None = None
) -> Figure:
    """Quality on the target against the size of something, a line per kind, with its interval where there is one.

    Args:
        table: `x`, `y`, `kind` and, where several seeds were run, `low` and `high`.
        x: a column: size of something.
        kind: a column whose values get a line each.
        y: a column: quality.
        baseline: `kind` and `y` of what has no `x`: a thin level line in the kind's colour, "<kind>, from scratch".
    """
    figure, ax = plt.subplots()
    for i, (name, curve) in enumerate(table.sort_values(x).groupby(kind)):
        if {"low", "high"} <= set(curve):
            ax.fill_between(curve[x], curve["low"], curve["high"], color=kind_tint(i), alpha=0.2, linewidth=0)
        ax.plot(
            curve[x],
            curve[y],
            color=kind_tint(i),
            marker=MARKERS[i],
            linestyle=DASHES[i % 4],
            label=str(name).replace("_", " "),
        )
        if baseline is not None:
            for level in baseline.loc[baseline[kind] == name, y]:
                ax.axhline(level, color=kind_tint(i), linewidth=1.2, linestyle=":", label=f"{name}, from scratch")
    if {"low", "high"} <= set(table):
        ax.fill_between([], [], color=GREY, alpha=0.3, linewidth=0, label="95% interval")
    ax.set(xscale="log", xlabel=label(x), ylabel=label(y), ylim=(0, 1.06 * ax.dataLim.ymax))
    log_ticks(ax)
    if x == "share":
        ax.set_xticks(table[x].unique())
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


@styled
def encoders_by_share(table: pd.DataFrame, level: float, y: str = "test_unseen_ndcg@10") -> Figure:
    """Quality by the share of the target's users that was trained on, a line per item encoder, with its interval where
    several seeds were run; a level line for the neighbours by text, which nothing was trained for.

    Args:
        table: `encoder`, `share`, `y`, and where several seeds were run `low` and `high`.
        level: quality of the neighbours.
        y: a column: quality.
    """
    figure, ax = plt.subplots()
    for i, (name, curve) in enumerate(table.sort_values("share").groupby("encoder", sort=False)):
        ax.fill_between(curve["share"], curve["low"], curve["high"], color=kind_tint(i), alpha=0.2, linewidth=0)
        ax.plot(
            curve["share"], curve[y], color=kind_tint(i), marker=MARKERS[i], linestyle=DASHES[i % 4], label=str(name)
        )
    ax.fill_between([], [], color=GREY, alpha=0.3, linewidth=0, label="95% interval")
    ax.axhline(level, color=GREY, linewidth=2, linestyle=":", label="neighbours by text, nothing trained")
    ax.set(xscale="log", xlabel=label("share"), ylabel=label(y), ylim=(0, 1.06 * ax.dataLim.ymax))
    ax.set_xticks(sorted(table["share"].unique()))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.minorticks_off()
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure
