"""What compute and what data buy: the paper's two performance estimators, fitted on any table of runs.

`ComputeEstimator` turns a budget into NDCG, model size and data; `DataEstimator` turns an amount of interactions into
NDCG, the model size that suffices and the price of the next gain. Both carry intervals, are saved as JSON, flag what
lies more than a decade beyond their runs, and refuse what no NDCG can be.

>>> import numpy as np
>>> curves = pd.DataFrame([{"run_id": n, "flops": 6.0 * n * d, "params_total": n, "targets_seen": d, "epochs": 1,
...                         "valid_ndcg@5": 0.2 - 8 / n**0.35 - 5 / d**0.3}
...                        for n in np.geomspace(1e5, 1e8, 7) for d in np.geomspace(1e6, 1e9, 9)])
>>> estimator = ComputeEstimator.fit(curves[curves["valid_ndcg@5"] > 0], form="sigmoid", n_resamples=20)
>>> float(estimator.predict(1e15)["ndcg"].round(3)[0])
0.137
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from srtlib import laws, runs
from srtlib.laws import comparison
from srtlib.laws.allocation import Allocation, allocate
from srtlib.laws.fitting import Law
from srtlib.laws.forms import Array
from srtlib.laws.frontiers import check_table, frontier
from srtlib.paths import write_text
from srtlib.runs.published import COMPUTE_LAW, DATA_LAW

COMPUTE_FORMS = ("log_linear", "power", "saturating_power", "sigmoid")
DATA_FORMS = ("additive_power", "additive_power_log_data")
DECADES = 1.0  # how far beyond its runs an estimator speaks without a flag
PICKING = 100  # resamples behind the bands of forms that are only compared
ENOUGH = 1e-3  # NDCG; a model is large enough when twice its size gains less


@dataclass(frozen=True)
class Machine:
    """What turns FLOPs into hours and money; the default is an A100 (BF16) at an assumed 30% and 2 per hour.

    peak: FLOP/s of one accelerator; utilisation: share of it that training reaches; price: currency per hour.

    >>> round(Machine().hours(1e18), 2)
    2.97
    """

    peak: float = 312e12
    utilisation: float = 0.3
    price: float = 2.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} of a machine is {value}; expected a positive number")
        if self.utilisation > 1:
            raise ValueError(f"utilisation of a machine is {self.utilisation}; expected a share of at most 1")

    def hours(self, flops: Any) -> Any:
        """GPU-hours that `flops` take."""
        return flops / (self.peak * self.utilisation * 3600)

    def flops(self, hours: Any) -> Any:
        """FLOPs that GPU-hours buy."""
        return hours * self.peak * self.utilisation * 3600


@dataclass
class ComputeEstimator:
    """Budget -> NDCG, N*, D*, tokens, hours.

    `law` is the law of the frontier, `allocation` that of N* and of targets seen. `compute` names the column in which
    FLOPs were counted and `exact` is the number of exact FLOPs to one of those (NaN where runs do not tell), which
    hours and money rest on. `epochs` is how often the frontier's runs saw each target. `forms` is the table that
    picked the form, empty where it was given.
    """

    law: Law
    allocation: Allocation
    compute: str
    quality: str
    size: str
    epochs: float
    exact: float
    forms: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def fit(
        cls,
        curves: pd.DataFrame,
        *,
        form: str | None = None,
        approach: str = "envelope",
        compute: str = "flops",
        quality: str = "valid_ndcg@5",
        size: str = "params_total",
        n_resamples: int = 1000,
        seed: int = 0,
    ) -> ComputeEstimator:
        """Fit to learning curves, one row per evaluation as from `runs.curves`.

        form: of `COMPUTE_FORMS`; None takes the one that predicts the top decade of compute best, fitted below it
        (`compare_forms`). approach: how N* and D* are found, see `optimal`. Also needed: targets_seen, epochs.

        Raises ValueError for a missing column and for too few runs.
        """
        check_table(curves, ("run_id", compute, quality, size, "targets_seen", "epochs"))
        columns: dict[str, Any] = {"x": compute, "y": quality, "seed": seed}
        table = pd.DataFrame() if form else compare_forms(curves, n_resamples=PICKING, **columns)
        columns["n_resamples"] = n_resamples
        law = laws.fit_frontier(form or table["form"][0], curves, **columns)
        allocation = allocate(approach, curves, size=size, **columns)
        known = "flops" in curves and curves["flops"].notna().all()
        exact = float((curves["flops"] / curves[compute]).median()) if known else math.nan
        epochs = float(frontier(curves[["run_id", "epochs", compute, quality]], compute, quality)["epochs"].median())
        return cls(law, allocation, compute, quality, size, epochs, exact, _records(table))

    def predict(
        self,
        flops: npt.ArrayLike | None = None,
        *,
        hours: npt.ArrayLike | None = None,
        money: npt.ArrayLike | None = None,
        machine: Machine | None = None,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """One row per budget, given in FLOPs (counted as `compute` says), GPU-hours or money.

        Columns: `flops`; `ndcg` with `low` and `high`; `N`, `N_low`, `N_high`; `D`, the training targets in the data,
        with `D_low` and `D_high`; `tokens`, the targets seen, D x epochs; `hours` and `money` on `machine` (NaN where
        exact FLOPs are not known); `beyond`, decades outside the runs, and `extrapolated` where that is more than one.

        Raises ValueError unless exactly one budget is given, and where the form leaves [0, 1].
        """
        machine = machine or Machine()
        C = self._budget(flops, hours, money, machine)
        ndcg = np.atleast_1d(self.law.predict(C=C))
        _check_range(self.law, ndcg, [f"{c:.3g} FLOPs" for c in C])
        low, high = np.clip(self.law.band(level, C=C), 0, 1)
        N, tokens = self.allocation.predict(C)
        (n_low, n_high), (t_low, t_high) = self.allocation.band(C, level)
        beyond = _decades_beyond(self.law.ranges["C"], C)
        took = machine.hours(C * self.exact)
        columns = {"flops": C, "ndcg": ndcg, "low": low, "high": high, "N": N, "N_low": n_low, "N_high": n_high}
        columns |= {"D": tokens / self.epochs, "D_low": t_low / self.epochs, "D_high": t_high / self.epochs}
        columns |= {"tokens": tokens, "hours": took, "money": took * machine.price}
        return pd.DataFrame(columns | {"beyond": beyond, "extrapolated": beyond > DECADES})

    def _budget(self, flops: Any, hours: Any, money: Any, machine: Machine) -> Array:
        given = {"flops": flops, "hours": hours, "money": money}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            raise ValueError(f"a budget is one of flops, hours and money; given were {', '.join(given) or 'none'}")
        ((name, value),) = given.items()
        amount = _positive(name, value)
        if name == "flops":
            return amount
        if math.isnan(self.exact):
            raise ValueError(f"a budget in {name} needs exact FLOPs, which these runs do not tell; give it in flops")
        return machine.flops(amount / machine.price if name == "money" else amount) / self.exact

    def save(self, path: Path | str) -> None:
        """Write as JSON."""
        _save(path, vars(self) | {"law": self.law.to_dict(), "allocation": self.allocation.to_dict()})

    @classmethod
    def load(cls, path: Path | str) -> ComputeEstimator:
        """Read what `save` wrote."""
        data = _load(path, cls)
        parts = {"law": Law.from_dict(data["law"]), "allocation": Allocation.from_dict(data["allocation"])}
        return cls(**{**data, **parts})


@dataclass
class DataEstimator:
    """Interactions (and model size) -> NDCG, the size that suffices, and what the next gain costs in data.

    `law` is a law of N and D; `data` names the column that D counts, `size` that of N.
    """

    law: Law
    data: str
    quality: str
    size: str
    forms: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        *,
        form: str | None = None,
        data: str = "n_interactions",
        quality: str = "valid_ndcg@5",
        size: str = "params_total",
        compute: str = "flops",
        n_resamples: int = 1000,
        seed: int = 0,
    ) -> DataEstimator:
        """Fit to finished runs, one row per run as from `runs.table`.

        form: of `DATA_FORMS`; None takes the one that predicts the runs of the top decade of compute best, fitted to
        those below it (`compare_data_forms`).

        Raises ValueError for a missing column, one value of N or D, and too few runs.
        """
        check_table(table, (quality, size, data))
        columns: dict[str, Any] = {"data": data, "quality": quality, "size": size, "seed": seed}
        tried = pd.DataFrame() if form else compare_data_forms(table, compute=compute, n_resamples=PICKING, **columns)
        law = _data_law(form or tried["form"][0], table, n_resamples=n_resamples, **columns)
        return cls(law, data, quality, size, _records(tried))

    def predict(
        self, interactions: npt.ArrayLike, N: npt.ArrayLike | None = None, *, gain: float = 0.01, level: float = 0.95
    ) -> pd.DataFrame:
        """One row per amount of interactions (counted as `data` says).

        N: model size; default: `N_enough`, or the largest model of the runs where that is smaller. Columns: `D`; `N`;
        `ndcg` with `low` and `high`; `N_enough`, beyond which twice the size gains less than 0.001 (the same for every
        D: in these laws size and data do not interact), with its interval; `more`, the additional interactions that
        raise NDCG by `gain` (infinite where the law has no room left), with its interval; `beyond`, decades outside the
        runs in N or D, and `extrapolated` where that is more than one.

        Raises ValueError where the form leaves [0, 1].
        """
        D, ranges = _positive("interactions", interactions), self.law.ranges
        params = self.law.samples
        enough, spread = float(_enough(self.law.params)), _quantile(_enough(params), level)
        sizes = np.broadcast_to(min(enough, ranges["N"][1]) if N is None else _positive("N", N), D.shape)
        ndcg = np.atleast_1d(self.law.predict(N=sizes, D=D))
        _check_range(self.law, ndcg, [f"N = {n:.3g}, D = {d:.3g}" for n, d in zip(sizes, D, strict=True)])
        low, high = np.clip(self.law.band(level, N=sizes, D=D), 0, 1)
        more = np.array([_more(self.law.params, d, gain) for d in D])
        bands = np.array([_quantile(_more(params, d, gain), level) for d in D])
        beyond = np.maximum(_decades_beyond(ranges["N"], sizes), _decades_beyond(ranges["D"], D))
        columns = {"D": D, "N": sizes, "ndcg": ndcg, "low": low, "high": high}
        columns |= {"N_enough": enough, "N_enough_low": spread[0], "N_enough_high": spread[1]}
        columns |= {"more": more, "more_low": bands[:, 0], "more_high": bands[:, 1]}
        return pd.DataFrame(columns | {"beyond": beyond, "extrapolated": beyond > DECADES})

    def save(self, path: Path | str) -> None:
        """Write as JSON."""
        _save(path, vars(self) | {"law": self.law.to_dict()})

    @classmethod
    def load(cls, path: Path | str) -> DataEstimator:
        """Read what `save` wrote."""
        data = _load(path, cls)
        return cls(**{**data, "law": Law.from_dict(data["law"])})


# --- Which form? -------------------------------------------------------------------------------------


def compare_forms(
    curves: pd.DataFrame, forms: Sequence[str] = COMPUTE_FORMS, *, x: str = "flops", y: str = "valid_ndcg@5",
    n_resamples: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Forms of compute fitted below the top decade of compute and tried on the frontier in it, the best first.

    Columns as in `comparison.hold_out`. Raises ValueError where all runs lie within one decade.
    """
    below, full = _below_top_decade(curves, x), frontier(curves, x, y)
    beyond = full[full[x] > below[x].max()]
    fitted = [laws.fit_frontier(form, below, x=x, y=y, n_resamples=n_resamples, seed=seed) for form in forms]
    return comparison.hold_out(fitted, y=beyond[y], C=beyond[x])


