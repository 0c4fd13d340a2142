"""Scaling laws fitted the way a referee would want.

The objective is the SUM of Huber losses of the residuals (in logarithms for a loss, in its own units for a
bounded metric), on request dearer where a law promises too much, minimised to tight tolerances from a grid of starts
(srtlib.laws.solver). Intervals are percentiles of a bootstrap over whole runs, never over checkpoints of one run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from srtlib.laws.columns import CURVES, Columns
from srtlib.laws.forms import Array, Form
from srtlib.laws.frontiers import envelope, interpolate
from srtlib.laws.law import Law, form_named, log_inputs, numbers
from srtlib.laws.solver import Problem
from srtlib.runs.intervals import check_resamples

Loss = Literal["huber", "lad", "lsq"]
LAD_DELTA = 1e-6  # least absolute deviations, smoothed within this distance of zero


def _fit(
    form: Form, x: dict[str, Array], y: Array, metric: bool, loss: str, delta: float, overestimates: float, n_runs: int,
    draws: Callable[[], tuple[Array, Array]],
) -> Law:  # fmt: skip
    """Check and fit; `draws()` gives the resamples' y, (n,) or (R, n), and their weights (R, n)."""
    if loss not in ("huber", "lad", "lsq"):
        raise ValueError(f"unknown loss {loss!r}; expected huber, lad or lsq")
    if not delta > 0:
        raise ValueError(f"delta is {delta}; expected a positive number")
    if not 0 < overestimates < np.inf:
        raise ValueError(f"overestimates is {overestimates}; expected a positive number")
    if not np.isfinite(y).all():
        raise ValueError("y holds values that are not finite")
    if metric and not ((y >= 0) & (y <= 1)).all():
        raise ValueError("y holds values outside [0, 1], which a bounded metric cannot have")
    if not metric and not (y > 0).all():
        raise ValueError("y holds values that are not positive, which the logarithm of a loss needs")
    if n_runs < len(form.params):
        raise ValueError(
            f"{n_runs} runs cannot determine the {len(form.params)} parameters of {form.name}; "
            f"expected at least {len(form.params)} runs"
        )
    for name, logs in x.items():
        if np.ptp(logs) == 0:
            raise ValueError(f"{name} has one value ({np.exp(logs[0]):.6g}) in all runs; {form.name} needs two")
    means = {name: float(x[name].mean()) for _, name, _ in form.shift.values()}
    centred = {name: values - means.get(name, 0.0) for name, values in x.items()}
    threshold = {"huber": delta, "lad": LAD_DELTA, "lsq": np.inf}[loss]
    task = Problem.of(form, centred, y, metric, threshold, overestimates)
    target, weight = (y if metric else np.log(y)), np.ones_like(y)
    starts = np.array(list(form.starts(centred, y, task.sign, task.lower, task.upper, task.log)))
    points = [np.tile(row, (len(starts), 1)) for row in (target, weight)]
    near = replace(task, delta=np.inf).solve(starts, *points).theta  # far from all points a robust loss is nearly flat
    ends = task.solve(near, *points)
    chosen = ends.objective.argmin()
    theta, best = ends.theta[chosen], ends.objective[chosen]
    reached = ends.objective <= best * (1 + 1e-6) + 1e-16 * len(y)
    slack = 1e-6 * np.maximum(1, np.abs(theta))
    at_bound = (theta <= task.lower + slack) | (theta >= task.upper - slack)
    predicted = form.value(theta, centred, task.sign)[0]

    def resample() -> tuple[Array, float]:
        resampled_y, weights = draws()
        with np.errstate(invalid="ignore", divide="ignore"):
            targets = np.where(weights > 0, resampled_y if metric else np.log(resampled_y), 0.0)  # (R, n)
        block = max(1, 2_000_000 // (len(y) * len(theta)))  # bounds memory
        blocks = [slice(i, i + block) for i in range(0, len(weights), block)]
        drawn = [task.solve(np.tile(theta, (len(weights[b]), 1)), targets[b], weights[b]) for b in blocks]
        converged = np.concatenate([fits.converged for fits in drawn])
        return form.natural(np.concatenate([fits.theta for fits in drawn]), means, task.sign), float(converged.mean())

    return Law(
        form=form.name,
        params=dict(zip(form.params, form.natural(theta, means, task.sign).tolist(), strict=True)),
        metric=metric, loss=loss, delta=delta, n_points=len(y), n_runs=n_runs,
        rmse=float(np.sqrt(np.mean((predicted - y) ** 2))),
        r2=float(1 - np.sum((predicted - y) ** 2) / max(np.sum((y - y.mean()) ** 2), 1e-300)),
        starts=len(starts), share_of_starts=float(np.mean(reached)), converged=bool(ends.converged[chosen]),
        at_bound=tuple(name for name, flag in zip(form.params, at_bound, strict=True) if flag),
        ranges={name: (float(np.exp(v.min())), float(np.exp(v.max()))) for name, v in x.items()},
        resample=resample, overestimates=overestimates,
    )  # fmt: skip


def resample_counts(n_runs: int, n_resamples: int, seed: int) -> Array:
    """How often each run is drawn in each bootstrap resample.

    Args:
        n_runs: how many there are, and how many each resample draws with replacement.
        n_resamples: at least 2, else ValueError is raised.
        seed: of the draws.

    Returns:
        Counts, (n_resamples, n_runs).
    """
    shares = np.full(n_runs, 1 / n_runs)
    return np.random.default_rng(seed).multinomial(n_runs, shares, size=check_resamples(n_resamples)).astype(float)


def fit(
    form: str,
    *,
    y: npt.ArrayLike,
    N: npt.ArrayLike | None = None,
    D: npt.ArrayLike | None = None,
    C: npt.ArrayLike | None = None,
    U: npt.ArrayLike | None = None,
    epochs: npt.ArrayLike | None = None,
    T: npt.ArrayLike | None = None,
    run: npt.ArrayLike | None = None,
    metric: bool = False,
    loss: Loss = "huber",
    delta: float = 1e-3,
    overestimates: float = 1.0,
    floor: float = 0.0,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Law:
    """Fit a form to points, one per run unless `run` names the run of each.

    Args:
        form: a key of `FORMS`.
        y: loss (positive) or, with `metric`, a metric in [0, 1], shape (n,).
        N: model size, shape (n,), as the other inputs; those that the form needs are given, positive.
        D: amount of data.
        C: compute.
        U: unique data.
        epochs: passes over it, at least 1.
        T: parameters of the table of texts, where a form tells them from N.
        run: labels of whole runs, which the bootstrap draws; default: every point is a run.
        metric: True for a bounded metric that grows, else a loss that falls.
        loss: `huber`, `lad` (least absolute deviations) or `lsq` (least squares), summed.
        delta: where Huber turns linear: in ln y for a loss, in units of y for a metric.
        overestimates: how many times a residual counts where the law promises too much, above a metric or below a loss.
        floor: noise floor of a metric, in its units: runs below it learnt nothing and are left out.
        n_resamples: of the bootstrap, at least 2, which runs when an interval is first asked for.
        seed: of the bootstrap.

    Where a form needs epochs over unique data, they may be given, or all data seen, D = U epochs.

    Raises ValueError for an unknown form or loss, a missing input, values that are not positive and finite,
    fewer runs (above the floor) than parameters, fewer than two resamples, and an input with one value only.

    >>> C = np.logspace(12, 18, 7)
    >>> law = fit("power", y=3.0 * C**-0.05, C=C)
    >>> round(law.params["k"], 6), round(law.params["a"], 6)
    (3.0, -0.05)
    """
    chosen = form_named(form)
    check_resamples(n_resamples)
    values = numbers("y", y)
    x = log_inputs(chosen, {"N": N, "D": D, "C": C, "U": U, "epochs": epochs, "T": T})
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

    return _fit(chosen, x, values, metric, loss, delta, overestimates, n_runs, draws)


def fit_frontier(
    form: str,
    curves: pd.DataFrame,
    columns: Columns = CURVES,
    *,
    metric: bool = True,
    loss: Loss = "huber",
    delta: float = 1e-3,
    overestimates: float = 1.0,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Law:
    """Fit a form of compute to the frontier of learning curves; the bootstrap draws whole runs.

    Every resample recomputes the frontier from the runs drawn. A frontier of fewer runs can only lie lower, so
    the intervals lean towards the pessimistic side.

    Args:
        form: a key of `FORMS` that needs compute only.
        curves: one row per evaluation, as from `runs.curves`.
        columns: its columns.
        metric: as for `fit`.
        loss: as for `fit`.
        delta: as for `fit`.
        overestimates: as for `fit`.
        n_resamples: as for `fit`.
        seed: as for `fit`.

    Raises ValueError for a form that needs more than C, and as `frontier` and `fit` do.
    """
    chosen = form_named(form)
    check_resamples(n_resamples)
    if chosen.inputs != ("C",):
        raise ValueError(f"form {form} needs {', '.join(chosen.inputs)}; a frontier has C only")
    grid, values, names = interpolate(curves, columns)
    best, _ = envelope(values, metric)

    def draws() -> tuple[Array, Array]:
        counts = resample_counts(len(names), n_resamples, seed)
        drawn = np.array([envelope(values[count > 0], metric)[0] for count in counts])
        return drawn, np.isfinite(drawn).astype(float)

    return _fit(chosen, {"C": np.log(grid)}, best, metric, loss, delta, overestimates, len(names), draws)
