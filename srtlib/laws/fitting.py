"""Scaling laws fitted the way a referee would want.

The objective is the SUM of Huber losses of the residuals (in logarithms for a loss, in its own units for a
bounded metric), minimised by L-BFGS with exact gradients and tight tolerances from a grid of starts: Besiroglu
et al. (2024) show what a mean-reduced objective at default tolerances costs. Intervals are percentiles of a
bootstrap over whole runs, never over checkpoints of one run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize

from srtlib.laws.forms import FORMS, Array, Form
from srtlib.laws.frontiers import envelope, frontier, interpolate

__all__ = ["FORMS", "Law", "fit", "fit_frontier", "frontier"]

Loss = Literal["huber", "lad", "lsq"]
LAD_DELTA = 1e-6  # least absolute deviations, smoothed within this distance of zero
SHRINK = (1e-3, 1e-4, 1e-5)  # thresholds on the way there
SMALL, LARGE = 1e-6, 1e3  # where positive coefficients are looked for, relative to the largest y
DERIVED: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "a": lambda p: p["beta"] / (p["alpha"] + p["beta"]),  # N* grows as C^a
    "b": lambda p: p["alpha"] / (p["alpha"] + p["beta"]),  # D* grows as C^b
}


@dataclass
class Law:
    """A fitted law. `params` are the formula's letters; `samples` holds one row per bootstrap resample.

    `at_bound` names the parameters that ended on the edge of where they are looked for: they are not findings.
    `share_of_starts` is the share of starting points from which the optimum was reached. `rmse` and `r2` are in
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
    at_bound: tuple[str, ...]
    ranges: dict[str, tuple[float, float]]
    resample: Callable[[], Array] = field(repr=False, compare=False)

    @classmethod
    def given(
        cls, form: str, params: Mapping[str, float], ranges: Mapping[str, tuple[float, float]], metric: bool = True
    ) -> Law:
        """A law with coefficients taken from elsewhere, such as a publication; its intervals are NaN.

        ranges: smallest and largest of each input that the law was made for.

        >>> law = Law.given("log_linear", {"a": -0.2, "b": 0.01}, {"C": (1e12, 1e16)})
        >>> round(law.predict(C=1e14), 4)
        0.1224
        """
        names = _form(form).params
        if set(params) != set(names):
            raise ValueError(f"form {form} has the parameters {', '.join(names)}; given were {', '.join(params)}")
        nan = float("nan")
        return cls(
            form=form, params={name: float(params[name]) for name in names}, metric=metric, loss="none", delta=nan,
            n_points=0, n_runs=0, rmse=nan, r2=nan, starts=0, share_of_starts=nan, at_bound=(), ranges=dict(ranges),
            resample=lambda: np.full((1, len(names)), np.nan),
        )  # fmt: skip

    @cached_property
    def samples(self) -> pd.DataFrame:
        return pd.DataFrame(self.resample(), columns=list(self.params))

    @property
    def formula(self) -> str:
        return FORMS[self.form].formulas[self.metric]

    def predict(self, N: Any = None, D: Any = None, C: Any = None, U: Any = None, epochs: Any = None) -> Any:
        """Prediction at each point of the inputs (a float for scalars)."""
        x = _log_inputs(FORMS[self.form], {"N": N, "D": D, "C": C, "U": U, "epochs": epochs})
        y = FORMS[self.form].predict(np.array(list(self.params.values())), x, self.sign)
        given = [v for v in (N, D, C, U, epochs) if v is not None]
        return float(y[0]) if all(np.ndim(v) == 0 for v in given) else y

    @property
    def sign(self) -> int:
        return -1 if self.metric else 1

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of a parameter; of `a` and `b` of N* ~ C^a, D* ~ C^b too where alpha and beta are."""
        if name in self.params:
            values = self.samples[name]
        elif name in DERIVED and {"alpha", "beta"} <= self.params.keys():
            values = DERIVED[name](self.samples)
        else:
            raise ValueError(f"{self.form} has no parameter {name!r}; it has {', '.join(self.params)}")
        low, high = np.quantile(values, _tails(level))
        return float(low), float(high)

    def band(self, level: float = 0.95, **inputs: Any) -> tuple[Array, Array]:
        """Percentile band (low, high) of the prediction at inputs such as C=grid, each (n,)."""
        x = _log_inputs(FORMS[self.form], inputs)
        y = FORMS[self.form].predict(self.samples.to_numpy(), x, self.sign)
        low, high = np.quantile(y, _tails(level), axis=0)
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """Everything, the resamples among it, as JSON can hold it."""
        out = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "resample"}
        out["ranges"] = {name: list(limits) for name, limits in self.ranges.items()}
        return out | {"at_bound": list(self.at_bound), "samples": self.samples.to_numpy().tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Law:
        """The inverse of `to_dict`."""
        state = dict(data)
        samples = np.array(state.pop("samples"), dtype=float)
        state["ranges"] = {name: (low, high) for name, (low, high) in state["ranges"].items()}
        state["at_bound"] = tuple(state["at_bound"])
        return cls(**state, resample=lambda: samples)


def _tails(level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1, such as 0.95")
    return (1 - level) / 2, (1 + level) / 2


def _numbers(name: str, values: Any) -> Array:
    try:
        return np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds values that are not numbers") from None


def _log_inputs(form: Form, given: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs that the form needs, as logarithms, checked, broadcast to one length (n,)."""
    arrays = {name: _numbers(name, values) for name, values in given.items() if values is not None}
    for name, values in arrays.items():
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"{name} holds values that are not positive and finite")
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


