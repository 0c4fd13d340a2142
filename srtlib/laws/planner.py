"""Plans from recorded runs, and the planner page: what a budget or an amount of data buys, by both estimators."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from srtlib import runs
from srtlib.laws.columns import RUNS, Columns
from srtlib.laws.estimators import ENOUGH, ComputeEstimator, DataEstimator, Machine
from srtlib.laws.law import Law
from srtlib.paths import write_text
from srtlib.runs.published import COMPUTE_LAW, DATA_LAW


def plan(
    runs_path: Path | str,
    compute: npt.ArrayLike | None = None,
    interactions: npt.ArrayLike | None = None,
    *,
    hours: npt.ArrayLike | None = None,
    money: npt.ArrayLike | None = None,
    size: npt.ArrayLike | None = None,
    dataset: str | None = None,
    form: str | None = None,
    machine: Machine | None = None,
    n_resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """What a budget (`compute` FLOPs, GPU-`hours` or `money`) or an amount of `interactions` buys, by recorded runs.

    Args:
        runs_path: as for `runs.table`.
        compute: FLOPs, counted as the runs are: exactly, or else the paper's way.
        interactions: unique interactions in the data.
        hours: GPU-hours.
        money: in the currency of `machine`.
        size: number of parameters, with `interactions`.
        dataset: runs on the data sets whose names start so; needed where the store holds several.
        form: of the law; default: the one that predicts the top decade of compute best.
        machine: what FLOPs cost; default: `Machine()`.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        One row per budget or amount, as from `ComputeEstimator.predict` or `DataEstimator.predict`, the law's `form`
        and, for a budget, the approaches behind N and D as `allocation`.

    Raises ValueError unless one of the four is given, and where the estimators do.
    """
    given = [v is not None for v in (compute, hours, money, interactions)]
    if sum(given) != 1:
        raise ValueError("a plan needs exactly one of compute, hours, money and interactions")
    table, curves = runs.study(runs_path, dataset)
    compute_by = runs.compute_column(table)
    common: dict[str, Any] = {"form": form, "n_resamples": n_resamples, "seed": seed}
    estimator: ComputeEstimator | DataEstimator
    if interactions is not None:
        estimator = DataEstimator.fit(table, replace(RUNS, compute=compute_by), **common)
        return estimator.predict(interactions, size).assign(form=estimator.law.form)
    estimator = ComputeEstimator.fit(curves, Columns(compute=compute_by), **common)
    found = estimator.predict(compute, hours=hours, money=money, machine=machine)
    return found.assign(form=estimator.law.form, allocation=estimator.allocation.approach)


def fit_pair(
    runs_path: Path | str, dataset: str | None = None, n_resamples: int = 500, seed: int = 0
) -> tuple[ComputeEstimator, DataEstimator]:
    """Both estimators fitted to recorded runs, the second on training targets.

    Args:
        runs_path: as for `runs.table`.
        dataset: as for `plan`.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    table, curves = runs.study(runs_path, dataset)
    columns = Columns(compute=runs.compute_column(table))
    sampling: dict[str, Any] = {"n_resamples": n_resamples, "seed": seed}
    by_data = DataEstimator.fit(table, replace(columns, data="n_targets"), **sampling)
    return ComputeEstimator.fit(curves, columns, **sampling), by_data


def with_published_laws(
    refitted: tuple[ComputeEstimator, DataEstimator],
) -> tuple[ComputeEstimator, DataEstimator]:
    """The estimators with the published coefficients, which have no intervals, in place of those refitted to the
    authors' runs; ranges and allocation stay."""
    by_compute, by_data = refitted
    compute_law = Law.given("sigmoid", COMPUTE_LAW, by_compute.law.ranges)
    data_law = Law.given("additive_power", DATA_LAW, by_data.law.ranges)
    return replace(by_compute, law=compute_law, forms=[]), replace(by_data, law=data_law, forms=[])


def write_planner(
    path: Path | str, estimators: Mapping[str, tuple[ComputeEstimator, DataEstimator]], n: int = 300
) -> None:
    """Write estimators as the script that the planner page loads.

    Args:
        path: of the script.
        estimators: by the name that the page shows.
        n: resamples that are kept of each law, from which the page draws its bands.

    The page of the book is written by::

        authors = fit_pair("published")
        write_planner("book/_static/planner/data.js", {
            "the authors' runs, published law": with_published_laws(authors),
            "the authors' runs, refitted": authors,
            "Amazon Beauty, size M": fit_pair("results/beauty_M"),
            "synthetic world, size S": fit_pair("out/runs", "synthetic"),
        })
    """
    models = [
        {
            "name": name,
            "compute": _for_page(by_compute.law, n) | {"unit": by_compute.columns.compute, "epochs": by_compute.epochs},
            "allocation": {
                "params": list(by_compute.allocation.params.values()),
                "samples": _thin(by_compute.allocation.samples, n),
            },
            "data": _for_page(by_data.law, n) | {"unit": by_data.columns.data},
        }
        for name, (by_compute, by_data) in estimators.items()
    ]
    text = json.dumps({"models": models, "enough": ENOUGH}, separators=(",", ":"), allow_nan=False)
    write_text(Path(path), f"window.PLANNER = {text};\n")


def _for_page(law: Law, n: int) -> dict[str, Any]:
    samples = _thin(law.samples.dropna(), n)
    out = {"form": law.form, "formula": law.formula, "params": list(law.params.values()), "samples": samples}
    return out | {"names": list(law.params), "ranges": law.ranges, "at_bound": list(law.at_bound)}


def _thin(samples: pd.DataFrame, n: int) -> list[list[float]]:
    rows: list[list[float]] = samples.iloc[:n].to_numpy(float).tolist()
    return [[float(format(value, ".9g")) for value in row] for row in rows]
