"""Plans from recorded runs: what a budget or an amount of data buys, by two laws that are made to agree.

The law of compute says what the best runs under way had reached; it holds for the data that they had. The law of size
and data says what finished runs reached, whatever they cost. A plan for a budget asks both about the same size and the
same data: the first is carried from its runs' data to yours by the second. The plan is their mean, and its interval
holds both.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from srtlib import runs
from srtlib.laws.allocation import Allocation
from srtlib.laws.columns import Columns
from srtlib.laws.estimators import ComputeEstimator, DataEstimator, bounded
from srtlib.laws.forms import Array
from srtlib.laws.frontiers import check_table
from srtlib.laws.law import amounts, form_named
from srtlib.laws.machines import MACHINES, Machine

RESAMPLES = 300
OWN_END = ("scaling", "corners", "seeds", "depth")  # grids of a study whose runs the default recipe trains to their end
ROUNDING = 1e-9  # of ranges, which laws hold as logarithms


@dataclass
class Planner:
    """Both laws of one study.

    Args:
        by_compute: the law of the frontier, and how a budget is split.
        by_data: the law of size and unique training targets.
        n_runs: how many runs the laws rest on.
        n_items: the catalogue that the runs ranked.
        targets_per_interaction: unique training targets to one interaction; the others are first or held out.
        widths: (parameters, d_model) of models on most data, ascending, at the depth of the best of them.
        n_layers: that depth.
    """

    by_compute: ComputeEstimator
    by_data: DataEstimator
    n_runs: int
    n_items: int
    targets_per_interaction: float
    widths: list[tuple[float, int]]
    n_layers: int

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        curves: pd.DataFrame,
        *,
        form: str | None = None,
        n_resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> Planner:
        """Fit both laws.

        Args:
            table: one row per run, as from `runs.table`.
            curves: one row per evaluation of the same runs, as from `runs.curves`.
            form: of the law that takes its inputs; default: those that predict the top decade of compute best.
            n_resamples: of the bootstrap.
            seed: of the bootstrap.

        Raises ValueError where the estimators do.
        """
        columns = Columns(compute=runs.compute_column(table))
        sizes = ("n_interactions", "n_targets", "n_items", "d_model", "n_layers", columns.size)
        check_table(table, (columns.quality,), sizes)
        of_compute = form is not None and form_named(form).inputs == ("C",)
        sampling: dict[str, Any] = {"n_resamples": n_resamples, "seed": seed}
        by_compute = ComputeEstimator.fit(curves, columns, form=form if of_compute else None, **sampling)
        unique = replace(columns, data="n_targets")
        by_data = DataEstimator.fit(table, unique, form=None if of_compute else form, **sampling)
        largest = table[table["n_targets"] == table["n_targets"].max()]
        depth = int(largest.loc[largest[columns.quality].idxmax(), "n_layers"])
        sizes = largest[largest["n_layers"] == depth].groupby("d_model")[columns.size].median().sort_values()
        return cls(
            by_compute, by_data, len(table), int(table["n_items"].max()),
            float((largest["n_targets"] / largest["n_interactions"]).iloc[0]),
            [(float(size), int(width)) for width, size in sizes.items()], depth,
        )  # fmt: skip

    def budget(
        self,
        flops: npt.ArrayLike | None = None,
        targets: float | None = None,
        *,
        hours: npt.ArrayLike | None = None,
        money: npt.ArrayLike | None = None,
        machine: Machine | None = None,
    ) -> pd.DataFrame:
        """What budgets buy with the data that you have.

        Args:
            flops: budgets in FLOPs, counted as the runs are.
            targets: unique training targets in your data; default: the most that the runs had.
            hours: budgets in hours of `machine`.
            money: budgets in its currency.
            machine: what FLOPs cost; default: an H100 as it was measured.

        Returns:
            One row per budget: `flops`; `used`, what of it your data (or, if that is more, the runs' compute) reach;
            `ndcg`, `low`, `high`; `by_compute` and `by_data`, what either law says of the same size and data; `N`, its
            interval, `d_model`; `unique_targets`; `wanted_targets`, those that the budget would make the most of, with
            their interval; `data_end`, FLOPs from which more compute must become more data; `targets_seen`; `hours` and
            `money` of what is used (NaN where exact FLOPs are not known); `extrapolated`, which of these lie outside
            the runs, and the runs' range.

        Raises ValueError unless exactly one budget is given, and where the laws leave [0, 1].
        """
        machine = machine or MACHINES["H100"]
        estimator, law, ranges = self.by_compute, self.by_compute.law, self.ranges
        C = estimator.budget(flops, hours, money, machine)
        most = ranges["unique_targets"][1]
        data = float(amounts("targets", targets)[0]) if targets is not None else most
        end = data_end(estimator.unique, data)
        used = np.minimum(C, max(end, ranges["flops"][1]))
        N, seen = estimator.allocation.predict(used)
        wanted = estimator.unique.predict(C)[1]
        D = np.minimum(estimator.unique.predict(used)[1], data)
        has = np.minimum(estimator.unique.predict(used)[1], most)
        by_data = np.atleast_1d(self.by_data.law.predict(N=N, D=D))
        carried = by_data - self.by_data.law.predict(N=N, D=has)
        by_compute = law.predict(C=used) + carried
        bands = np.array([np.array(law.band(C=used)) + carried, self.by_data.law.band(N=N, D=D)])
        low, high = np.clip([bands[:, 0].min(0), bands[:, 1].max(0)], 0, 1)
        ndcg = (by_compute + by_data) / 2
        _refuse(ndcg, C)
        (n_low, n_high), (d_low, d_high) = estimator.allocation.band(used)[0], estimator.unique.band(C)[1]
        took = machine.hours(used * estimator.exact)
        columns = {"flops": C, "used": used, "ndcg": ndcg, "low": low, "high": high}
        columns |= {"by_compute": by_compute, "by_data": by_data, "N": N, "N_low": n_low, "N_high": bounded(n_high, N)}
        columns |= {"d_model": self.width(N), "unique_targets": D, "wanted_targets": wanted}
        columns |= {"wanted_low": d_low, "wanted_high": bounded(d_high, wanted), "data_end": np.full(len(C), end)}
        columns |= {"targets_seen": seen, "hours": took, "money": took * machine.price}
        return self._flagged(pd.DataFrame(columns), ["flops", "N", "unique_targets", "wanted_targets"])

    def data(self, targets: npt.ArrayLike, size: npt.ArrayLike | None = None) -> pd.DataFrame:
        """What amounts of data buy.

        Args:
            targets: unique training targets.
            size: number of parameters; default: as `DataEstimator.predict` chooses.

        Returns:
            One row per amount: `unique_targets`, `N`, `ndcg`, `low`, `high`, `N_enough` and `more_targets` (unique
            targets that bring 0.01) with their intervals, and `extrapolated`.

        Raises ValueError where the law leaves [0, 1].
        """
        found = self.by_data.predict(targets, size).drop(columns=["beyond", "extrapolated"])
        found = found.rename(columns={"more": "more_targets", "D": "unique_targets"})
        found["needed_targets"] = found["unique_targets"] + found["more_targets"]
        flagged = self._flagged(found, ["unique_targets", "N", "N_enough", "needed_targets"])
        return flagged.drop(columns="needed_targets")

    def plan(
        self,
        compute: npt.ArrayLike | None = None,
        interactions: npt.ArrayLike | None = None,
        *,
        hours: npt.ArrayLike | None = None,
        money: npt.ArrayLike | None = None,
        size: npt.ArrayLike | None = None,
        machine: Machine | None = None,
    ) -> pd.DataFrame:
        """What a budget (FLOPs, hours or money) buys with the data you have, or what those data buy alone.

        Args:
            compute: FLOPs, counted as the runs are: exactly, or else the paper's way.
            interactions: in your data. With a budget one number; default: the most that the runs had.
            hours: of the machine.
            money: in the machine's currency.
            size: number of parameters, with `interactions` alone.
            machine: as for `budget`.

        Returns:
            One row per budget or amount, as from `budget` or `data`, and the laws' forms.

        Raises ValueError unless a budget or interactions are given, and where the estimators do.
        """
        alone = compute is None and hours is None and money is None
        if alone and interactions is None:
            raise ValueError("a plan needs a budget (one of compute, hours and money), interactions, or both")
        of_data = {"data_form": self.by_data.law.form}
        given = np.array([math.nan]) if interactions is None else amounts("interactions", interactions)
        targets = given * self.targets_per_interaction
        if alone:
            return self.data(targets, size).assign(**of_data)
        if size is not None:
            raise ValueError("size goes with interactions alone: a budget has its own")
        if len(targets) != 1:
            raise ValueError(f"interactions holds {len(targets)} numbers; expected one beside a budget")
        mine = None if interactions is None else float(targets[0])
        found = self.budget(compute, mine, hours=hours, money=money, machine=machine)
        split = self.by_compute.allocation.approach
        return found.assign(compute_form=self.by_compute.law.form, **of_data, allocation=split)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest of what the runs had, by the name of the output."""
        of_data = self.by_data.law.ranges
        named = {"flops": self.by_compute.law.ranges["C"], "N": of_data["N"], "N_enough": of_data["N"]}
        return named | dict.fromkeys(("unique_targets", "wanted_targets", "needed_targets"), of_data["D"])

    def width(self, N: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """d_model of models of N parameters (n,): a multiple of 4 among the widths that were measured."""
        sizes, widths = zip(*self.widths, strict=True)
        return 4 * np.rint(np.interp(np.atleast_1d(N), sizes, widths) / 4).astype(np.int64)

    def _flagged(self, table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        rows = [
            "; ".join(filter(None, (_outside(name, row[name], self.ranges[name]) for name in names)))
            for row in table.to_dict("records")
        ]
        return table.assign(extrapolated=rows)


def read(
    runs_path: Path | str, dataset: str | None = None, grids: Sequence[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs that laws are fitted to, and their curves.

    Args:
        runs_path: as for `runs.table`.
        dataset: runs on the data sets whose names start so; needed where the store holds several.
        grids: runs of these parts of a study, by the column `grid`; default: all.

    Raises ValueError, with those that are there, where none is left.
    """
    table, curves = runs.study(runs_path, dataset)
    if grids is None:
        return table, curves
    there = sorted(set(table["grid"].dropna())) if "grid" in table else []
    if missing := sorted(set(grids) - set(there)):
        raise ValueError(
            f"{runs_path} has no runs of grid {', '.join(missing)}; there are {', '.join(there) or 'none'}"
        )
    first, second = (frame[frame["grid"].isin(grids)].reset_index(drop=True) for frame in (table, curves))
    return first, second


def plan(
    runs_path: Path | str,
    compute: npt.ArrayLike | None = None,
    interactions: npt.ArrayLike | None = None,
    *,
    hours: npt.ArrayLike | None = None,
    money: npt.ArrayLike | None = None,
    size: npt.ArrayLike | None = None,
    dataset: str | None = None,
    grids: Sequence[str] | None = None,
    form: str | None = None,
    machine: Machine | None = None,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """`Planner.plan` by the laws of recorded runs.

    Args:
        runs_path: as for `runs.table`.
        compute, interactions, hours, money, size, machine: as for `Planner.plan`.
        dataset, grids: as for `read`.
        form, n_resamples, seed: as for `Planner.fit`.
    """
    planner = Planner.fit(*read(runs_path, dataset, grids), form=form, n_resamples=n_resamples, seed=seed)
    return planner.plan(compute, interactions, hours=hours, money=money, size=size, machine=machine)


def data_end(unique: Allocation, targets: float) -> float:
    """Compute at which D* reaches an amount of unique targets; infinite where D* hardly grows.

    Args:
        unique: D* of unique targets.
        targets: the amount, positive.

    >>> data_end(Allocation("isoflop", {"k_N": 1.0, "a": 0.5, "k_D": 2.0, "b": 0.5}, pd.DataFrame(), 2, 1.0), 2e6)
    1000000000000.0
    """
    k, b = unique.params["k_D"], unique.params["b"]
    grows = b > 1 / 30 and math.log10(targets / k) / b < sys.float_info.max_10_exp
    return (targets / k) ** (1 / b) if grows else math.inf


def _outside(name: str, value: float, limits: tuple[float, float]) -> str:
    low, high = limits
    if value > high * (1 + ROUNDING):
        return f"{name} above the runs' {high:.3g}"
    return f"{name} below the runs' {low:.3g}" if value < low * (1 - ROUNDING) else ""


def _refuse(ndcg: Array, C: Array) -> None:
    for value, flops in zip(ndcg, C, strict=True):
        if not 0 <= value <= 1:
            raise ValueError(f"the laws give {value:.4g} at {flops:.3g} FLOPs, outside [0, 1]: they do not hold there")
