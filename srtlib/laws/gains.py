"""What more size and more data bring by a law of both: the size that suffices, and the price of the next gain."""

from __future__ import annotations

from typing import Any

import numpy as np

from srtlib.laws.forms import Array

ENOUGH = 1e-3  # NDCG; a model is large enough when twice its size gains less
STEPS = 60  # halvings of an interval of logarithms: to the last bits of a float


def size_enough(p: Any, D: float) -> Array:
    """N from which twice the size gains less than `ENOUGH`, at D data.

    Args:
        p: coefficients by letter, one each or (n,).
        D: amount of data, which counts where size and data multiply.

    >>> float(size_enough({"E": 0.2, "A": 8.0, "B": 5.0, "alpha": 0.35, "beta": 0.3}, 1e6).round())
    1765082428.0
    """
    with np.errstate(over="ignore"):
        if "K" in p:
            return _product_enough(p, D)
        return np.asarray((p["A"] * (1 - 2.0 ** -p["alpha"]) / ENOUGH) ** (1 / p["alpha"]))


def _product_enough(p: Any, D: float) -> Array:
    """With z = A / N^alpha twice the size gains K D^b (exp(-z / 2^alpha) - exp(-z)), most at one z and less below it:
    the z below where it gains `ENOUGH`, by halving; 0 where no doubling gains so much."""
    K, A, b, alpha = (np.asarray(p[name], dtype=float) for name in ("K", "A", "b", "alpha"))
    top, ratio = K * D**b, 2.0**-alpha
    low, high = np.log(ENOUGH / (top * (1 - ratio))), np.log(alpha * np.log(2) / (1 - ratio))

    def gain(log_z: Array) -> Array:
        return top * (np.exp(-np.exp(log_z) * ratio) - np.exp(-np.exp(log_z)))

    some = gain(high) > ENOUGH
    for _ in range(STEPS):
        middle = (low + high) / 2
        below = gain(middle) < ENOUGH
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(some, np.exp((np.log(A) - low) / alpha), 0.0)


def data_for(p: Any, N: float, D: float, gain: float) -> Array:
    """Additional data that raise the metric by `gain`; infinite where the law cannot.

    Args:
        p: coefficients by letter, one each or (n,).
        N: model size, which counts where size and data multiply.
        D: amount of data.
        gain: of the metric.

    >>> float(data_for({"E": 0.1, "A": 8.0, "B": 0.01, "alpha": 0.35}, 1e6, 1e6, 0.01).round())
    1718282.0
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        if "K" in p:
            now = p["K"] * D ** p["b"] * np.exp(-p["A"] / N ** p["alpha"])
            return np.where(p["b"] > 0, D * np.expm1(np.log1p(gain / now) / p["b"]), np.inf)
        if "beta" not in p:
            return np.where(p["B"] > 0, D * np.expm1(gain / p["B"]), np.inf)
        left = np.asarray(p["B"] * D ** -p["beta"] - gain)
        return np.where(left > 0, (np.maximum(left, 0) / p["B"]) ** (-1 / p["beta"]) - D, np.inf)
