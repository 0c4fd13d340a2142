"""The import diagram of the design page, drawn from the code: python book/_ext/design.py FILE.svg (`make design`)."""

import sys
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import grimp
import matplotlib.pyplot as plt
import networkx as nx
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path as Outline

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT, GAP, RISE = 1.5, 0.45, 0.25, 1.0  # of a box, between boxes, from row to row
PACKAGE, MODULE = "#dbe7f3", "#f6f6f6"


def imports() -> nx.DiGraph:
    """What is used -> who imports it, over the wings and modules at the top of srtlib."""
    code = grimp.build_graph("srtlib", exclude_type_checking_imports=True, cache_dir=None)
    wings = sorted(code.find_children("srtlib"))
    graph = nx.DiGraph()
    for wing in wings:
        graph.add_node(wing.partition(".")[2], package=bool(code.find_children(wing)))
    graph.add_edges_from(
        (used.partition(".")[2], user.partition(".")[2])
        for user in wings
        for used in wings
        if user != used and code.direct_import_exists(importer=user, imported=used, as_packages=True)
    )
    return graph


def layers(graph: nx.DiGraph) -> tuple[dict[str, tuple[float, float]], list[list[str]]]:
    """The place of every box, above all that it imports, and the ways of the arrows, each a list of places' names.

    An arrow that passes a row has a narrow place of its own there, so that no box hides it.
    """
    level = {name: i for i, row in enumerate(nx.topological_generations(graph)) for name in sorted(row)}
    ways, below = [], {name: list[str]() for name in graph}
    for used, user in sorted(graph.edges):
        way = [used, *(f"{used} {user} {i}" for i in range(level[used] + 1, level[user])), user]
        for i, (under, over) in enumerate(pairwise(way)):
            level.setdefault(over, level[used] + 1 + i)
            below.setdefault(over, []).append(under)
        ways.append(way)
    place: dict[str, tuple[float, float]] = {}
    for i in range(max(level.values()) + 1):
        row = sorted(name for name in level if level[name] == i)
        row.sort(key=lambda name: mean([place[under][0] for under in below[name]] or [0]))
        widths = [WIDTH + GAP if name in graph else 2 * GAP for name in row]
        for name, right, width in zip(row, accumulate(widths), widths, strict=True):
            place[name] = (right - (sum(widths) + width) / 2, i * RISE)
    return place, ways


def draw(path: Path) -> None:
    """Write the diagram; an arrow that others imply is left out. Fails where arrows run in a circle."""
    graph = imports()
    place, ways = layers(nx.transitive_reduction(graph))
    figure, axes = plt.subplots(figsize=(8, 7))
    for way in ways:
        (x, y), *between, (x1, y1) = (place[name] for name in way)
        sides = [point for x, y in between for point in [(x, y - HEIGHT / 2), (x, y + HEIGHT / 2)]]
        points = [(x, y + HEIGHT / 2), *sides, (x1, y1 - HEIGHT / 2)]
        arrow = FancyArrowPatch(path=Outline(points), arrowstyle="-|>", mutation_scale=12, color="#666666")
        axes.add_patch(arrow)
    for name, package in graph.nodes(data="package"):
        x, y = place[name]
        corner, fill = (x - WIDTH / 2, y - HEIGHT / 2), PACKAGE if package else MODULE
        axes.add_patch(Rectangle(corner, WIDTH, HEIGHT, facecolor=fill, edgecolor="#444444"))
        axes.text(x, y, name, ha="center", va="center", fontsize=11)
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def setup(app: Any) -> dict[str, bool]:
    """The page shows what the code is at every build."""
    app.connect("builder-inited", lambda _: draw(ROOT / "book" / "_static" / "design.svg"))
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
