"""Methods of transfer, by quality and by how much data they had."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from srtlib.figures.style import ACCENT, DASHES, GREY, MARKERS, kind_tint, label, legend_above, log_ticks, styled, words


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
    if _has_interval(table):
        ax.plot([], [], color=GREY, linewidth=3, alpha=0.5, label="95% interval")
    ax.set(xlabel=label(y), ylim=(-0.6, len(table) - 0.4), xlim=(0, None))
    ax.set_yticks(table.index, table["method"].map(words))
    legend_above(figure)
    return figure


@styled
def transfer_curves(
    table: pd.DataFrame,
    x: str,
    kind: str,
    y: str = "test_ndcg@10",
    baseline: pd.DataFrame | None = None,
    level: float | None = None,
) -> Figure:
    """Quality on the target against the size of something, a line per kind, with its interval where there is one.

    Args:
        table: `x`, `y`, `kind` and, where several seeds were run, `low` and `high`.
        x: a column: size of something.
        kind: a column whose values get a line each, in the order of the table.
        y: a column: quality.
        baseline: `kind` and `y` of what has no `x`: a thin level line in the kind's colour, "<kind>, from scratch".
        level: quality of the neighbours by text: a thick level line.
    """
    figure, ax = plt.subplots()
    for i, (name, curve) in enumerate(table.groupby(kind, sort=False)):
        curve = curve.sort_values(x)
        if {"low", "high"} <= set(curve):
            ax.fill_between(curve[x], curve["low"], curve["high"], color=kind_tint(i), alpha=0.2, linewidth=0)
        ax.plot(
            curve[x],
            curve[y],
            color=kind_tint(i),
            marker=MARKERS[i],
            linestyle=DASHES[i % 4],
            label=words(str(name)),
        )
        if baseline is not None:
            for own in baseline.loc[baseline[kind] == name, y]:
                ax.axhline(own, color=kind_tint(i), linewidth=1.2, linestyle=":", label=f"{name}, from scratch")
    if _has_interval(table):
        ax.fill_between([], [], color=GREY, alpha=0.3, linewidth=0, label="95% interval")
    if level is not None:
        _draw_neighbours(ax, level)
    ax.set(xscale="log", xlabel=label(x), ylabel=label(y), ylim=(0, 1.06 * ax.dataLim.ymax))
    log_ticks(ax)
    if x == "share":
        ax.set_xticks(table[x].unique())
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    legend_above(figure)
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
    figure, ax = plt.subplots(figsize=(6.0, 5.4))
    for i, (name, curve) in enumerate(table.sort_values("share").groupby("encoder", sort=False)):
        ax.fill_between(curve["share"], curve["low"], curve["high"], color=kind_tint(i), alpha=0.2, linewidth=0)
        ax.plot(
            curve["share"], curve[y], color=kind_tint(i), marker=MARKERS[i], linestyle=DASHES[i % 4], label=str(name)
        )
    if _has_interval(table):
        ax.fill_between([], [], color=GREY, alpha=0.3, linewidth=0, label="95% interval")
    _draw_neighbours(ax, level)
    ax.set(xscale="log", xlabel=label("share"), ylabel=label(y), ylim=(0, 1.06 * ax.dataLim.ymax))
    ax.set_xticks(sorted(table["share"].unique()))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.minorticks_off()
    legend_above(figure)
    return figure


@styled
def quality_by_target(table: pd.DataFrame, y: str = "test_unseen_ndcg@10") -> Figure:
    """Methods side by side: a row per target, a mark per method.

    Args:
        table: `target` (a data set, or a part of its items or users), `method`, `y`.
        y: a column: quality.
    """
    targets, methods = table["target"].unique(), table["method"].unique()
    figure, ax = plt.subplots(figsize=(6.0, 0.8 + 0.6 * len(targets) + 0.27 * len(methods)))
    row = pd.Series(range(len(targets))[::-1], index=targets)
    for i, method in enumerate(methods):
        part = table[table["method"] == method]
        ax.plot(part[y], row[part["target"]], MARKERS[i], color=kind_tint(i), markersize=9, label=method, clip_on=False)
    ax.set(xlabel=label(y), ylim=(-0.5, len(targets) - 0.5), xlim=(0, None))
    ax.set_yticks(row, row.index)
    ax.locator_params(axis="x", nbins=5)
    legend_above(figure)
    return figure


@styled
def gains_by_share(table: pd.DataFrame) -> Figure:
    """Gains over the best encoder that was trained from scratch, a panel per target, a group per share.

    Args:
        table: `target`, `share`, `best` (its name, shown below the share), `encoder`, `effect`, and its interval `low`
            and `high`, NaN where there is none; gains are ratios.
    """
    targets, kinds = table["target"].unique(), list(table["encoder"].unique())
    figure, axes = plt.subplots(len(targets), figsize=(6.0, 1.6 + 2.6 * len(targets)), sharey=True, squeeze=False)
    for ax, target in zip(axes[:, 0], targets, strict=True):
        part = table[table["target"] == target]
        best = part.groupby("share")["best"].first()
        place = pd.Series(range(len(best)), index=best.index)
        for i, kind in enumerate(kinds):
            own = part[part["encoder"] == kind]
            if own.empty:
                continue
            x = place[own["share"]] + 0.9 / len(kinds) * (i - (len(kinds) - 1) / 2)
            ax.vlines(x, own["low"], own["high"], color=kind_tint(i), linewidth=2.5, alpha=0.6)
            ax.plot(x, own["effect"], MARKERS[i], color=kind_tint(i), markersize=7, label=kind)
        ax.axhline(0, color=GREY, linewidth=2, linestyle=":")
        ax.set(title=target, xlim=(-0.5, len(best) - 0.5))
        ax.set_xticks(place, [f"{share:.0%}\n{name}" for share, name in best.items()])
        ax.grid(visible=False, axis="x")
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.supylabel("gain over the best encoder from scratch", fontsize=13)
    figure.supxlabel("share of the target's users, and the best encoder", fontsize=13)
    lines: dict[str, Artist] = {str(line.get_label()): line for ax in axes[:, 0] for line in ax.lines[:-1]}
    legend_above(figure, lines)
    return figure


@styled
def sources_by_distance(table: pd.DataFrame, level: float, y: str = "test_unseen_ndcg@10") -> Figure:
    """Quality on an unseen target against the distance of what was learnt from: before training (hollow) and after it.

    Args:
        table: `source`, `distance`, `method` (untrained or zero_shot), `y`, a row per seed.
        level: quality of the target's own neighbours: a level line.
        y: a column: quality.
    """
    figure, ax = plt.subplots()
    for i, (name, part) in enumerate(table.sort_values("distance").groupby("source", sort=False)):
        before, after = (part[part["method"] == method] for method in ("untrained", "zero_shot"))
        x, tint = before["distance"].iloc[0], kind_tint(i)
        ax.vlines(x, after[y].min(), before[y].max(), color=tint, linewidth=1.5, alpha=0.6)
        ax.plot(before["distance"], before[y], MARKERS[i], color=tint, markerfacecolor="none", markersize=9)
        ax.plot(after["distance"], after[y], MARKERS[i], color=tint, markersize=9, label=words(str(name)))
    ax.axhline(level, color=GREY, linewidth=2, linestyle=":", label="neighbours, the target's own whitening")
    ax.set(xlabel="distance of the source's mean title", ylabel=label(y), ylim=(0, 1.06 * ax.dataLim.ymax))
    legend_above(figure)
    return figure


def _draw_neighbours(ax: Axes, level: float) -> None:
    ax.axhline(level, color=GREY, linewidth=2, linestyle=":", label="neighbours by text, nothing trained")


def _has_interval(table: pd.DataFrame) -> bool:
    """Whether any row has one, which the legend then names: one seed has none."""
    return {"low", "high"} <= set(table) and bool(table[["low", "high"]].notna().all(axis=1).any())
