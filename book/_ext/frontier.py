"""Draw the figure of the README, the frontier of the recorded study, into a file: `make frontier`.

Beside FILE.svg, for a light ground, it writes FILE-dark.svg. Their descriptions say which tables they were drawn from.
"""

import hashlib
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from srtlib import frontiers, runs
from srtlib.figures.style import label, rounded
from srtlib.laws.planner import OWN_END
from srtlib.paths import project_root

CURVES = project_root() / "results" / "pool" / "curves.csv"
TIMED = project_root() / "results" / "recipe" / "runs.csv"
TIMES = {1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h"}


class Ground(NamedTuple):
    """A ground and what is legible on it."""

    ink: str
    runs: str
    paper: str
    viridis: tuple[float, float]  # the part of the palette


GROUNDS = {
    "": Ground(ink="#222222", runs="#b8b8b8", paper="#b3450f", viridis=(0.0, 0.62)),
    "-dark": Ground(ink="#dddddd", runs="#686868", paper="#f39a62", viridis=(0.45, 1.0)),
}


def draw(path: Path) -> None:
    """Write the figure, for both grounds.

    Args:
        path: ends in .svg.
    """
    for suffix, ground in GROUNDS.items():
        colours = dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ground.ink
        )
        with matplotlib.rc_context(
            {"svg.hashsalt": "srtlib", "font.size": 12, **colours}
        ):  # the same runs, the same file
            figure = both_recipes(ground)
            metadata = {"Date": None, "Description": source()}
            figure.savefig(path.with_stem(path.stem + suffix), metadata=metadata, transparent=True)
        plt.close(figure)


def source() -> str:
    """SHA-256 of the runs that are drawn, and of those that say how fast a core is."""
    return hashlib.sha256(CURVES.read_bytes() + TIMED.read_bytes()).hexdigest()


def both_recipes(ground: Ground) -> Figure:
    """Every run of the default recipe, their frontier by the data that hold it, and the paper's recipe.

    Args:
        ground: what it is drawn on.
    """
    recorded = runs.curves(CURVES.parent)
    default, paper = recorded[recorded["grid"].isin(OWN_END)], recorded[recorded["recipe"] == "paper"]
    figure, ax = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    for _, run in default.groupby("run_id"):
        ax.plot(run["flops"], run["valid_ndcg@5"], color=ground.runs, linewidth=0.9)
    for _, run in paper.groupby("run_id"):
        ax.plot(run["flops"], run["valid_ndcg@5"], color=ground.paper, linewidth=1.2)
    draw_by_data(ax, frontiers.frontier(default), ground)
    ax.text(
        1.6e9,
        0.0285,
        f"the default recipe: {default['run_id'].nunique()} runs (grey)\nand their frontier, by interactions",
        va="top",
    )
    least, most = (rounded(n) for n in (paper["n_interactions"].min(), paper["n_interactions"].max()))
    ax.text(
        3e14,
        0.0068,
        f"the paper's recipe:\n{paper['run_id'].nunique()} runs on {least}\nto {most} interactions",
        color=ground.paper,
        ha="right",
    )
    ax.set(xscale="log", xlabel=label("flops"), ylabel=label("valid_ndcg@5"), ylim=(0, None))
    ax.spines["right"].set_visible(False)
    add_time_of_a_core(ax)
    return figure


def draw_by_data(ax: Axes, best: pd.DataFrame, ground: Ground) -> None:
    """The frontier, coloured by the interactions of the run that holds it and labelled where they hold it longest.

    Args:
        ax: gets it.
        best: as from `frontiers.frontier`.
        ground: what it is drawn on.
    """
    sizes = sorted(best["n_interactions"].unique())
    tints = dict(zip(sizes, plt.get_cmap("viridis")(np.linspace(*ground.viridis, len(sizes))), strict=True))
    changes = (best["n_interactions"] != best["n_interactions"].shift()).cumsum()
    held = {}
    for _, part in best.groupby(changes):
        size, rows = (
            part["n_interactions"].iloc[0],
            best.loc[part.index[0] : part.index[-1] + 1],
        )  # up to the next holder
        ax.plot(rows["flops"], rows["valid_ndcg@5"], color=tints[size], linewidth=3.5, solid_capstyle="butt", zorder=3)
        held[size] = max(held.get(size, rows[:0]), rows, key=lambda r: np.ptp(np.log(r["flops"])) if len(r) else 0)
    for size, rows in held.items():
        middle = rows.iloc[len(rows) // 2]
        ax.annotate(
            rounded(size), (middle["flops"], middle["valid_ndcg@5"]), (-6, 6), textcoords="offset points",
            color=tints[size], ha="right", weight="bold", zorder=4,
        )  # fmt: skip


def add_time_of_a_core(ax: Axes) -> None:
    """What the compute takes one core, above.

    Args:
        ax: shows FLOPs.
    """
    timed = pd.read_csv(TIMED)
    timed = timed[(timed["device"] == "cpu") & (timed["d_model"] == 64)]
    speed = (timed["flops"] / timed["wall_s"]).median()
    above = ax.secondary_xaxis("top", functions=(lambda flops: flops / speed, lambda seconds: seconds * speed))
    above.set_xticks(list(TIMES), list(TIMES.values()))
    above.set_xticks([], minor=True)
    above.set_xlabel(f"time of one core at {speed / 1e9:.0f} GFLOP/s, the median at width 64")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
