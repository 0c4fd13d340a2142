"""A fitted law: coefficients, intervals, predictions and their bands; saved as JSON.

Intervals are percentiles of a bootstrap over whole runs, which is drawn when one is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from srtlib.laws.forms import FORMS, Array, Form
from srtlib.runs.intervals import tails

SMALLEST, LARGEST = 1e-30, 1e90  # amounts beyond which powers of them are no floats
DERIVED: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "a": lambda p: p["beta"] / (p["alpha"] + p["beta"]),  # N* grows as C^a
    "b": lambda p: p["alpha"] / (p["alpha"] + p["beta"]),  # D* grows as C^b
}


@dataclass
class Law:
    """A fitted law. `params` are the formula's letters; `samples` holds one row per bootstrap resample.

    `at_bound` names the parameters that ended on the edge of where they are looked for: they are not findings.
    `share_of_starts` is the share of starting points from which the optimum was reached; `converged` says whether the
    search ended there, and `share_converged` in how many of the resamples it did. `overestimates` is how many times a
    residual counted where the law promised too much. `rmse` and `r2` are in
    the units of y. `ranges` holds the smallest and largest of each input.
    """

    form: str
    params: dict[str, float]
    metric: bool
    loss: str
    delta: float
    n_points: int
    n_runs: int
    rmse: float
    r2: float
    starts: int
    share_of_starts: float
    converged: bool
    at_bound: tuple[str, ...]
    ranges: dict[str, tuple[float, float]]
    resample: Callable[[], tuple[Array, float]] = field(repr=False, compare=False)
    overestimates: float = 1.0

    @classmethod
    def given(
        cls, form: str, params: Mapping[str, float], ranges: Mapping[str, tuple[float, float]], metric: bool = True
    ) -> Law:
        """A law with coefficients taken from elsewhere, such as a publication; its intervals are NaN.

        Args:
            form: a key of `FORMS`.
            params: all of its parameters, by the formula's letters, else ValueError is raised.
            ranges: smallest and largest of each input that the law was made for.
            metric: True for a metric that grows, False for a loss that falls.

        >>> law = Law.given("log_linear", {"a": -0.2, "b": 0.01}, {"C": (1e12, 1e16)})
        >>> round(law.predict(C=1e14), 4)
        0.1224
        """
        names = form_named(form).params
        if set(params) != set(names):
            raise ValueError(f"form {form} has the parameters {', '.join(names)}; given were {', '.join(params)}")
        nan = float("nan")
        return cls(
            form=form, params={name: float(params[name]) for name in names}, metric=metric, loss="none", delta=nan,
            n_points=0, n_runs=0, rmse=nan, r2=nan, starts=0, share_of_starts=nan, converged=True, at_bound=(),
            ranges=dict(ranges), resample=lambda: (np.full((1, len(names)), np.nan), nan),
        )  # fmt: skip

    @cached_property
    def _drawn(self) -> tuple[Array, float]:
        return self.resample()

    @property
    def samples(self) -> pd.DataFrame:
        return pd.DataFrame(self._drawn[0], columns=list(self.params))

    @property
    def share_converged(self) -> float:
        return self._drawn[1]

    @property
    def formula(self) -> str:
        return FORMS[self.form].formulas[self.metric]

    def predict(
        self, N: Any = None, D: Any = None, C: Any = None, U: Any = None, epochs: Any = None, T: Any = None
    ) -> Any:
        """Prediction at each point of the inputs that the form needs (a float for scalars).

        Args:
            N: model size, (n,) or one number, as every input.
            D: amount of data.
            C: compute.
            U: unique data.
            epochs: passes over it.
            T: parameters of the table of texts, where a form tells them from N.

        Raises ValueError where one is missing, or no amount (`amounts`).
        """
        inputs = {"N": N, "D": D, "C": C, "U": U, "epochs": epochs, "T": T}
        x = log_inputs(FORMS[self.form], inputs)
        y = FORMS[self.form].predict(np.array(list(self.params.values())), x, self.sign)
        given = [v for v in inputs.values() if v is not None]
        return float(y[0]) if all(np.ndim(v) == 0 for v in given) else y

    @property
    def sign(self) -> int:
        return -1 if self.metric else 1

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of a parameter.

        Args:
            name: a letter of the formula, or `a` or `b` of N* ~ C^a, D* ~ C^b where it has alpha and beta; else
                ValueError is raised.
            level: share of the resamples inside.
        """
        if name in self.params:
            values = self.samples[name]
        elif name in DERIVED and {"alpha", "beta"} <= self.params.keys():
            values = DERIVED[name](self.samples)
        else:
            raise ValueError(f"{self.form} has no parameter {name!r}; it has {', '.join(self.params)}")
        low, high = np.quantile(values, tails(level))
        return float(low), float(high)

    def band(self, level: float = 0.95, **inputs: Any) -> tuple[Array, Array]:
        """Percentile band (low, high) of the prediction, (n,) each.

        Args:
            level: share of the resamples inside.
            inputs: as for `predict`, such as C=grid.
        """
        x = log_inputs(FORMS[self.form], inputs)
        y = FORMS[self.form].predict(self.samples.to_numpy(), x, self.sign)
        low, high = np.quantile(y, tails(level), axis=0)
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """Everything, the resamples among it, as JSON can hold it."""
        out = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "resample"}
        out["ranges"] = {name: list(limits) for name, limits in self.ranges.items()}
        return (
            out
            | {"at_bound": list(self.at_bound), "samples": self._drawn[0].tolist()}
            | {"share_converged": self.share_converged}
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Law:
        """The inverse of `to_dict`."""
        state = dict(data)
        drawn = np.array(state.pop("samples"), dtype=float), state.pop("share_converged")
        state["ranges"] = {name: (low, high) for name, (low, high) in state["ranges"].items()}
        state["at_bound"] = tuple(state["at_bound"])
        return cls(**state, resample=lambda: drawn)


def numbers(name: str, values: Any) -> Array:
    """Values as a float array of at least one dimension.

    Args:
        name: what an error calls them.
        values: one number, or any array-like of them, else ValueError is raised.
    """
    try:
        return np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds values that are not numbers") from None


def amounts(name: str, values: Any) -> Array:
    """Amounts that laws are fitted to or asked about, (n,): FLOPs, data, sizes, hours, money.

    Args:
        name: what an error calls them.
        values: one number or more.

    Raises ValueError unless all lie between `SMALLEST` and `LARGEST`.

    >>> amounts("flops", 1e300)
    Traceback (most recent call last):
    ...
    ValueError: flops is 1e+300; expected positive numbers, 1e-30 to 1e+90
    """
    found = numbers(name, values)
    bad = ~((found >= SMALLEST) & (found <= LARGEST))
    if bad.any():
        raise ValueError(f"{name} is {found[bad][0]:.6g}; expected positive numbers, {SMALLEST:.0e} to {LARGEST:.0e}")
    return found


def log_inputs(form: Form, given: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs that a form needs, as logarithms, checked, broadcast to one length (n,).

    Args:
        form: whose inputs are needed.
        given: inputs by letter, None where one was not given.

    Raises ValueError where one is missing, no amount (`amounts`), or of another length.
    """
    arrays = {name: amounts(name, values) for name, values in given.items() if values is not None}
    if "epochs" in form.inputs and "epochs" not in arrays and {"U", "D"} <= arrays.keys():
        arrays["epochs"] = arrays["D"] / arrays["U"]
    missing = [name for name in form.inputs if name not in arrays]
    if missing:
        raise ValueError(f"form {form.name} needs {', '.join(form.inputs)}; {', '.join(missing)} was not given")
    arrays = {name: arrays[name] for name in form.inputs}
    if "epochs" in arrays and (arrays["epochs"] < 1).any():
        raise ValueError("epochs (or D / U) holds values below 1: data that were not seen once are not unique data")
    try:
        broadcast = np.broadcast_arrays(*arrays.values())
    except ValueError:
        raise ValueError(f"inputs differ in length: { {n: len(v) for n, v in arrays.items()} }") from None
    return {name: np.log(values) for name, values in zip(arrays, broadcast, strict=True)}


def form_named(name: str) -> Form:
    """The form of that name; raises ValueError that lists the known ones."""
    if name not in FORMS:
        raise ValueError(f"unknown form {name!r}; expected one of {', '.join(FORMS)}")
    return FORMS[name]
