"""Tables of the book: fitted laws judged (beside published coefficients, on runs held out), and recorded benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from srtlib.laws.fitting import Law
from srtlib.paths import project_root

CONDITIONS = ("machine", "threads", "load", "python", "torch", "commit", "date")


def coefficients(laws: Mapping[str, Law], published: Mapping[str, float], level: float = 0.95) -> pd.DataFrame:
    """Published and fitted coefficients: one row per law and parameter.

    Columns: `law`, `parameter`, `published`, `fitted`, `low`, `high` (percentile interval of the bootstrap) and
    `at_bound`: where it is true, the fit ended at the edge of the search, and the value is not a finding.
    """
    rows = []
    for name, law in laws.items():
        for parameter, value in law.params.items():
            low, high = law.interval(parameter, level)
            row = {"law": name, "parameter": parameter, "published": published.get(parameter, np.nan)}
            rows.append({**row, "fitted": value, "low": low, "high": high, "at_bound": parameter in law.at_bound})
    return pd.DataFrame(rows)


def predictions(laws: Mapping[str, Law], level: float = 0.95, **inputs: Any) -> pd.DataFrame:
    """What laws predict at points such as C=grid (n,), with the bootstrap's band; one row per law and point.

    Columns: `estimator` (the law's key), the inputs by their letters, `predicted`, `low`, `high`.
    """
    parts = []
    for name, law in laws.items():
        low, high = law.band(level, **inputs)
        values = {**inputs, "predicted": law.predict(**inputs), "low": low, "high": high}
        parts.append(pd.DataFrame({"estimator": name, **values}))
    return pd.concat(parts, ignore_index=True)


def hold_out(laws: Sequence[Law], y: npt.ArrayLike, level: float = 0.95, **inputs: Any) -> pd.DataFrame:
    """Error of laws on points that were not fitted, the best first.

    `y` (n,) is what was observed at `inputs`, such as C=..., or N=... and D=... (n,). Columns: `form`; `rmse` on
    the fitted points; `rmse_held_out`; `bias`, the mean of predicted - observed; `coverage`, the share of points
    inside the bootstrap's band, which holds the uncertainty of the law but not the noise of one point.

    >>> from srtlib import laws
    >>> C = np.logspace(12, 16, 9)
    >>> law = laws.fit("log_linear", y=0.01 * np.log(C) - 0.2, C=C, metric=True)
    >>> hold_out([law], y=[0.01 * np.log(1e17) - 0.2], C=[1e17])["rmse_held_out"].round(6).tolist()
    [0.0]
    """
    observed = np.asarray(y, dtype=float)
    rows = []
    for law in laws:
        error = law.predict(**inputs) - observed
        low, high = law.band(level, **inputs)
        inside = (low <= observed) & (observed <= high)
        row = {"form": law.form, "rmse": law.rmse, "rmse_held_out": np.sqrt(np.mean(error**2))}
        rows.append({**row, "bias": error.mean(), "coverage": inside.mean(), "at_bound": ", ".join(law.at_bound)})
    return pd.DataFrame(rows).sort_values("rmse_held_out", ignore_index=True)


def benchmark(name: str, folder: str | Path = "") -> pd.DataFrame:
    """What benchmarks/`name`.py recorded, one row per measurement, without the conditions that its rows share.

    folder: of the JSON lines (default: benchmarks/results). Where nothing is recorded, the table says how to.

    >>> benchmark("nonsense").iloc[0, 0]
    'python benchmarks/nonsense.py records it'
    """
    path = _recorded(name, folder)
    if not path.is_file():
        return pd.DataFrame({"not measured yet": [f"python benchmarks/{name}.py records it"]})
    return pd.read_json(path, lines=True).drop(columns=[*CONDITIONS], errors="ignore")


def conditions(names: Sequence[str], folder: str | Path = "") -> pd.DataFrame:
    """Machine, threads, load, versions, commit and date of each benchmark that is recorded; columns: `CONDITIONS`."""
    paths = {name: _recorded(name, folder) for name in names}
    rows = {name: pd.read_json(path, lines=True).iloc[0] for name, path in paths.items() if path.is_file()}
    return pd.DataFrame(rows).T.reindex(columns=[*CONDITIONS]).rename_axis("benchmark")


def _recorded(name: str, folder: str | Path) -> Path:
    return Path(folder or project_root() / "benchmarks" / "results") / f"{name}.jsonl"


def over_seeds(table: pd.DataFrame, by: str | list[str], columns: Sequence[str], level: float = 0.95) -> pd.DataFrame:
    """Mean over the seeds of each group, and Student's interval of the first column's mean as `low` and `high`.

    One row per group, in the table's order: the group, `seeds`, `low`, `high` (NaN for a single seed), `columns`. The
    interval speaks of seeds (first weights, order of training), not of users.

    >>> runs = pd.DataFrame({"method": list("aab"), "ndcg": [1.0, 3.0, 5.0]})
    >>> over_seeds(runs, "method", ["ndcg"])["ndcg"].tolist()
    [2.0, 5.0]
    """
    grouped = table.groupby(by, sort=False)
    mean, first = grouped[list(columns)].mean(), grouped[columns[0]]
    n = first.size()
    half = stats.t.ppf((1 + level) / 2, np.maximum(n - 1, 1)) * first.std() / np.sqrt(n)
    bounds = {"seeds": n, "low": mean[columns[0]] - half, "high": mean[columns[0]] + half}
    return pd.concat([pd.DataFrame(bounds), mean], axis=1).reset_index()
