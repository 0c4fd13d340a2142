"""Minimising the sum of losses of a form's residuals, for many starts or many resamples at once.

The coefficients that enter a form linearly (E, A, B, ...) are solved for exactly at every value of the others (the
exponents), which are moved by damped Newton steps: variable projection (Golub & Pereyra, 1973). The search then runs in
one to three dimensions along the bottom of the valley that the linear ones make, in which Newton in all coefficients
crawls: those of a sigmoid can grow hundredfold without changing its curve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from srtlib.laws.forms import Array, Form

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]  # which of the R problems
SHRINK = (1e-3, 1e-4, 1e-5)  # thresholds on the way to least absolute deviations
SMALL, LARGE = 1e-6, 1e3  # where positive coefficients are looked for, relative to the largest y
CONVERGED = 1e-8  # share of the objective that one more full Newton step would gain at most
SETTLED = 1e-12  # the same of the linear coefficients, far closer
STEPS = 100


class Solution(NamedTuple):
    """R fits: theta (R, p), and of each its objective and whether it converged (R,)."""

    theta: Array
    objective: Array
    converged: Mask


class Point(NamedTuple):
    """Where R searches stand: objective (R,), gradient (R, p), curvature (R, p, p), its diagonal were no residual
    clipped (R, p), and what the next evaluation starts from (R, ...)."""

    objective: Array
    gradient: Array
    hessian: Array
    spread: Array
    aside: Array


Evaluate = Callable[[Rows, Array, Array], Point]  # rows, z (rows, p), aside (rows, ...)


@dataclass(frozen=True)
class Problem:
    """Sum over points of weight * Huber(prediction - y) as a function of theta, inputs centred; the weight times
    `overestimates` where the prediction promises too much."""

    form: Form
    x: dict[str, Array]
    sign: int
    log: bool  # residuals in logarithms
    delta: float
    lower: Array
    upper: Array
    tiny: float  # below it, the logarithm of a prediction is continued by its tangent
    overestimates: float = 1.0

    @classmethod
    def of(
        cls, form: Form, x: dict[str, Array], y: Array, metric: bool, delta: float, overestimates: float = 1.0
    ) -> Problem:
        """The problem of fitting a form, with the bounds that the scale of y gives.

        Args:
            form: what is fitted.
            x: logarithms of the inputs, centred, (n,) each.
            y: what it is fitted to, (n,).
            metric: True for a bounded metric that grows, else a loss that falls.
            delta: where Huber turns linear.
            overestimates: times that a residual counts above a metric, or below a loss.
        """
        scale = float(np.abs(y).max())
        lower, upper = np.full(len(form.params), -np.inf), np.full(len(form.params), np.inf)
        for i, name in enumerate(form.params):
            if name in form.logs:
                lower[i], upper[i] = np.log(SMALL * scale), np.log(LARGE * scale)
            if name in form.bounds:
                lower[i], upper[i] = form.bounds[name]
            if metric and name == "E" and name in form.logs:
                upper[i] = 0.0  # a bounded metric saturates at 1 at most
        tiny = 1e-3 * float(np.abs(y).min())
        return cls(form, x, -1 if metric else 1, not metric, delta, lower, upper, tiny, overestimates)

    def residuals(self, y: Array, jacobian: Array, target: Array) -> tuple[Array, Array]:
        """Residuals (R, n) and their Jacobian (R, n, p).

        Args:
            y: predictions, (R, n).
            jacobian: theirs, (R, n, p).
            target: what is fitted, (R, n); ln y when `log`.
        """
        if self.log:
            safe = np.maximum(y, self.tiny)
            y, jacobian = np.log(safe) + (y - safe) / safe, jacobian / safe[..., None]
        return y - target, jacobian

    def objective(self, residuals: Array, weight: Array) -> Array:
        """The sum of losses, (R,).

        Args:
            residuals: (R, n).
            weight: of each point, (R, n), the sides already weighed.
        """
        clipped = np.clip(residuals, -self.delta, self.delta)
        return (weight * clipped * (residuals - clipped / 2)).sum(-1)

    def solve(self, start: Array, target: Array, weight: Array) -> Solution:
        """R fits at once. For least absolute deviations the threshold shrinks by tens.

        Args:
            start: theta to begin with, (R, p).
            target: what is fitted, (R, n); ln y when `log`.
            weight: of each point, (R, n).
        """
        theta = start
        for threshold in sorted({self.delta, *(d for d in SHRINK if self.delta < d)}, reverse=True):
            solution = replace(self, delta=threshold)._solve(theta, target, weight)
            theta = solution.theta
        return solution

    def _solve(self, start: Array, target: Array, weight: Array) -> Solution:
        form = self.form
        nonlinear = [form.params.index(name) for name in form.grid]
        linear = [i for i in range(len(form.params)) if i not in nonlinear]
        logs = np.isin(linear, form.log_index)
        floor = 1e-26 * target.shape[1] * float((target**2).max())  # what rounding leaves of an exact fit

        def natural(theta: Array) -> Array:
            return np.where(logs, np.exp(np.where(logs, theta[..., linear], 0)), theta[..., linear])

        def whole(z: Array, coefficients: Array) -> Array:
            theta = np.empty((len(z), len(form.params)))
            theta[:, nonlinear] = z
            theta[:, linear] = np.where(logs, np.log(np.where(logs, coefficients, 1)), coefficients)
            return theta

        def follow(rows: Rows, z: Array, coefficients: Array) -> tuple[Array, Mask]:
            """The best linear coefficients at z."""
            columns = form.value(whole(z, np.where(logs, 1.0, 0.0)), self.x, self.sign)[1][..., linear]

            def evaluate(some: Rows, c: Array, aside: Array) -> Point:
                y = np.einsum("rnq,rq->rn", columns[some], c)
                residuals, jacobian = self.residuals(y, columns[some], target[rows[some]])
                return Point(*self._model(residuals, jacobian, weight[rows[some]]), aside)

            limits = natural(self.lower), natural(self.upper)
            _, c, settled = descend(coefficients, coefficients[:, :0], *limits, evaluate, SETTLED, floor, damping=1e-12)
            return c, settled

        def evaluate(rows: Rows, z: Array, coefficients: Array) -> Point:
            """The valley's bottom at z: gradient and curvature are those along it."""
            coefficients, _ = follow(rows, z, coefficients)
            theta = whole(z, coefficients)
            residuals, jacobian = self.residuals(*form.value(theta, self.x, self.sign), target[rows])
            objective, gradient, hessian, spread = self._model(residuals, jacobian, weight[rows])
            free = (theta > self.lower + 1e-9) & (theta < self.upper - 1e-9)
            return Point(objective, *_along(gradient, hessian, spread, free, nonlinear, linear), coefficients)

        limits = self.lower[nonlinear], self.upper[nonlinear]
        point, z, converged = descend(
            start[:, nonlinear], natural(start), *limits, evaluate, CONVERGED, floor, damping=1e-3
        )
        settled = follow(np.arange(len(z)), z, point.aside)[1]
        return Solution(whole(z, point.aside), point.objective, converged & settled)

    def _model(self, residuals: Array, jacobian: Array, weight: Array) -> tuple[Array, Array, Array, Array]:
        """Objective, gradient, Gauss-Newton curvature of what is not clipped, and the diagonal of all of it."""
        weight = weight * np.where(self.sign * residuals < 0, self.overestimates, 1.0)
        pull = weight * np.clip(residuals, -self.delta, self.delta)
        inside = weight * (np.abs(residuals) <= self.delta)
        hessian = np.swapaxes(jacobian * inside[..., None], -1, -2) @ jacobian
        spread = np.einsum("rn,rnp->rp", weight, jacobian**2)
        spread = np.maximum(spread, 1e-14 * spread.max(-1, keepdims=True, initial=0)) + 1e-200  # never singular
        return self.objective(residuals, weight), np.einsum("rn,rnp->rp", pull, jacobian), hessian, spread


