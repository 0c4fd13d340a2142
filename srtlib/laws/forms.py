"""Functional forms of scaling laws: each a formula with an exact Jacobian.

Coefficients that must be positive are held as logarithms and inputs enter as logarithms, so that a prediction is
a sum of exponentials of linear functions (the log-sum-exp parametrisation of Hoffmann et al., 2022, appendix D).
`theta` below means parameters held that way, "natural" means as the formula shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Array = npt.NDArray[np.float64]
Inputs = Mapping[str, Array]  # ln N, ln T, ln D, ln C, ln U and epochs, each (n,)
Value = Callable[[Array, Inputs, int], tuple[Array, Array]]

EXPONENT = (0.01, 3.0)  # where an exponent is looked for; one that ends on either edge is flagged
SLOPES = (0.05, 0.15, 0.4, 0.9)


@dataclass(frozen=True)
class Form:
    """A functional form y = f(inputs; params).

    `value(theta, x, sign)` takes theta (..., p) and returns predictions (..., n) and their Jacobian (..., n, p);
    `sign` is +1 for a loss that falls and -1 for a metric that grows. `logs` names the parameters held as
    logarithms. `grid` lists starting values of the nonlinear parameters; given those, the rest is linear in y.
    `shift` undoes the centring of inputs: theta[name] += factor * theta[slope] * mean(ln input), where the
    factor "sign" stands for `sign` and a slope of None for 1.
    """

    name: str
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    formulas: tuple[str, str]  # for a loss, for a metric
    value: Value
    logs: tuple[str, ...] = ()
    grid: Mapping[str, Sequence[float]] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    shift: Mapping[str, tuple[str | None, str, int | str]] = field(default_factory=dict)

    @property
    def log_index(self) -> list[int]:
        return [self.params.index(name) for name in self.logs]

    def natural(self, theta: Array, means: Mapping[str, float], sign: int) -> Array:
        """Natural parameters (..., p) from those fitted to centred inputs.

        Args:
            theta: parameters as the fit holds them, (..., p).
            means: what was taken from each logarithm of an input.
            sign: 1 for a loss, -1 for a metric.
        """
        theta = theta.copy()
        for name, (slope, data, factor) in self.shift.items():
            step = theta[..., self.params.index(slope)] if slope else np.ones(theta.shape[:-1])
            times = float(sign if factor == "sign" else factor)
            theta[..., self.params.index(name)] += times * step * means[data]
        theta[..., self.log_index] = np.exp(theta[..., self.log_index])
        return theta

    def predict(self, natural: Array, x: Inputs, sign: int) -> Array:
        """Predictions (..., n), infinite or NaN where a float does not hold them.

        Args:
            natural: parameters as the formula shows them, (..., p).
            x: logarithms of the inputs, not centred, (n,) each.
            sign: 1 for a loss, -1 for a metric.
        """
        theta = natural.copy()
        theta[..., self.log_index] = np.log(theta[..., self.log_index])
        with np.errstate(over="ignore", invalid="ignore"):
            return self.value(theta, x, sign)[0]

    def starts(self, x: Inputs, y: Array, sign: int, lower: Array, upper: Array, log: bool) -> Iterator[Array]:
        """Starting points (p,): every combination of `grid`, the linear parameters solved for by least squares.

        Args:
            x: logarithms of the inputs, centred, (n,) each.
            y: what is fitted, (n,).
            sign: 1 for a loss, -1 for a metric.
            lower: bounds of theta, (p,).
            upper: bounds of theta, (p,).
            log: residuals are relative ones.
        """
        nonlinear = [self.params.index(name) for name in self.grid]
        linear = [i for i in range(len(self.params)) if i not in nonlinear]
        held = [i for i in self.log_index if i in nonlinear]
        weight = 1 / y if log else np.ones_like(y)
        least = 1e-2 * np.abs(y).max()  # a positive coefficient next to zero has no gradient to leave by
        for values in product(*self.grid.values()):
            theta = np.zeros(len(self.params))
            theta[nonlinear] = values
            theta[held] = np.log(theta[held])
            columns = self.value(theta, x, sign)[1][:, linear]
            coefficients = np.linalg.lstsq(columns * weight[:, None], y * weight, rcond=None)[0]
            theta[linear] = coefficients
            for i in set(self.log_index) - set(held):
                theta[i] = np.log(max(theta[i], least))
            yield np.clip(theta, lower, upper)


def _log_linear(theta: Array, x: Inputs, sign: int) -> tuple[Array, Array]:
    a, b = np.moveaxis(theta, -1, 0)[..., None]
    c = x["C"] + 0 * a
    return a + b * c, np.stack([np.ones_like(c), c], -1)


def _power(theta: Array, x: Inputs, sign: int) -> tuple[Array, Array]:
    k, a = np.moveaxis(theta, -1, 0)[..., None]
    y = np.exp(k + a * x["C"])
    return y, np.stack([y, y * x["C"]], -1)


def _saturating_power(theta: Array, x: Inputs, sign: int) -> tuple[Array, Array]:
    e, a, slope = np.moveaxis(theta, -1, 0)[..., None]
    A = sign * np.exp(a - slope * x["C"])
    E = np.exp(e) + 0 * A
    return E + A, np.stack([E, A, -A * x["C"]], -1)


def _sigmoid(theta: Array, x: Inputs, sign: int) -> tuple[Array, Array]:
    a, k, m, d = np.moveaxis(theta, -1, 0)[..., None]
    z = -sign * (x["C"] - m)
    rise = expit(k * z)
    slope = np.exp(a) * rise * (1 - rise)
    y = np.exp(a) * rise
    return y + sign * d, np.stack([y, slope * z, slope * k * sign, sign + 0 * y], -1)


def _additive_power(theta: Array, x: Inputs, sign: int) -> tuple[Array, Array]:
    e, a, b, alpha, beta = np.moveaxis(theta, -1, 0)[..., None]
    A = sign * np.exp(a - alpha * x["N"])
    B = sign * np.exp(b - beta * x["D"])
    E = np.exp(e) + 0 * A
    return E + A + B, np.stack([E, A, B, -A * x["N"], -B * x["D"]], -1)


def _split_power(theta: Array, x: Inputs, sign: int) -> tuple[Array, Array]:
    k, kappa = theta[..., None, 1], theta[..., None, 4]
    y, jacobian = _additive_power(theta[..., [0, 2, 3, 5, 6]], x, sign)
    K = sign * np.exp(k - kappa * x["T"])
    columns = [jacobian[..., :1], K[..., None], jacobian[..., 1:3], (-K * x["T"])[..., None], jacobian[..., 3:]]
    return y + K, np.concatenate(columns, -1)


def _additive_power_log_data(theta: Array, x: Inputs, sign: int) -> tuple[Array, Array]:
    E, a, b, alpha = np.moveaxis(theta, -1, 0)[..., None]
    A = sign * np.exp(a - alpha * x["N"])
    log_d = -sign * x["D"] + 0 * A
    return E + A + b * log_d, np.stack([np.ones_like(A), A, log_d, -A * x["N"]], -1)


def _product_power(theta: Array, x: Inputs, sign: int) -> tuple[Array, Array]:
    k, a, b, alpha = np.moveaxis(theta, -1, 0)[..., None]
    A = sign * np.exp(a - alpha * x["N"])
    log_d = -sign * x["D"] + 0 * A
    y = np.exp(k + A + b * log_d)
    return y, y[..., None] * np.stack([np.ones_like(A), A, log_d, -A * x["N"]], -1)


def _data_constrained(theta: Array, x: Inputs, sign: int) -> tuple[Array, Array]:
    r = np.exp(theta[..., None, 5])
    repeats = np.expm1(x["epochs"])
    decay = np.exp(-repeats / r)
    effective = 1 + r * (1 - decay)  # D' / U
    log_d = x["U"] + np.log(effective)
    y, jacobian = _additive_power(theta[..., :5], {"N": x["N"], "D": log_d}, sign)
    beta, B = theta[..., None, 4], jacobian[..., 2]
    by_r = -beta * B * (r * (1 - decay) - repeats * decay) / effective
    return y, np.concatenate([jacobian, by_r[..., None]], -1)


_SHIFT_N = {"A": ("alpha", "N", 1)}

#: Every form under its name; others are added to it (see the page Extending).
FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("log_linear", ("C",), ("a", "b"), ("a + b ln C",) * 2, _log_linear, shift={"a": ("b", "C", -1)}),
        Form(
            "power", ("C",), ("k", "a"), ("k C^a",) * 2, _power,
            logs=("k",), grid={"a": (-0.4, -0.1, 0.1, 0.4)}, bounds={"a": (-3.0, 3.0)}, shift={"k": ("a", "C", -1)},
        ),
        Form(
            "saturating_power", ("C",), ("E", "A", "a"), ("E + A C^-a", "E - A C^-a"), _saturating_power,
            logs=("E", "A"), grid={"a": SLOPES}, bounds={"a": EXPONENT}, shift={"A": ("a", "C", 1)},
        ),
        Form(
            "sigmoid", ("C",), ("A", "k", "m", "d"),
            ("A / (1 + exp(k (ln C - m))) + d", "A / (1 + exp(-k (ln C - m))) - d"), _sigmoid,
            logs=("A",), grid={"k": (0.1, 0.3, 0.8), "m": (-8.0, -4.0, 0.0, 4.0, 8.0)},
            bounds={"k": EXPONENT, "m": (-30.0, 30.0)}, shift={"m": (None, "C", 1)},
        ),
        Form(
            "additive_power", ("N", "D"), ("E", "A", "B", "alpha", "beta"),
            ("E + A / N^alpha + B / D^beta", "E - A / N^alpha - B / D^beta"), _additive_power,
            logs=("E", "A", "B"), grid={"alpha": SLOPES, "beta": SLOPES},
            bounds={"alpha": EXPONENT, "beta": EXPONENT}, shift=_SHIFT_N | {"B": ("beta", "D", 1)},
        ),
        Form(
            "additive_power_log_data", ("N", "D"), ("E", "A", "B", "alpha"),
            ("E + A / N^alpha - B ln D", "E - A / N^alpha + B ln D"), _additive_power_log_data,
            logs=("A",), grid={"alpha": SLOPES}, bounds={"alpha": EXPONENT},
            shift=_SHIFT_N | {"E": ("B", "D", "sign")},
        ),
        Form(
            "product_power", ("N", "D"), ("K", "A", "b", "alpha"),
            ("K D^-b exp(A / N^alpha)", "K D^b exp(-A / N^alpha)"), _product_power,
            logs=("K", "A"), grid={"A": (0.03, 0.3, 1.0), "b": (0.1, 0.3), "alpha": SLOPES},
            bounds={"b": (-3.0, 3.0), "alpha": EXPONENT}, shift=_SHIFT_N | {"K": ("b", "D", "sign")},
        ),
        Form(
            "split_power", ("N", "T", "D"), ("E", "K", "A", "B", "kappa", "alpha", "beta"),
            ("E + K / T^kappa + A / N^alpha + B / D^beta", "E - K / T^kappa - A / N^alpha - B / D^beta"), _split_power,
            logs=("E", "K", "A", "B"), grid={"kappa": SLOPES, "alpha": SLOPES, "beta": SLOPES},
            bounds={"kappa": EXPONENT, "alpha": EXPONENT, "beta": EXPONENT},
            shift=_SHIFT_N | {"K": ("kappa", "T", 1), "B": ("beta", "D", 1)},
        ),
        Form(
            "data_constrained", ("N", "U", "epochs"), ("E", "A", "B", "alpha", "beta", "R_star"),
            ("E + A / N^alpha + B / D'^beta, D' = U (1 + R_star (1 - exp(-(epochs - 1) / R_star)))",
             "E - A / N^alpha - B / D'^beta, D' = U (1 + R_star (1 - exp(-(epochs - 1) / R_star)))"), _data_constrained,
            logs=("E", "A", "B", "R_star"), grid={"alpha": SLOPES, "beta": SLOPES, "R_star": (3.0, 15.0, 60.0)},
            bounds={"alpha": EXPONENT, "beta": EXPONENT, "R_star": (np.log(0.1), np.log(1e4))},
            shift=_SHIFT_N | {"B": ("beta", "U", 1)},
        ),
    )
}  # fmt: skip
