"""Minimising the sum of losses of a form's residuals: one fit from many starts, and many resamples at once.

L-BFGS-B with exact gradients and tight tolerances, from a grid of starts: Besiroglu et al. (2024) show what a
mean-reduced objective at default tolerances costs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from srtlib.laws.forms import Array, Form

SHRINK = (1e-3, 1e-4, 1e-5)  # thresholds on the way to least absolute deviations
SMALL, LARGE = 1e-6, 1e3  # where positive coefficients are looked for, relative to the largest y


@dataclass(frozen=True)
class Problem:
    """Sum over points of weight * Huber(prediction - y) as a function of theta, inputs centred."""

    form: Form
    x: dict[str, Array]
    sign: int
    log: bool  # residuals in logarithms
    delta: float
    lower: Array
    upper: Array
    tiny: float  # below it, the logarithm of a prediction is continued by its tangent

    @classmethod
    def of(cls, form: Form, x: dict[str, Array], y: Array, metric: bool, delta: float) -> Problem:
        """The problem of fitting `form` to y (n,) at centred inputs, with the bounds that its scale gives."""
        scale = float(np.abs(y).max())
        lower, upper = np.full(len(form.params), -np.inf), np.full(len(form.params), np.inf)
        for i, name in enumerate(form.params):
            if name in form.logs:
                lower[i], upper[i] = np.log(SMALL * scale), np.log(LARGE * scale)
            if name in form.bounds:
                lower[i], upper[i] = form.bounds[name]
            if metric and name == "E" and name in form.logs:
                upper[i] = 0.0  # a bounded metric saturates at 1 at most
        return cls(form, x, -1 if metric else 1, not metric, delta, lower, upper, 1e-3 * float(np.abs(y).min()))

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
