"""One look for all figures: opaque white ground (a dark page inverts it), type that stays legible when a figure is
shown 360 pixels wide, viridis for ordered quantities, seaborn's colour-blind palette with a marker and a dash of its
own for kinds, each colour with a contrast of at least 2 to 1. A notebook shows them as SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Any, Literal, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

Arguments = ParamSpec("Arguments")

#: What an axis says for a column.
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
    "valid_ndcg@10": "validation NDCG@10",
    "valid_loss": "validation loss [nat]",
    "valid_loss_final": "validation loss, last [nat]",
    "wall_s": "training time [s]",
    "test_ndcg@5": "test NDCG@5, all items",
    "test_unseen_ndcg@5": "test NDCG@5, new items",
    "test_ndcg@10": "test NDCG@10, all items",
    "test_unseen_ndcg@10": "test NDCG@10, new items",
    "pretrain_interactions": "interactions of pre-training",
    "share": "share of the target's users",
}
#: What readers call what a program has another name for; other names lose their underscores, data sets `amazon_`, and
#: an x between spaces is a multiplication sign.
WORDS = {
    "4000 negatives": "4,000 negatives",
    "additive_power_log_data": "additive power, ln D",
    "alpha": "α",
    "beta": "β",
    "co_occurrence": "co-occurrence",
    "ewc": "EWC",
    "gpu": "GPU",
    "in-batch negatives and 1000 drawn": "in-batch negatives and 1,000 drawn",
    "isoflop": "isoFLOP",
    "kappa": "κ",
    "log_linear": "log-linear",
    "sasrec_full": "SASRec, full softmax",
    "sasrec_sampled": "SASRec, sampled softmax",
    "zero_shot": "zero-shot",
}
#: Matplotlib's settings.
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
VIRIDIS = ListedColormap(sns.color_palette("viridis", 256)[:185])  # to green: what follows fades on white
KINDS = [tuple(0.88 * part for part in sns.color_palette("colorblind")[i]) for i in (0, 1, 2, 4, 5, 7, 9)]
LINE = 0.075  # of type beside an axis, as a share of it
MARKERS, DASHES = "osD^vPXp*<>h", ("-", "--", ":", "-.")


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw in the common style, shown as SVG in a notebook, and leave the caller's settings alone."""

    @wraps(draw)
    def styled(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*args, **kwargs)
        setattr(figure, "_ipython_display_", partial(_show, figure))  # noqa: B010 (IPython looks it up by name)
        return figure

    return styled


def to_svg(figure: Figure) -> str:
    """A figure as SVG in one line: text as text, lengths to a hundredth of a point; the same figure, the same file.

    >>> figure = plt.figure(figsize=(2, 1))
    >>> to_svg(figure) == to_svg(figure), "date" in to_svg(figure)
    (True, False)
    >>> plt.close(figure)
    """
    settings: Any = {"svg.hashsalt": "srtlib", "svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans", "Verdana"]}
    with plt.rc_context(settings), io.StringIO() as text:
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        line = re.sub(r"\s*\n\s*", " ", text.getvalue())
    return re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag.group()), line)


def _show(figure: Figure) -> None:
    from IPython.display import display

    display({"image/svg+xml": to_svg(figure), "text/plain": repr(figure)}, raw=True)


def label(column: str) -> str:
    """What an axis that shows `column` says, with its unit.

    >>> label("flops")
    'training compute [FLOP]'
    """
    return LABELS.get(column, column.replace("_", " "))


def words(name: str) -> str:
    """What a reader calls a method, a law, a coefficient, a variation or a data set.

    >>> words("ewc"), words("saturating_power"), words("amazon_beauty_2014"), words("amazon-10M"), words("batch x 2")
    ('EWC', 'saturating power', 'beauty 2014', 'amazon-10M', 'batch × 2')
    """
    return WORDS.get(name, name.removeprefix("amazon_").replace("_", " ").replace(" x ", " \N{MULTIPLICATION SIGN} "))


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


def rounded(value: float) -> str:
    """`short` to two digits, for a mark whose place says the rest.

    >>> rounded(7_987), rounded(2_694_551)
    ('8K', '2.7M')
    """
    return short(float(f"{value:.2g}"))


def as_power(value: float) -> str:
    """A number of FLOPs as an axis writes it.

    >>> as_power(1e12), as_power(1.5e11)
    ('$10^{12}$', '$1.5{\\\\times}10^{11}$')
    """
    mantissa, power = f"{value:.1e}".split("e")
    times = "" if mantissa == "1.0" else rf"{float(mantissa):g}{{\times}}"
    return rf"${times}10^{{{int(power)}}}$"


def percent(value: float) -> str:
    """A share without digits that say nothing.

    >>> percent(-0.16), percent(0.008), percent(-0.0)
    ('−16%', '0.8%', '0%')
    """
    return f"{100 * value + 0.0:.3g}%".replace("-", "\N{MINUS SIGN}")


