"""Compute-optimal size and data: N*(C) and D*(C) by the three approaches of Hoffmann et al. (2022), side by side.

1. `envelope`: at each amount of compute, the size and data of the best run that was under way there.
2. `isoflop`: at each budget, the top of a parabola of quality in ln N. `planned`: the same of runs that ended there,
   whose schedules were made for the budget, where there are such.
3. `parametric`: the law E -+ A / N^alpha -+ B / D^beta of the finished runs, minimised under C = c N^p D^q, whose
   c, p and q come from the runs too: 6 N D is a rule for language models, not for models whose parameters are
   mostly a table of tokens. `projected`: the same law by least squares, E, A and B projected out; a cross-check, since
   an optimum that moves with the loss of the fit is not determined by the runs.

`combined` is what a plan rests on: none of the three is right everywhere (sizes are discrete, curves of unfinished runs
lie low, a form is only a form), and the band of each alone can miss the optimum.

Each ends in two power laws, N* = k_N C^a and D* = k_D C^b, with intervals from a bootstrap over whole runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from srtlib.laws.columns import CURVES, Columns
from srtlib.laws.fitting import fit, resample_counts
from srtlib.laws.forms import Array
from srtlib.laws.frontiers import alike, best_per_size, check_table, ends_together, interpolate, levels, vertex
from srtlib.runs.intervals import tails

PARAMS = ("k_N", "a", "k_D", "b")
COMBINED = ("envelope", "isoflop", "planned", "parametric")
APPROACHES = (*COMBINED, "projected")
USABLE = 0.9  # share of resamples in which an approach must answer to count in `combined`
N_LEVELS = {"envelope": 100, "isoflop": 12}  # amounts of compute looked at


@dataclass
class Allocation:
    """N*(C) = k_N C^a and D*(C) = k_D C^b. `samples` holds one row per resample in which both could be fitted.

    `n_points` is the number of budgets (runs, for `parametric`) behind the fit; `at_bound` names parameters of the
    parametric law that ended on the edge of the search: the allocation is then no finding. `usable` is the share of
    resamples that could be fitted.
    """

    approach: str
    params: dict[str, float]
    samples: pd.DataFrame
    n_points: int
    usable: float
    at_bound: tuple[str, ...] = ()

    def predict(self, C: npt.ArrayLike) -> tuple[Array, Array]:
        """(N*, D*) at each C, in the units of the runs' columns; ValueError where they leave what a float holds."""
        k_N, a, k_D, b = self.params.values()
        C = np.asarray(C, dtype=float)
        if not (np.isfinite(C) & (C > 0)).all():
            raise ValueError("compute holds values that are not positive and finite")
        with np.errstate(over="ignore", divide="ignore"):
            N, D = k_N * C**a, k_D * C**b
        for values in (N, D):
            if not (np.isfinite(values) & (values > 0)).all():
                raise ValueError(f"approach {self.approach} finds no size and data at such compute: it is too far away")
        return N, D

    def band(self, C: npt.ArrayLike, level: float = 0.95) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Percentile bands of N* and D*.

        Args:
            C: amounts of compute, (n,).
            level: share of the resamples inside.

        Returns:
            (low, high) of N* and (low, high) of D*, (n,) each.
        """
        C = np.atleast_1d(np.asarray(C, dtype=float))
        bands = []
        for k, power in (("k_N", "a"), ("k_D", "b")):
            logs = np.log(self.samples[k].to_numpy())[:, None] + self.samples[power].to_numpy()[:, None] * np.log(C)
            with np.errstate(over="ignore"):
                low, high = np.exp(np.quantile(logs, tails(level), axis=0))
            bands.append((low, high))
        return bands[0], bands[1]

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of a parameter.

        Args:
            name: k_N, a, k_D or b, else ValueError is raised.
            level: share of the resamples inside.
        """
        if name not in self.params:
            raise ValueError(f"an allocation has no parameter {name!r}; it has {', '.join(PARAMS)}")
        low, high = self.samples[name].quantile(tails(level))
        return float(low), float(high)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return vars(self) | {"samples": self.samples.to_numpy().tolist(), "at_bound": list(self.at_bound)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Allocation:
        """The inverse of `to_dict`."""
        samples = pd.DataFrame(data["samples"], columns=list(PARAMS), dtype=float)
        return cls(**{**data, "samples": samples, "at_bound": tuple(data["at_bound"])})


def allocate(
    approach: str,
    curves: pd.DataFrame,
    columns: Columns = CURVES,
    *,
    metric: bool = True,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Allocation:
    """N*(C) and D*(C) from learning curves, by one approach.

    Args:
        approach: one of `APPROACHES`.
        curves: one row per evaluation, as from `runs.curves`; the last row of a run is its end.
        columns: its columns; size is N, data is D.
        metric: True when larger is better, False for a loss.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises ValueError for an unknown approach, a missing column, and runs that show no optimum at two budgets.
    """
    if approach not in APPROACHES:
        raise ValueError(f"unknown approach {approach!r}; expected one of {', '.join(APPROACHES)}")
    check_table(curves, (columns.quality,), (columns.compute, columns.size, columns.data), (columns.run,))
    counts = resample_counts(curves[columns.run].nunique(), n_resamples, seed)
    if approach in ("parametric", "projected"):
        return _parametric(approach, curves, columns, counts, metric, seed)
    if approach == "planned":
        grid, values, names = ends_together(curves, columns)
        data = ends_together(curves, columns, columns.data)[1]
    else:
        grid = levels(curves[columns.compute], N_LEVELS[approach])
        _, values, names = interpolate(curves, columns, grid=grid)
        data = interpolate(curves, columns, columns.data, grid)[1]
    values, log_d = values if metric else -values, np.log(data)
    log_n = np.log(curves.groupby(columns.run)[columns.size].first().loc[names].to_numpy(float))
    find = _on_envelope if approach == "envelope" else _on_parabolas
    n_points, best = _power_laws(grid, *find(values, log_n, log_d))
    if best is None:
        raise ValueError(f"approach {approach} found an optimum at {n_points} of {len(grid)} budgets; it needs two")
    drawn = [_power_laws(grid, *find(values[c > 0], log_n[c > 0], log_d[c > 0]))[1] for c in counts]
    samples = np.array([sample for sample in drawn if sample is not None])
    return _allocation(approach, best, samples, n_points, len(samples) / n_resamples)


def combined(curves: pd.DataFrame, columns: Columns = CURVES, **sampling: Any) -> Allocation:
    """The geometric mean of the approaches that the runs allow, with a band that holds their disagreement.

    An approach counts when it answers in nine of ten resamples and no parameter of its law is at a bound; when
    none does, the first that answers at all. The resamples of those that count are pooled with equal weight. `approach`
    of the result names them.

    Args:
        curves: as for `allocate`.
        columns: as for `allocate`.
        sampling: `metric`, `n_resamples`, `seed` of `allocate`.

    Raises ValueError, with each approach's reason, where none answers.
    """
    answers, reasons = [], []
    for approach in COMBINED:
        try:
            answers.append(allocate(approach, curves, columns, **sampling))
        except ValueError as error:
            reasons.append(str(error))
    if not answers:
        raise ValueError("no approach found an optimum: " + "; ".join(reasons))
    sound = [answer for answer in answers if answer.usable >= USABLE and not answer.at_bound] or answers[:1]
    every = np.concatenate([_logs(pd.DataFrame([answer.params])) for answer in sound])
    n = min(len(answer.samples) for answer in sound)
    return _allocation(
        " + ".join(answer.approach for answer in sound),
        every.mean(0),
        np.concatenate([_logs(answer.samples.iloc[:n]) for answer in sound]),
        sum(answer.n_points for answer in sound),
        float(np.mean([answer.usable for answer in sound])),
        tuple(name for answer in sound for name in answer.at_bound),
    )


def predictions(allocations: Mapping[str, Allocation], C: npt.ArrayLike, level: float = 0.95) -> pd.DataFrame:
    """What allocations say at each C.

    Args:
        allocations: by the name that the table calls them.
        C: amounts of compute, (n,).
        level: of the bands.

    Returns:
        One row per allocation and C: `approach`, `C`, `N`, `N_low`, `N_high`, `D`, `D_low`, `D_high`.
    """
    C = np.atleast_1d(np.asarray(C, dtype=float))
    parts = []
    for name, allocation in allocations.items():
        N, D = allocation.predict(C)
        (n_low, n_high), (d_low, d_high) = allocation.band(C, level)
        columns = {"C": C, "N": N, "N_low": n_low, "N_high": n_high, "D": D, "D_low": d_low, "D_high": d_high}
        parts.append(pd.DataFrame({"approach": name, **columns}))
    return pd.concat(parts, ignore_index=True)


def compare(
    curves: pd.DataFrame, C: npt.ArrayLike, columns: Columns = CURVES, **sampling: Any
) -> tuple[pd.DataFrame, dict[str, Allocation]]:
    """Every approach that the runs allow, side by side.

    Args:
        curves: as for `allocate`.
        C: amounts of compute, (n,).
        columns: as for `allocate`.
        sampling: `metric`, `n_resamples`, `seed` of `allocate`.

    Returns:
        The table of `predictions` at `C`, with the exponent `a` of N*, `a_low`, `a_high`, `usable` and a `note`: why an
        approach gave nothing, or which parameter sits at a bound; and the allocations by approach.

    Raises ValueError, with each approach's reason, where none answers.
    """
    rows: list[dict[str, Any]] = []
    found = {}
    for approach in APPROACHES:
        try:
            found[approach] = fit = allocate(approach, curves, columns, **sampling)
        except ValueError as error:
            rows.append({"approach": approach, "note": str(error)})
            continue
        low, high = fit.interval("a")
        note = f"{', '.join(fit.at_bound)} at bound" if fit.at_bound else ""
        row = {"approach": approach, "a": fit.params["a"], "a_low": low, "a_high": high, "usable": fit.usable}
        rows.append({**row, "note": note})
    if not found:
        raise ValueError("no approach found an optimum: " + "; ".join(row["note"] for row in rows))
    return predictions(found, C).merge(pd.DataFrame(rows), on="approach", how="right"), found


def _logs(samples: pd.DataFrame) -> Array:
    """ln k_N, a, ln k_D, b (R, 4)."""
    values = samples[list(PARAMS)].to_numpy(float, copy=True)
    values[:, [0, 2]] = np.log(values[:, [0, 2]])
    return values


def _allocation(
    approach: str, best: Array, samples: Array, n_points: int, usable: float, at_bound: tuple[str, ...] = ()
) -> Allocation:
    frame = pd.DataFrame(np.reshape(samples, (-1, 4)), columns=list(PARAMS))
    frame[["k_N", "k_D"]] = np.exp(frame[["k_N", "k_D"]])
    params = dict(zip(PARAMS, map(float, (np.exp(best[0]), best[1], np.exp(best[2]), best[3])), strict=True))
    return Allocation(approach, params, frame, n_points, usable, at_bound)


def _on_envelope(values: Array, log_n: Array, log_d: Array) -> tuple[Array, Array]:
    """ln N and ln D of the best run under way at each amount of compute, (n,) each, NaN where none is."""
    filled = np.where(np.isnan(values), -np.inf, values)
    row, column = filled.argmax(0), np.arange(values.shape[1])
    under_way = np.isfinite(filled[row, column])
    return np.where(under_way, log_n[row], np.nan), np.where(under_way, log_d[row, column], np.nan)


def _on_parabolas(values: Array, log_n: Array, log_d: Array) -> tuple[Array, Array]:
    """ln N and ln D at the top of each budget's parabola, (n,) each, NaN where there is none."""
    labels = alike(log_n)
    out = np.full((2, values.shape[1]), np.nan)
    for i, column in enumerate(values.T):
        rows = best_per_size(labels, column)
        if found := vertex(log_n[rows], column[rows]):
            out[:, i] = found[0], np.interp(found[0], log_n[rows], log_d[rows, i])
    return out[0], out[1]


def _power_laws(grid: Array, log_n: Array, log_d: Array) -> tuple[int, Array | None]:
    """How many points there are, and ln k_N, a, ln k_D, b by least squares (None with fewer than two points)."""
    there = np.isfinite(log_n)
    if there.sum() < 2:
        return int(there.sum()), None
    log_c = np.log(grid[there])
    centred = log_c - log_c.mean()
    out = []
    for logs in (log_n[there], log_d[there]):
        slope = centred @ logs / (centred @ centred)
        out += [logs.mean() - slope * log_c.mean(), slope]
    return int(there.sum()), np.array(out)


def _parametric(
    approach: str, curves: pd.DataFrame, columns: Columns, counts: Array, metric: bool, seed: int
) -> Allocation:
    ends = curves.sort_values(columns.compute, kind="stable").groupby(columns.run, sort=False).last()
    N, D = ends[columns.size], ends[columns.data]
    law = fit(
        "additive_power", y=ends[columns.quality], N=N, D=D, metric=metric,
        loss="huber" if approach == "parametric" else "lsq", n_resamples=len(counts), seed=seed,
    )  # fmt: skip
    log_n, log_d, log_c = (np.log(values.to_numpy(float)) for values in (N, D, ends[columns.compute]))
    design = np.column_stack([np.ones(len(ends)), log_n, log_d])

    def under(weight: Array) -> Array:
        """ln c, p, q of C = c N^p D^q."""
        root = np.sqrt(weight)
        return np.linalg.lstsq(design * root[:, None], log_c * root, rcond=None)[0]

    best = _constrained(np.array(list(law.params.values())), under(np.ones(len(ends))))
    samples = _constrained(law.samples.to_numpy(), np.array([under(count) for count in counts]))
    good = np.isfinite(samples).all(-1)
    return _allocation(approach, best, samples[good], len(ends), float(good.mean()), law.at_bound)


def _constrained(natural: Array, cost: Array) -> Array:
    """ln k_N, a, ln k_D, b (..., 4) that minimise A / N^alpha + B / D^beta under ln C = ln c + p ln N + q ln D.

    From alpha A N^-alpha / p = beta B D^-beta / q.
    """
    _, A, B, alpha, beta = np.moveaxis(natural, -1, 0)
    log_c, p, q = np.moveaxis(cost, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = alpha * q + beta * p
        ratio = np.log(alpha * A * q / (beta * B * p))
    k_N, a = (q * ratio - beta * log_c) / whole, beta / whole
    k_D, b = (-p * ratio - alpha * log_c) / whole, alpha / whole
    return np.stack([k_N, a, k_D, b], -1)
