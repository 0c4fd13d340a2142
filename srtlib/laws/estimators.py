"""What compute and what data buy: the paper's two performance estimators, fitted on any table of runs.

`ComputeEstimator` turns a budget into NDCG, model size and data; `DataEstimator` turns an amount of interactions into
NDCG, the model size that suffices and the price of the next gain. Both carry intervals, are saved as JSON, flag what
lies more than a decade beyond their runs, and refuse what no NDCG can be.

>>> import numpy as np
>>> curves = pd.DataFrame([{"run_id": n, "flops": 6.0 * n * d, "params_total": n, "targets_seen": d, "n_targets": d,
...                         "valid_ndcg@5": 0.2 - 8 / n**0.35 - 5 / d**0.3}
...                        for n in np.geomspace(1e5, 1e8, 7) for d in np.geomspace(1e6, 1e9, 9)])
>>> estimator = ComputeEstimator.fit(curves[curves["valid_ndcg@5"] > 0], form="sigmoid", n_resamples=20)
>>> float(estimator.predict(1e15)["ndcg"].round(3)[0])
0.137
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from srtlib.laws.allocation import Allocation, allocate, combined
from srtlib.laws.columns import CURVES, RUNS, Columns
from srtlib.laws.comparison import PLANNING_FORMS, compare_data_forms, compare_forms, fit_data_law
from srtlib.laws.fitting import fit_frontier
from srtlib.laws.forms import Array
from srtlib.laws.frontiers import check_table
from srtlib.laws.gains import data_for, size_enough
from srtlib.laws.law import Law, amounts
from srtlib.laws.machines import MACHINES, Machine
from srtlib.paths import write_text
from srtlib.runs.intervals import tails
from srtlib.runs.tables import compute_column

DECADES = 1.0  # how far beyond its runs an estimator speaks without a flag
REACH = 3.0  # decades above which the end of an interval says only that the runs do not bound it
PICKING = 100  # resamples behind the bands of forms that are only compared


@dataclass
class ComputeEstimator:
    """Budget -> NDCG, N*, D*, tokens, hours.

    `law` is the law of the frontier, `allocation` that of N* and of targets seen, `unique` that of the unique targets
    among them. `columns.compute` names the column in which FLOPs were counted and `exact` is the number of exact FLOPs
    to one of those (NaN where runs do not tell), on which hours and money rest. `forms` is the table that picked the
    form, empty where it was given.
    """

    law: Law
    allocation: Allocation
    unique: Allocation
    columns: Columns
    exact: float
    forms: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def fit(
        cls,
        curves: pd.DataFrame,
        columns: Columns = CURVES,
        *,
        form: str | None = None,
        approach: str | None = None,
        n_resamples: int = 1000,
        seed: int = 0,
    ) -> ComputeEstimator:
        """Fit to learning curves.

        Args:
            curves: one row per evaluation, as from `runs.curves`.
            columns: its columns; "n_targets", the training targets of one epoch, is needed too.
            form: of `COMPUTE_FORMS`; None takes the one that predicts the top decade of compute best, fitted below it
                (`compare_forms`).
            approach: how N* and D* are found, one of `allocation.APPROACHES`; default: those that the runs allow,
                combined (`allocation.combined`).
            n_resamples: of the bootstrap.
            seed: of the bootstrap.

        Raises ValueError for a missing column, exact FLOPs in some rows alone, and too few runs.
        """
        check_table(
            curves, (columns.quality,), (columns.compute, columns.size, columns.data, "n_targets"), (columns.run,)
        )
        table = pd.DataFrame() if form else compare_forms(curves, columns, n_resamples=PICKING, seed=seed)
        sampling: dict[str, Any] = {"n_resamples": n_resamples, "seed": seed}
        law = fit_frontier(form or table["form"][0], curves, columns, **sampling)
        find = partial(allocate, approach) if approach else combined
        allocation = find(curves, columns, **sampling)
        unique = find(curves, replace(columns, data="n_targets"), **sampling)
        known = compute_column(curves) == "flops"
        exact = float((curves["flops"] / curves[columns.compute]).median()) if known else math.nan
        return cls(law, allocation, unique, columns, exact, _records(table))

    def predict(
        self,
        flops: npt.ArrayLike | None = None,
        *,
        hours: npt.ArrayLike | None = None,
        money: npt.ArrayLike | None = None,
        machine: Machine | None = None,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """What budgets buy: exactly one of `flops`, `hours` and `money` is given.

        Args:
            flops: budgets in FLOPs, counted as `columns.compute` says.
            hours: budgets in GPU-hours.
            money: budgets in the currency of `machine`.
            machine: what FLOPs cost; default: the H100 of `MACHINES`.
            level: of the intervals.

        Returns:
            One row per budget: `flops`; `ndcg` with `low` and `high`; `N`, `N_low`, `N_high`; `D`, the unique
            training targets, with `D_low` and `D_high`; `tokens`, the targets seen; `hours` and `money` (NaN
            where exact FLOPs are not known); `beyond`, decades outside the runs, and `extrapolated` where that is more
            than one. An upper end of N or D three decades above the estimate is infinite: the runs do not bound it.

        Raises ValueError unless exactly one budget is given, and where the form leaves [0, 1].
        """
        machine = machine or MACHINES["H100"]
        C = self.budget(flops, hours, money, machine)
        ndcg = np.atleast_1d(self.law.predict(C=C))
        _check_range(self.law, ndcg, [f"{c:.3g} FLOPs" for c in C])
        low, high = np.clip(self.law.band(level, C=C), 0, 1)
        (N, tokens), D = self.allocation.predict(C), self.unique.predict(C)[1]
        (n_low, n_high), (d_low, d_high) = self.allocation.band(C, level)[0], self.unique.band(C, level)[1]
        n_high, d_high = bounded(n_high, N), bounded(d_high, D)
        beyond = _decades_beyond(self.law.ranges["C"], C)
        took = machine.hours(C * self.exact)
        columns = {"flops": C, "ndcg": ndcg, "low": low, "high": high, "N": N, "N_low": n_low, "N_high": n_high}
        columns |= {"D": D, "D_low": d_low, "D_high": d_high}
        columns |= {"tokens": tokens, "hours": took, "money": took * machine.price}
        return pd.DataFrame(columns | {"beyond": beyond, "extrapolated": beyond > DECADES})

    def architecture(self, flops: float, table: pd.DataFrame) -> dict[str, int]:
        """The model to train with a budget: `d_model` and `n_layers`.

        Args:
            flops: the budget, counted as `columns.compute` says.
            table: one row per run, as from `runs.table`; those on most interactions count.

        Returns:
            The depth of the best of those runs, and the width (a multiple of 4) whose size is nearest to N* among the
            widths at that depth: nothing was measured outside them.

        >>> runs = pd.DataFrame({"n_interactions": 9, "d_model": [32, 64], "n_layers": 1, "params_total": [1e6, 3e6],
        ...                      "valid_ndcg@5": [0.1, 0.2]})
        >>> constant = dict(zip(["k_N", "a", "k_D", "b"], [2e6, 0.0, 1.0, 1.0]))
        >>> law = Law.given("log_linear", {"a": 0.0, "b": 0.01}, {"C": (1e9, 1e12)})
        >>> optimum = Allocation("isoflop", constant, pd.DataFrame(), 2, 1.0)
        >>> estimator = ComputeEstimator(law, optimum, optimum, CURVES, 1.0)
        >>> estimator.architecture(1e10, runs)
        {'d_model': 48, 'n_layers': 1}
        """
        size, quality = self.columns.size, self.columns.quality
        check_table(table, (quality,), ("n_interactions", "d_model", "n_layers", size))
        largest = table[table["n_interactions"] == table["n_interactions"].max()]
        depth = int(largest.loc[largest[quality].idxmax(), "n_layers"])
        grid = largest[largest["n_layers"] == depth].sort_values(size)
        N = float(self.allocation.predict(amounts("flops", flops))[0][0])
        width = np.interp(N, grid[size], grid["d_model"])
        return {"d_model": 4 * round(float(width) / 4), "n_layers": depth}

    def budget(self, flops: Any, hours: Any, money: Any, machine: Machine) -> Array:
        """Budgets as FLOPs, counted as `columns.compute` says.

        Args:
            flops, hours, money: as for `predict`.
            machine: what FLOPs cost.
        """
        given = {"flops": flops, "hours": hours, "money": money}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            raise ValueError(f"a budget is one of flops, hours and money; given were {', '.join(given) or 'none'}")
        ((name, value),) = given.items()
        given_amounts = amounts(name, value)
        if name == "flops":
            return given_amounts
        if math.isnan(self.exact):
            raise ValueError(f"a budget in {name} needs exact FLOPs, which these runs do not tell; give it in flops")
        hours = given_amounts / machine.price if name == "money" else given_amounts
        return amounts(f"flops for these {name}", machine.flops(hours) / self.exact)

    def save(self, path: Path | str) -> None:
        """Write as JSON."""
        parts = {"law": self.law.to_dict(), "columns": asdict(self.columns)}
        parts |= {"allocation": self.allocation.to_dict(), "unique": self.unique.to_dict()}
        _save(path, vars(self) | parts)

    @classmethod
    def load(cls, path: Path | str) -> ComputeEstimator:
        """Read what `save` wrote."""
        data = _load(path, cls)
        split = {name: Allocation.from_dict(data[name]) for name in ("allocation", "unique")}
        return cls(**{**data, **split, "law": Law.from_dict(data["law"]), "columns": Columns(**data["columns"])})


@dataclass
class DataEstimator:
    """Interactions (and model size) -> NDCG, the size that suffices, and what the next gain costs in data.

    `law` is a law of N and D; `columns.data` names the column that D counts, `columns.size` that of N.
    """

    law: Law
    columns: Columns
    forms: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        columns: Columns = RUNS,
        *,
        form: str | None = None,
        n_resamples: int = 1000,
        seed: int = 0,
    ) -> DataEstimator:
        """Fit to finished runs.

        Args:
            table: one row per run, as from `runs.table`.
            columns: its columns; compute is needed where no form is given.
            form: of `PLANNING_FORMS`; None takes the one that predicts the runs of the top decade of compute best,
                fitted to those below it (`compare_data_forms`).
            n_resamples: of the bootstrap.
            seed: of the bootstrap.

        Raises ValueError for a missing column, one value of N or D, and too few runs.
        """
        tried = (
            pd.DataFrame()
            if form
            else compare_data_forms(table, columns, PLANNING_FORMS, n_resamples=PICKING, seed=seed)
        )
        law = fit_data_law(form or tried["form"][0], table, columns, n_resamples=n_resamples, seed=seed)
        return cls(law, columns, _records(tried))

    def predict(
        self, interactions: npt.ArrayLike, N: npt.ArrayLike | None = None, *, gain: float = 0.01, level: float = 0.95
    ) -> pd.DataFrame:
        """What amounts of data buy.

        Args:
            interactions: amounts, counted as `columns.data` says.
            N: model size; default: `N_enough`, or what of the runs' sizes is nearest to it.
            gain: of NDCG, whose price in interactions is asked for.
            level: of the intervals.

        Returns:
            One row per amount: `D`; `N`; `ndcg` with `low` and `high`; `N_enough`, beyond which twice the size gains
            less than 0.001 (the same for every D unless the form is a product), with its interval;
            `more`, the additional interactions that raise NDCG by `gain` (infinite where the law has no room left),
            with its interval; `beyond`, decades outside the runs in N or D, and `extrapolated` where that is more than
            one. What lies three decades above the runs (and D) is infinite: they do not bound it.

        Raises ValueError where the form leaves [0, 1].
        """
        D, ranges = amounts("interactions", interactions), self.law.ranges
        amounts("gain", gain)
        params = self.law.samples
        largest_n, largest_d = ranges["N"][1], np.maximum(D, ranges["D"][1])
        enough = bounded([size_enough(self.law.params, d) for d in D], largest_n)
        spread = bounded([_quantile(size_enough(params, d), level) for d in D], largest_n)
        sizes = np.clip(enough, *ranges["N"]) if N is None else np.broadcast_to(amounts("N", N), D.shape)
        ndcg = np.atleast_1d(self.law.predict(N=sizes, D=D))
        _check_range(self.law, ndcg, [f"N = {n:.3g}, D = {d:.3g}" for n, d in zip(sizes, D, strict=True)])
        low, high = np.clip(self.law.band(level, N=sizes, D=D), 0, 1)
        more = bounded([data_for(self.law.params, *at, gain) for at in zip(sizes, D, strict=True)], largest_d)
        costs = [_quantile(data_for(params, *at, gain), level) for at in zip(sizes, D, strict=True)]
        bands = bounded(costs, largest_d[:, None])
        beyond = np.maximum(_decades_beyond(ranges["N"], sizes), _decades_beyond(ranges["D"], D))
        columns = {"D": D, "N": sizes, "ndcg": ndcg, "low": low, "high": high}
        columns |= {"N_enough": enough, "N_enough_low": spread[:, 0], "N_enough_high": spread[:, 1]}
        columns |= {"more": more, "more_low": bands[:, 0], "more_high": bands[:, 1]}
        return pd.DataFrame(columns | {"beyond": beyond, "extrapolated": beyond > DECADES})

    def save(self, path: Path | str) -> None:
        """Write as JSON."""
        _save(path, vars(self) | {"law": self.law.to_dict(), "columns": asdict(self.columns)})

    @classmethod
    def load(cls, path: Path | str) -> DataEstimator:
        """Read what `save` wrote."""
        data = _load(path, cls)
        return cls(**{**data, "law": Law.from_dict(data["law"]), "columns": Columns(**data["columns"])})


def _quantile(values: npt.ArrayLike, level: float) -> Array:
    return np.quantile(np.asarray(values, dtype=float), tails(level), method="nearest")  # infinite values stay


def bounded(values: npt.ArrayLike, known: npt.ArrayLike) -> Array:
    """Values, infinite where they lie more than `REACH` decades above what is known: no finding.

    Args:
        values: (n,) or (n, k).
        known: one number, or an array that broadcasts.
    """
    return np.where(np.asarray(values) > 10**REACH * np.asarray(known), np.inf, values)


def _decades_beyond(limits: tuple[float, float], values: Array) -> Array:
    """How many decades values lie outside limits; 0 inside."""
    low, high = np.log10(limits)
    logs = np.log10(values)
    return np.maximum(np.maximum(logs - high, low - logs), 0.0)


def _check_range(law: Law, values: Array, places: Sequence[str]) -> None:
    for value, place in zip(values, places, strict=True):
        if not 0 <= value <= 1:
            raise ValueError(f"form {law.form} gives {value:.4g} at {place}, outside [0, 1]: it does not hold there")


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _save(path: Path | str, data: Mapping[str, Any]) -> None:
    write_text(Path(path), json.dumps({**data, "sha256": _digest(data)}))


def _digest(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _load(path: Path | str, kind: type) -> dict[str, Any]:
    try:
        data = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError):
        raise ValueError(f"{path} holds no {kind.__name__}: it is no JSON, or cut") from None
    expected = {f.name for f in fields(kind)}
    digest = data.pop("sha256", None) if isinstance(data, dict) else None
    if not isinstance(data, dict) or set(data) != expected:
        raise ValueError(f"{path} holds no {kind.__name__}: expected the keys {', '.join(sorted(expected))}")
    if digest != _digest(data):
        raise ValueError(f"{path} is not what was saved (its SHA-256 differs)")
    return data