def ranked(column: str, table: pd.DataFrame) -> str:
    """`label` of a metric, with the items that the target was ranked among: those of two protocols do not compare.

    Args:
        column: of the metric.
        table: runs or evaluations. The authors' know the paper's count of compute alone.

    >>> ranked("valid_ndcg@5", pd.DataFrame({"flops": [1e12]}))
    'validation NDCG@5, all items'
    """
    authors = "flops_paper" in table and ("flops" not in table or bool(table["flops"].isna().all()))
    items = "10,000 drawn items" if authors else "all items"
    named = label(column)
    return f"{named}, {items}" if "@" in named and "items" not in named else named


def kind_tint(i: int) -> tuple[float, ...]:
    return KINDS[i % len(KINDS)]


def log_norm(values: pd.Series) -> LogNorm:
    return LogNorm(values.min(), max(values.max(), values.min() * 1.01))


def add_legend(ax: Axes, loc: Literal["upper left", "best"] = "upper left") -> None:
    """A legend, where there is something to name.

    Args:
        ax: what is drawn.
        loc: where it stands.
    """
    if any(ax.get_legend_handles_labels()[1]):
        ax.legend(loc=loc)


def add_colour_bar(
    figure: Figure, ax: Axes | npt.NDArray[np.object_], norm: LogNorm, values: pd.Series, column: str
) -> None:
    """A bar of colours, with ticks at the values themselves where they are few and far apart, else at round ones.

    Args:
        figure: gets it.
        ax: beside which it stands, or an array of axes.
        norm: from values to the share of the palette.
        values: those that are drawn.
        column: their name, for the label.
    """
    bar = figure.colorbar(ScalarMappable(norm, VIRIDIS), ax=ax, label=label(column))
    own = np.sort(values.unique())
    gaps = np.diff(np.log(own)) / max(np.log(own[-1] / own[0]), 1e-9)
    few = len(own) <= 7 and bool((gaps > 0.08).all())
    marks = (1, 2, 5) if own[-1] < 300 * own[0] else (1,)
    bar.ax.yaxis.set_major_locator(FixedLocator(own.tolist()) if few else LogLocator(subs=marks))
    sizes = column.startswith(("n_interactions", "n_targets", "params"))
    written = as_power if column.startswith("flops") else rounded if sizes else "{:g}".format
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))
    bar.ax.yaxis.set_minor_locator(FixedLocator([]))


def legend_above(figure: Figure, entries: Mapping[str, Artist] | None = None, columns: int = 2) -> None:
    """A legend above all panels, in fewer columns where the names are too long for the figure.

    Args:
        figure: gets it.
        entries: what each name stands for; default: all that is drawn and named.
        columns: how many at most.
    """
    named = [] if entries is None else [[*entries.values()], [*entries]]
    legend = figure.legend(*named, loc="outside upper center", ncols=columns, frameon=False)
    if columns > 1 and legend.get_window_extent().width > figure.bbox.width:
        legend.remove()
        legend_above(figure, entries, columns - 1)


def named_in(ax: Axes) -> dict[str, Artist]:
    """What is drawn and named in one of several panels, for `legend_above`."""
    artists, names = ax.get_legend_handles_labels()
    return dict(zip(names, artists, strict=True))


def log_ticks(ax: Axes) -> None:
    """Labels at 1, 2, 5, 10, ... of a logarithmic x axis, as people write them; at decades alone beyond three."""
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())


def short_ticks(ax: Axes) -> None:
    """Counts as people write them on both logarithmic axes."""
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axis.set_minor_formatter(NullFormatter())


def label_ends(ax: Axes, ends: Sequence[tuple[float, str, Any]]) -> None:
    """Names beside the right edge, each at the height where its line ends, moved apart where they would overlap, and
    none above the axes.

    Args:
        ax: what is drawn, with its final limits of y.
        ends: y, name and colour of each line.
    """
    to_share = ax.transData + ax.transAxes.inverted()
    ordered = sorted(ends, key=lambda end: end[0])
    lines = LINE * np.arange(len(ordered))
    heights = np.array([to_share.transform((ax.get_xlim()[1], y))[1] for y, _, _ in ordered])
    apart = np.maximum.accumulate(heights - lines) + lines
    for place, (_, name, tint) in zip(np.minimum(apart, 1 - lines[::-1]), ordered, strict=True):
        ax.annotate(name, (1, place), (4, 0), "axes fraction", "offset points", color=as_ink(tint), va="center")


def as_ink(tint: Any) -> tuple[float, ...]:
    """A colour dark enough for type.

    >>> as_ink("white")
    (0.65, 0.65, 0.65)
    """
    return tuple(0.65 * part for part in to_rgb(tint))
