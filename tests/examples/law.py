"""A law of compute of your own: a logistic curve that starts at zero, y = A / (1 + exp(-k (ln C - m))).

Importing this module makes `laws.fit("logistic", ...)` and `srt plan --form logistic` know it.
"""

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


FORMS["logistic"] = Form(
    name="logistic",
    inputs=("C",),
    params=("A", "k", "m"),
    formulas=("A / (1 + exp(k (ln C - m)))", "A / (1 + exp(-k (ln C - m)))"),
    value=logistic,
    logs=("A",),  # positive
    grid={"k": (0.1, 0.3, 0.8), "m": (-8.0, 0.0, 8.0)},  # where searches start; the other parameters enter linearly
    bounds={"k": (0.01, 3.0), "m": (-30.0, 30.0)},
    shift={"m": (None, "C", 1)},  # inputs are centred: m moves by the mean of ln C
)
