"""Measured speed and memory."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from srtlib.figures.style import ACCENT, DASHES, GREY, MARKERS, add_legend, kind_tint, legend_above, log_ticks, styled


@styled
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
    speed.plot(sizes["n_items"], rate, "o-", color=kind_tint(0), label="measured")
    speed.set(ylabel="speed [1000 targets/s]")
    speed.set_ylim(0, 1.4 * rate.max())
    peak, arrays = sizes["peak_bytes"] / 1e9, sizes["catalogue_bytes"] / 1e9
    expected = peak.iloc[0] + arrays - arrays.iloc[0]
    memory.plot(sizes["n_items"], peak, "o-", color=kind_tint(0), label="measured")
    memory.plot(sizes["n_items"], expected, "--", color=ACCENT, label="growth of the catalogue's arrays")
    memory.set(ylabel="peak memory [GB]")
    memory.set_ylim(bottom=0)
    for ax in (speed, memory):
        ax.set(xscale="log", xlabel="items in the catalogue")
        log_ticks(ax)
    speed.legend(loc="upper left", ncols=2)
    add_legend(memory)
    return figure


@styled
def time_to_quality(systems: pd.DataFrame) -> Figure:
    """Quality against seconds of training, a line per system.

    systems: one row per system, as benchmarks/peers.py records them: `system`, and `curve`, a list of points with
    `cpu_s` (processor seconds of training) and `ndcg@10` (of the validation items, among all).
    """
    figure, ax = plt.subplots()
    for i, (name, curve) in enumerate(zip(systems["system"], systems["curve"], strict=True)):
        points = pd.DataFrame(curve)
        ax.plot(
            points["cpu_s"], points["ndcg@10"], color=kind_tint(i), marker=MARKERS[i], linestyle=DASHES[i], label=name
        )
    ax.set(xscale="log", xlabel="processor time of training [s]", ylabel="validation NDCG@10, all items")
    ax.set_ylim(bottom=0)
    log_ticks(ax)
    legend_above(figure, columns=1)
    return figure