def compare_data_forms(
    table: pd.DataFrame, forms: Sequence[str] = DATA_FORMS, *, compute: str = "flops", data: str = "n_interactions",
    quality: str = "valid_ndcg@5", size: str = "params_total", n_resamples: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Forms of N and D fitted to runs below the top decade of compute and tried on those in it, the best first."""
    below = _below_top_decade(table, compute)
    beyond = table[table[compute] > below[compute].max()]
    columns: dict[str, Any] = {"data": data, "quality": quality, "size": size, "n_resamples": n_resamples, "seed": seed}
    fitted = [_data_law(form, below, **columns) for form in forms]
    return comparison.hold_out(fitted, y=beyond[quality], N=beyond[size], D=beyond[data])


def _below_top_decade(table: pd.DataFrame, x: str) -> pd.DataFrame:
    check_table(table, (x,))
    below = table[table[x] <= table[x].max() / 10]
    if below.empty:
        raise ValueError(f"all runs lie within one decade of {x}: no form can be tried on a decade held out; name one")
    return below


def _data_law(
    form: str, table: pd.DataFrame, *, data: str, quality: str, size: str, n_resamples: int, seed: int
) -> Law:
    if form not in DATA_FORMS:
        raise ValueError(f"form {form!r} is no law of size and data; expected one of {', '.join(DATA_FORMS)}")
    sampling: dict[str, Any] = {"n_resamples": n_resamples, "seed": seed}
    return laws.fit(form, y=table[quality], N=table[size], D=table[data], metric=True, **sampling)


# --- Planning ----------------------------------------------------------------------------------------


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
        size: number of parameters, with `interactions`.
        dataset: runs on the data sets whose names start so; needed where the store holds several.
        form: of the law; default: the one that predicts the top decade of compute best.

    Returns one row per budget or amount, as `ComputeEstimator.predict` or `DataEstimator.predict` does, and the law's
    `form`. Raises ValueError unless one of the four is given, and where the estimators do.
    """
    given = [v is not None for v in (compute, hours, money, interactions)]
    if sum(given) != 1:
        raise ValueError("a plan needs exactly one of compute, hours, money and interactions")
    table = one_family(runs.table(runs_path), dataset)
    common: dict[str, Any] = {"compute": compute_column(table), "form": form, "n_resamples": n_resamples, "seed": seed}
    estimator: ComputeEstimator | DataEstimator
    if interactions is not None:
        estimator = DataEstimator.fit(table, **common)
        return estimator.predict(interactions, size).assign(form=estimator.law.form)
    estimator = ComputeEstimator.fit(one_family(runs.curves(runs_path), dataset), **common)
    return estimator.predict(compute, hours=hours, money=money, machine=machine).assign(form=estimator.law.form)


def one_family(table: pd.DataFrame, dataset: str | None = None) -> pd.DataFrame:
    """The rows of one data set (or of samples of it, named <data set>-<size>); raises ValueError if there are several.

    >>> one_family(pd.DataFrame({"dataset": ["amazon-1M", "amazon-5M", "toys"]}), "amazon")["dataset"].tolist()
    ['amazon-1M', 'amazon-5M']
    """
    names = sorted(set(table["dataset"].dropna()))
    if dataset is not None:
        table = table[table["dataset"].fillna("").str.startswith(dataset)]
    elif len({name.partition("-")[0] for name in names}) > 1:
        raise ValueError(f"the runs are on several data sets; choose one of {', '.join(names)}")
    if table.empty:
        raise ValueError(f"no run on a data set {dataset!r}; there are {', '.join(names) or 'none'}")
    return table.reset_index(drop=True)


def compute_column(table: pd.DataFrame) -> str:
    """The column in which the runs' compute is known: exact FLOPs, else the paper's count."""
    check_table(table, ())
    return "flops" if "flops" in table and table["flops"].notna().all() else "flops_paper"


# --- The planner page --------------------------------------------------------------------------------


def fit_pair(
    runs_path: Path | str, dataset: str | None = None, n_resamples: int = 500, seed: int = 0
) -> tuple[ComputeEstimator, DataEstimator]:
    """Both estimators fitted to recorded runs, the second on training targets; `dataset` as for `plan`."""
    table = one_family(runs.table(runs_path), dataset)
    common: dict[str, Any] = {"compute": compute_column(table), "n_resamples": n_resamples, "seed": seed}
    by_compute = ComputeEstimator.fit(one_family(runs.curves(runs_path), dataset), **common)
    return by_compute, DataEstimator.fit(table, data="n_targets", **common)


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
    """Write the estimators, by the name that the page shows, as the script that the planner page loads.

    n: resamples that are kept of each law, from which the page draws its bands. The page of the book is written by::

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
            "compute": _for_page(by_compute.law, n) | {"unit": by_compute.compute, "epochs": by_compute.epochs},
            "allocation": {
                "params": list(by_compute.allocation.params.values()),
                "samples": _thin(by_compute.allocation.samples, n),
            },
            "data": _for_page(by_data.law, n) | {"unit": by_data.data},
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


# --- Shared ------------------------------------------------------------------------------------------


def _enough(p: Any) -> Any:
    """N at which twice the size gains ENOUGH: A N^-alpha (1 - 2^-alpha) = ENOUGH."""
    with np.errstate(over="ignore"):
        return (p["A"] * (1 - 2.0 ** -p["alpha"]) / ENOUGH) ** (1 / p["alpha"])


def _more(p: Any, D: float, gain: float) -> Any:
    """Additional data that raise the metric by `gain`; infinite where the law cannot."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        if "beta" not in p:
            return np.where(p["B"] > 0, D * np.expm1(gain / p["B"]), np.inf)
        left = np.asarray(p["B"] * D ** -p["beta"] - gain)
        return np.where(left > 0, (np.maximum(left, 0) / p["B"]) ** (-1 / p["beta"]) - D, np.inf)


def _quantile(values: npt.ArrayLike, level: float) -> Array:
    tails = (1 - level) / 2, (1 + level) / 2
    return np.quantile(np.asarray(values, dtype=float), tails, method="nearest")  # infinite values stay


def _positive(name: str, values: npt.ArrayLike) -> Array:
    amounts = np.atleast_1d(np.asarray(values, dtype=float))
    if not (np.isfinite(amounts) & (amounts > 0)).all():
        raise ValueError(f"{name} is {values!r}; expected positive, finite numbers")
    return amounts


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
    write_text(Path(path), json.dumps(data))


def _load(path: Path | str, kind: type) -> dict[str, Any]:
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    expected = {f.name for f in fields(kind)}
    if not isinstance(data, dict) or set(data) != expected:
        raise ValueError(f"{path} holds no {kind.__name__}: expected the keys {', '.join(sorted(expected))}")
    return data
