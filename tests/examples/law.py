"""A law of your own: a logistic curve that starts at zero, y = A / (1 + exp(-k (ln C - m))).

python tests/examples/law.py
"""

import sys

import numpy as np
from scipy.special import expit

from srtlib.laws.forms import FORMS, Array, Form, Inputs


def logistic(theta: Array, x: Inputs, sign: int) -> tuple[Array, Array]:
    """Predictions (..., n) and their Jacobian (..., n, 3) of theta = (ln A, k, m); sign is -1 for a metric."""
    a, k, m = np.moveaxis(theta, -1, 0)[..., None]
    z = -sign * (x["C"] - m)
    y = np.exp(a) * expit(k * z)
    slope = y * (1 - expit(k * z))
    return y, np.stack([y, slope * z, slope * k * sign], -1)


formulas = ("A / (1 + exp(k (ln C - m)))", "A / (1 + exp(-k (ln C - m)))")  # of a loss, of a metric
FORMS["logistic"] = Form(
    "logistic", ("C",), ("A", "k", "m"), formulas, logistic, logs=("A",),  # A is positive
    grid={"k": (0.1, 0.3, 0.8), "m": (-8.0, 0.0, 8.0)}, bounds={"k": (0.01, 3.0), "m": (-30.0, 30.0)},
    shift={"m": (None, "C", 1)},  # ln C is centred in the search: m moves by its mean
)  # fmt: skip

if __name__ == "__main__":
    from srtlib.cli.entry import main

    sys.exit(main("plan --runs results/beauty_M --compute 1e12 --form logistic".split()))