def descend(
    z: Array, aside: Array, lower: Array, upper: Array, evaluate: Evaluate,
    tolerance: float, floor: float, damping: float,
) -> tuple[Point, Array, Mask]:  # fmt: skip
    """Damped Newton within bounds, for R problems at once.

    Args:
        z: where the searches begin, (R, p).
        aside: what the first evaluation starts from, (R, ...).
        lower: bounds of z, (p,).
        upper: bounds of z, (p,).
        evaluate: gives the `Point` of some of the problems at their z.
        tolerance: share of its objective that a full step of a converged search would gain at most.
        floor: gain below which a search has converged too, in units of the objective.
        damping: of the first step.

    Returns:
        The points where the searches ended, z (R, p) there, and which converged (R,). A full step is one projected on
        the bounds that hold it.
    """
    z, active = np.clip(z, lower, upper), np.arange(len(z))
    point = Point(*(part.copy() for part in evaluate(active, z, aside)))
    damp, converged = np.full(len(z), damping), np.zeros(len(z), dtype=bool)
    for _ in range(STEPS):
        _, gradient, hessian, spread, _ = (part[active] for part in point)
        held = ((z[active] <= lower) & (gradient > 0)) | ((z[active] >= upper) & (gradient < 0))
        gradient = np.where(held, 0.0, gradient)
        gain = (gradient * _step(gradient, hessian, spread, held, 1e-12)).sum(-1)
        converged[active] = gain <= tolerance * point.objective[active] + floor
        going = ~converged[active] & (damp[active] < 1e10)
        active = active[going]
        if not len(active):
            break
        step = _step(gradient[going], hessian[going], spread[going], held[going], damp[active])
        trial = np.clip(z[active] - step, lower, upper)
        new = evaluate(active, trial, point.aside[active])
        better = new.objective < point.objective[active]
        z[active[better]] = trial[better]
        for part, changed in zip(point, new, strict=True):
            part[active[better]] = changed[better]
        damp[active] = np.where(better, np.maximum(damp[active] / 10, 1e-12), np.maximum(damp[active], 1e-8) * 10)
    return point, z, converged


