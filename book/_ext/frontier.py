"""Draw the figure of the README, the frontier of the recorded study, into a file: `make frontier`.

The file says in its description which runs it was drawn from (SHA-256 of results/pool/curves.csv).
"""

import hashlib
import sys
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt

from srtlib import figures, frontiers, runs
from srtlib.paths import project_root

GRIDS = ("scaling", "corners", "seeds", "depth")  # trained by the default recipe to its own end


def draw(path: Path) -> None:
    """Write the figure.

    Args:
        path: ends in .svg.
    """
    recorded = runs.curves("results/pool")
    chosen = recorded[recorded["grid"].isin(GRIDS)]
    figure = figures.scaling_curves(chosen, colour="n_interactions", frontier=frontiers.frontier(chosen))
    with matplotlib.rc_context({"svg.hashsalt": "srtlib"}):  # the same runs, the same file
        figure.savefig(path, metadata={"Date": None, "Description": source()})
    plt.close(figure)


def source() -> str:
    """SHA-256 of the runs that are drawn."""
    return hashlib.sha256((project_root() / "results" / "pool" / "curves.csv").read_bytes()).hexdigest()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
