"""The data: what a pipeline leaves, popularity, lengths of sequences, growth of the catalogue."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from srtlib.figures.style import DASHES, INK, MARKERS, kind_tint, legend_above, short, short_ticks, styled, words


@styled
def funnel(stages: pd.DataFrame) -> Figure:
    """What is left after each step of a pipeline: a bar per stage from the top, with its count and share.

    stages: columns `stage` and `ratings`, the largest first.
    """
    figure, ax = plt.subplots(figsize=(6.4, 1.2 + 0.55 * len(stages)))
    rows = np.arange(len(stages))
    ax.barh(rows, stages["ratings"], color=kind_tint(0), height=0.7)
    largest = stages["ratings"].max()
    for row, count in zip(rows, stages["ratings"], strict=True):
        ax.annotate(
            f"{count:,} ({count / largest:.1%})", (count, row), xytext=(5, 0), textcoords="offset points", va="center"
        )
    ax.set_yticks(rows, stages["stage"])
    ax.set(xlabel="ratings", xlim=(0, 1.9 * largest), ylim=(len(stages) - 0.5, -0.5))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    ax.grid(axis="y", visible=False)
    return figure


@styled
def popularity(distributions: pd.DataFrame) -> Figure:
    """Interactions of an item against its rank, on logarithmic axes (Zipf plot): a line per data set.

    distributions: columns `set`, `value` (interactions) and `count` (items that have so many).
    """
    figure, ax = plt.subplots(figsize=(6.0, 5.2))
    for rows, look in _sets(distributions):
        rows = rows.sort_values("value", ascending=False)
        ax.plot(rows["count"].cumsum(), rows["value"], **look)
    ax.set(xscale="log", yscale="log", xlabel="rank of the item", ylabel="interactions of the item")
    short_ticks(ax)
    legend_above(figure)
    return figure


@styled
def sequence_lengths(distributions: pd.DataFrame) -> Figure:
    """Share of users with at least so many interactions, on logarithmic axes: a line per data set.

    distributions: columns `set`, `value` (interactions) and `count` (users who have so many).
    """
    figure, ax = plt.subplots(figsize=(6.0, 5.2))
    for rows, look in _sets(distributions):
        rows = rows.sort_values("value", ascending=False)
        ax.plot(rows["value"], 100 * rows["count"].cumsum() / rows["count"].sum(), **look)
    ax.set(xscale="log", yscale="log", xlabel="interactions of a user, at least", ylabel="users [%]")
    short_ticks(ax)
    legend_above(figure)
    return figure


@styled
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
        short_ticks(ax)
    axes[1].set_xlabel("users")
    legend_above(figure)
    return figure


def _sets(table: pd.DataFrame) -> list[tuple[pd.DataFrame, dict[str, Any]]]:
    """The rows of each data set of a table, in its order, and how its line looks; the last one stands out."""
    groups = list(table.groupby("set", sort=False))
    last = len(groups) - 1
    return [
        (
            rows,
            {
                "color": INK if i == last else kind_tint(i),
                "linestyle": "-" if i == last else DASHES[i % 4],
                "label": words(str(name)),
            },
        )
        for i, (name, rows) in enumerate(groups)
    ]