def _step(gradient: Array, hessian: Array, spread: Array, held: Mask, damping: float | Array) -> Array:
    """The damped Newton step (R, p), zero where held; in units in which the curvature is of the order of one."""
    scale, eye = 1 / np.sqrt(spread), np.eye(spread.shape[1])
    scaled = hessian * scale[:, :, None] * scale[:, None, :] + np.reshape(damping, (-1, 1, 1)) * eye
    scaled = np.where(held[:, :, None] | held[:, None, :], eye, scaled)
    return scale * np.linalg.solve(scaled, (gradient * scale)[..., None])[..., 0]


def _along(
    gradient: Array, hessian: Array, spread: Array, free: Mask, along: list[int], across: list[int]
) -> tuple[Array, Array, Array]:
    """Gradient, curvature and spread in the parameters `along` when those `across` that are free follow."""
    scale = np.where(free, 1 / np.sqrt(spread), 0.0)[:, across]
    inner = hessian[:, across][:, :, across] * scale[:, :, None] * scale[:, None, :]
    inner = inner + (1e-12 + (scale == 0))[..., None] * np.eye(len(across))
    mixed = hessian[:, across][:, :, along] * scale[:, :, None]
    both = np.concatenate([mixed, (gradient[:, across] * scale)[..., None]], -1)
    answer = np.swapaxes(mixed, -1, -2) @ np.linalg.solve(inner, both)
    reduced = hessian[:, along][:, :, along] - answer[..., :-1]
    return gradient[:, along] - answer[..., -1], reduced, spread[:, along]