@dataclass(frozen=True)
class _Problem:
    """Sum over points of weight * Huber(prediction - y) as a function of theta, inputs centred."""

    form: Form
    x: dict[str, Array]
    sign: int
    log: bool  # residuals in logarithms
    delta: float
    lower: Array
    upper: Array
    tiny: float  # below it, the logarithm of a prediction is continued by its tangent

    def residuals(self, theta: Array, target: Array) -> tuple[Array, Array]:
        """Residuals (..., n) and their Jacobian (..., n, p); `target` is ln y when `log`."""
        y, jacobian = self.form.value(theta, self.x, self.sign)
        if self.log:
            safe = np.maximum(y, self.tiny)
            y, jacobian = np.log(safe) + (y - safe) / safe, jacobian / safe[..., None]
        return y - target, jacobian

    def objective(self, residuals: Array, weight: Array) -> Array:
        clipped = np.clip(residuals, -self.delta, self.delta)
        return (weight * clipped * (residuals - clipped / 2)).sum(-1)

    def lbfgs(self, start: Array, target: Array, weight: Array) -> Array:
        """The end of L-BFGS-B from one start; parameters and objective are scaled to the order of one."""
        residuals, jacobian = self.residuals(start, target)
        scale = 1 / np.maximum(np.sqrt((weight[:, None] * jacobian**2).sum(0)), 1e-12)
        first = max(float(self.objective(residuals, weight)), 1e-300)

        def value(z: Array) -> tuple[float, Array]:
            residuals, jacobian = self.residuals(z * scale, target)
            pull = weight * np.clip(residuals, -self.delta, self.delta)
            return float(self.objective(residuals, weight)) / first, pull @ jacobian * scale / first

        options = {"maxiter": 1_000, "maxfun": 2_000, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-10}
        bounds = list(zip(self.lower / scale, self.upper / scale, strict=True))
        best = minimize(value, start / scale, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return best.x * scale

    def newton(self, start: Array, target: Array, weight: Array, steps: int = 100) -> Array:
        """Damped, projected Newton for R fits at once; start (R, p), target (R, n), weight (R, n) -> theta (R, p).

        The Huber loss is piecewise quadratic, so a few steps from nearby end at the optimum of each. For least
        absolute deviations the threshold shrinks by tens.
        """
        theta = start
        for threshold in sorted({self.delta, *(d for d in SHRINK if self.delta < d)}, reverse=True):
            theta = replace(self, delta=threshold)._newton(theta, target, weight, steps)
        return theta

    def _newton(self, start: Array, target: Array, weight: Array, steps: int) -> Array:
        theta, damping = start.copy(), np.full(len(start), 1e-3)
        eye = np.eye(theta.shape[1])
        active = np.arange(len(theta))  # fits that still improve
        for _ in range(steps):
            now, w, t = theta[active], weight[active], target[active]
            residuals, jacobian = self.residuals(now, t)
            gradient = np.einsum("rn,rnp->rp", w * np.clip(residuals, -self.delta, self.delta), jacobian)
            curvature = np.stack([w * (np.abs(residuals) <= self.delta), w])[..., None] * jacobian
            hessian, spread = np.swapaxes(curvature, -1, -2) @ jacobian
            spread = np.einsum("rpp->rp", spread)
            spread = np.maximum(spread, 1e-10 * spread.max(-1, keepdims=True)) + 1e-100  # never singular
            hessian = hessian + (damping[active, None] * spread)[..., None] * eye
            held = ((now <= self.lower) & (gradient > 0)) | ((now >= self.upper) & (gradient < 0))
            hessian = np.where(held[:, :, None] | held[:, None, :], eye, hessian)
            step = np.linalg.solve(hessian, np.where(held, 0.0, gradient)[..., None])[..., 0]
            trial = np.clip(now - step, self.lower, self.upper)
            before = self.objective(residuals, w)
            gain = before - self.objective(self.residuals(trial, t)[0], w)
            better = gain >= 0
            theta[active[better]] = trial[better]
            damping[active] = np.where(better, np.maximum(damping[active] / 10, 1e-9), damping[active] * 10)
            active = active[(gain > 1e-12 * before) | (~better & (damping[active] < 1e12))]
            if not len(active):
                break
        return theta


def _problem(form: Form, x: dict[str, Array], y: Array, metric: bool, delta: float) -> _Problem:
    scale = float(np.abs(y).max())
    lower, upper = np.full(len(form.params), -np.inf), np.full(len(form.params), np.inf)
    for i, name in enumerate(form.params):
        if name in form.logs:
            lower[i], upper[i] = np.log(SMALL * scale), np.log(LARGE * scale)
        if name in form.bounds:
            lower[i], upper[i] = form.bounds[name]
        if metric and name == "E" and name in form.logs:
            upper[i] = 0.0  # a bounded metric saturates at 1 at most
    return _Problem(form, x, -1 if metric else 1, not metric, delta, lower, upper, 1e-3 * float(np.abs(y).min()))


def _fit(
    form: Form, x: dict[str, Array], y: Array, metric: bool, loss: str, delta: float, n_runs: int,
    draws: Callable[[], tuple[Array, Array]],
) -> Law:  # fmt: skip
    """Check and fit; `draws()` gives the resamples' y, (n,) or (R, n), and their weights (R, n)."""
    if loss not in ("huber", "lad", "lsq"):
        raise ValueError(f"unknown loss {loss!r}; expected huber, lad or lsq")
    if not delta > 0:
        raise ValueError(f"delta is {delta}; expected a positive number")
    if not np.isfinite(y).all():
        raise ValueError("y holds values that are not finite")
    if metric and not ((y >= 0) & (y <= 1)).all():
        raise ValueError("y holds values outside [0, 1], which a bounded metric cannot have")
    if not metric and not (y > 0).all():
        raise ValueError("y holds values that are not positive, which the logarithm of a loss needs")
    if n_runs < len(form.params):
        raise ValueError(f"{n_runs} runs cannot determine the {len(form.params)} parameters of {form.name}")
    for name, logs in x.items():
        if np.ptp(logs) == 0:
            raise ValueError(f"{name} has one value ({np.exp(logs[0]):.6g}) in all runs; {form.name} needs two")
    means = {name: float(x[name].mean()) for _, name, _ in form.shift.values()}
    centred = {name: values - means.get(name, 0.0) for name, values in x.items()}
    threshold = {"huber": delta, "lad": LAD_DELTA, "lsq": np.inf}[loss]
    problem = _problem(form, centred, y, metric, threshold)
    target, weight = (y if metric else np.log(y)), np.ones_like(y)
    starts = form.starts(centred, y, problem.sign, problem.lower, problem.upper, problem.log)
    ends = np.array([problem.lbfgs(start, target, weight) for start in starts])
    ends = problem.newton(ends, np.tile(target, (len(ends), 1)), np.tile(weight, (len(ends), 1)))
    objectives = problem.objective(problem.residuals(ends, target)[0], weight)
    theta, best = ends[objectives.argmin()], objectives.min()
    reached = objectives <= best * (1 + 1e-6) + 1e-16 * len(y)
    slack = 1e-6 * np.maximum(1, np.abs(theta))
    at_bound = (theta <= problem.lower + slack) | (theta >= problem.upper - slack)
    predicted = form.value(theta, centred, problem.sign)[0]

    def resample() -> Array:
        resampled_y, weights = draws()
        with np.errstate(invalid="ignore", divide="ignore"):
            targets = np.where(weights > 0, resampled_y if metric else np.log(resampled_y), 0.0)  # (R, n)
        block = max(1, 2_000_000 // (len(y) * len(theta)))  # bounds memory
        blocks = [slice(i, i + block) for i in range(0, len(weights), block)]
        drawn = [problem.newton(np.tile(theta, (len(weights[b]), 1)), targets[b], weights[b]) for b in blocks]
        return form.natural(np.concatenate(drawn), means, problem.sign)

    return Law(
        form=form.name,
        params=dict(zip(form.params, form.natural(theta, means, problem.sign).tolist(), strict=True)),
        metric=metric, loss=loss, delta=delta, n_points=len(y), n_runs=n_runs,
        rmse=float(np.sqrt(np.mean((predicted - y) ** 2))),
        r2=float(1 - np.sum((predicted - y) ** 2) / max(np.sum((y - y.mean()) ** 2), 1e-300)),
        starts=len(ends), share_of_starts=float(np.mean(reached)),
        at_bound=tuple(name for name, flag in zip(form.params, at_bound, strict=True) if flag),
        ranges={name: (float(np.exp(v.min())), float(np.exp(v.max()))) for name, v in x.items()},
        resample=resample,
    )  # fmt: skip


def resample_counts(n_runs: int, n_resamples: int, seed: int) -> Array:
    """How often each run is drawn in each bootstrap resample, (n_resamples, n_runs)."""
    if n_resamples < 1:
        raise ValueError(f"n_resamples is {n_resamples}; expected at least 1")
    shares = np.full(n_runs, 1 / n_runs)
    return np.random.default_rng(seed).multinomial(n_runs, shares, size=n_resamples).astype(float)


def _form(name: str) -> Form:
    if name not in FORMS:
        raise ValueError(f"unknown form {name!r}; expected one of {', '.join(FORMS)}")
    return FORMS[name]


def fit(
    form: str,
    *,
    y: npt.ArrayLike,
    N: npt.ArrayLike | None = None,
    D: npt.ArrayLike | None = None,
    C: npt.ArrayLike | None = None,
    U: npt.ArrayLike | None = None,
    epochs: npt.ArrayLike | None = None,
    run: npt.ArrayLike | None = None,
    metric: bool = False,
    loss: Loss = "huber",
    delta: float = 1e-3,
    floor: float = 0.0,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Law:
    """Fit a form to points, one per run unless `run` names the run of each.

    Args:
        form: a key of `FORMS`.
        y: loss (positive) or, with `metric`, a metric in [0, 1], shape (n,).
        N, D, C, U, epochs: the inputs that the form needs, positive, shape (n,); U is unique data.
        run: labels of whole runs, which the bootstrap draws; default: every point is a run.
        metric: True for a bounded metric that grows, else a loss that falls.
        loss: `huber`, `lad` (least absolute deviations) or `lsq` (least squares), summed.
        delta: where Huber turns linear: in ln y for a loss, in units of y for a metric.
        floor: noise floor of a metric, in its units: runs below it learnt nothing and are left out.
        n_resamples, seed: of the bootstrap, which runs when an interval is first asked for.

    Where a form needs epochs over unique data, they may be given, or all data seen, D = U epochs.

    Raises ValueError for an unknown form or loss, a missing input, values that are not positive and finite,
    fewer runs (above the floor) than parameters, and an input with one value only.

    >>> C = np.logspace(12, 18, 7)
    >>> law = fit("power", y=3.0 * C**-0.05, C=C)
    >>> round(law.params["k"], 6), round(law.params["a"], 6)
    (3.0, -0.05)
    """
    chosen = _form(form)
    values = _numbers("y", y)
    x = _log_inputs(chosen, {"N": N, "D": D, "C": C, "U": U, "epochs": epochs})
    names = np.arange(len(values)) if run is None else np.asarray(run)
    lengths = {"y": len(values), "run": len(names)} | {name: len(v) for name, v in x.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"inputs differ in length: {lengths}")
    if metric:
        kept = ~((values >= 0) & (values < floor))  # what is no metric at all is not hidden here
        values, names, x = values[kept], names[kept], {name: v[kept] for name, v in x.items()}
    labels = pd.factorize(names)[0]
    n_runs = int(labels.max(initial=-1)) + 1

    def draws() -> tuple[Array, Array]:
        return values, resample_counts(n_runs, n_resamples, seed)[:, labels]

    return _fit(chosen, x, values, metric, loss, delta, n_runs, draws)


def fit_frontier(
    form: str,
    curves: pd.DataFrame,
    *,
    x: str = "flops",
    y: str = "valid_ndcg@5",
    run: str = "run_id",
    metric: bool = True,
    loss: Loss = "huber",
    delta: float = 1e-3,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Law:
    """Fit a form of compute to the frontier of learning curves; the bootstrap draws whole runs.

    Every resample recomputes the frontier from the runs drawn. A frontier of fewer runs can only lie lower, so
    the intervals lean towards the pessimistic side.

    Raises ValueError for a form that needs more than C, and as `frontier` and `fit` do.
    """
    chosen = _form(form)
    if chosen.inputs != ("C",):
        raise ValueError(f"form {form} needs {', '.join(chosen.inputs)}; a frontier has C only")
    grid, values, names = interpolate(curves, x, y, run)
    best, _ = envelope(values, metric)

    def draws() -> tuple[Array, Array]:
        counts = resample_counts(len(names), n_resamples, seed)
        drawn = np.array([envelope(values[count > 0], metric)[0] for count in counts])
        return drawn, np.isfinite(drawn).astype(float)

    return _fit(chosen, {"C": np.log(grid)}, best, metric, loss, delta, len(names), draws)
