"""Fitted laws judged: beside published coefficients, and forms by what they predict on runs held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from srtlib.laws.columns import CURVES, RUNS, Columns
from srtlib.laws.fitting import fit, fit_frontier
from srtlib.laws.frontiers import check_table, frontier
from srtlib.laws.law import Law, form_named

COMPUTE_FORMS = ("log_linear", "power", "saturating_power", "sigmoid")
DATA_FORMS = ("additive_power", "additive_power_log_data")
PLANNING_FORMS = (*DATA_FORMS, "product_power")  # where size and data multiply, no sum of their terms is right


def coefficients(laws: Mapping[str, Law], published: Mapping[str, float], level: float = 0.95) -> pd.DataFrame:
    """Published and fitted coefficients side by side.

    Args:
        laws: by the name that the table calls them.
        published: coefficients by parameter; NaN stands for a law that has other parameters, since equal letters of
            two forms do not mean the same.
        level: of the intervals.

    Returns:
        One row per law and parameter: `law`, `parameter`, `published`, `fitted`, `low`, `high` (percentile interval of
        the bootstrap), `at_bound` (where it is true, the fit ended at the edge of the search, and the value is not a
        finding) and `converged`, the share of the law's resamples that did.
    """
    rows = []
    for name, law in laws.items():
        known = published if law.params.keys() == published.keys() else {}
        for parameter, value in law.params.items():
            low, high = law.interval(parameter, level)
            row = {"law": name, "parameter": parameter, "published": known.get(parameter, np.nan)}
            rows.append({**row, "fitted": value, "low": low, "high": high, "at_bound": parameter in law.at_bound})
            rows[-1]["converged"] = law.share_converged
    return pd.DataFrame(rows)


def predictions(laws: Mapping[str, Law], level: float = 0.95, **inputs: Any) -> pd.DataFrame:
    """What laws predict, with the bootstrap's band.

    Args:
        laws: by the name that the table calls them.
        level: of the band.
        inputs: the points, such as C=grid (n,).

    Returns:
        One row per law and point: `estimator` (the law's name), the inputs by their letters, `predicted`, `low`,
        `high`.
    """
    parts = []
    for name, law in laws.items():
        low, high = law.band(level, **inputs)
        values = {**inputs, "predicted": law.predict(**inputs), "low": low, "high": high}
        parts.append(pd.DataFrame({"estimator": name, **values}))
    return pd.concat(parts, ignore_index=True)


def hold_out(laws: Sequence[Law], y: npt.ArrayLike, level: float = 0.95, **inputs: Any) -> pd.DataFrame:
    """Error of laws on points that were not fitted, the best first.

    Args:
        laws: fitted to other points.
        y: what was observed, (n,).
        level: of the bootstrap's band.
        inputs: where it was observed, such as C=..., or N=... and D=..., (n,) each.

    Returns:
        One row per law: `form`; `rmse` on the fitted points; `rmse_held_out`; `bias`, the mean of predicted - observed;
        `coverage`, the share of points inside the band, which holds the uncertainty of the law but not the noise of one
        point; `at_bound`, the parameters that ended at the edge of the search.

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


def compare_forms(
    curves: pd.DataFrame,
    columns: Columns = CURVES,
    forms: Sequence[str] = COMPUTE_FORMS,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Forms of compute fitted below the top decade of compute and tried on the frontier in it, the best first.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        columns: its columns.
        forms: names of `FORMS` that need compute only.
        n_resamples: of the bootstrap behind the bands.
        seed: of that bootstrap.

    Returns:
        The table of `hold_out`.

    Raises ValueError where all runs lie within one decade, and where too few lie below the top one.
    """
    below, full = curves[below_top_decade(curves, columns.compute)], frontier(curves, columns)
    require_runs(forms, below[columns.run].nunique(), curves[columns.run].nunique(), columns.compute)
    beyond = full[full[columns.compute] > below[columns.compute].max()]
    fitted = [fit_frontier(form, below, columns, n_resamples=n_resamples, seed=seed) for form in forms]
    return hold_out(fitted, y=beyond[columns.quality], C=beyond[columns.compute])


def compare_data_forms(
    table: pd.DataFrame,
    columns: Columns = RUNS,
    forms: Sequence[str] = DATA_FORMS,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Forms of N and D fitted to runs below the top decade of compute and tried on those in it, the best first.

    Args:
        table: one row per run, as from `runs.table`.
        columns: its columns.
        forms: of `DATA_FORMS`.
        n_resamples: of the bootstrap behind the bands.
        seed: of that bootstrap.

    Returns:
        The table of `hold_out`.

    Raises ValueError where all runs lie within one decade, and where too few lie below the top one.
    """
    fitted_to = below_top_decade(table, columns.compute)
    below, beyond = table[fitted_to], table[~fitted_to]
    require_runs(forms, len(below), len(table), columns.compute)
    fitted = [fit_data_law(form, below, columns, n_resamples=n_resamples, seed=seed) for form in forms]
    return hold_out(fitted, y=beyond[columns.quality], N=beyond[columns.size], D=beyond[columns.data])


def compare_sizes(
    table: pd.DataFrame,
    columns: Columns = RUNS,
    blocks: str = "params_non_embedding",
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Does it predict better to tell the parameters of the text table from those of the blocks?

    Args:
        table: one row per run, as from `runs.table`.
        columns: its columns.
        blocks: parameters outside the text table; the table's are all others.
        n_resamples: of the bootstrap behind the bands.
        seed: of that bootstrap.

    Returns:
        The table of `hold_out` for laws fitted below the top decade of compute and tried on it, with what they call
        `size`: all parameters, either part alone, or both parts by a power each (`split_power`).

    Raises ValueError where all runs lie within one decade, and where too few lie below the top one.
    """
    check_table(table, (columns.quality,), (columns.compute, columns.size, columns.data, blocks))
    sizes = table[columns.size].astype(float)
    parts = table.assign(N=sizes, blocks=table[blocks].astype(float), text=sizes - table[blocks])
    below = below_top_decade(parts, columns.compute)
    require_runs(("additive_power", "split_power"), int(below.sum()), len(below), columns.compute)
    rows = []
    for size, form, names in (
        ("all parameters", "additive_power", {"N": "N"}),
        ("blocks", "additive_power", {"N": "blocks"}),
        ("text table", "additive_power", {"N": "text"}),
        ("blocks and text table", "split_power", {"N": "blocks", "T": "text"}),
    ):
        inputs: Any = {letter: parts[name] for letter, name in {**names, "D": columns.data}.items()}
        fitted = {letter: values[below] for letter, values in inputs.items()}
        y = parts[columns.quality]
        law = fit(form, y=y[below], metric=True, n_resamples=n_resamples, seed=seed, **fitted)
        tried = {letter: values[~below] for letter, values in inputs.items()}
        rows.append(hold_out([law], y=y[~below], **tried).assign(size=size))
    found = pd.concat(rows).sort_values("rmse_held_out", ignore_index=True)
    return found[["size", *found.columns.drop("size")]]


def fit_data_law(
    form: str,
    table: pd.DataFrame,
    columns: Columns = RUNS,
    *,
    metric: bool = True,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Law:
    """A law of N and D fitted to finished runs.

    Args:
        form: one of `PLANNING_FORMS`, else ValueError is raised.
        table: one row per run, as from `runs.table`.
        columns: its columns.
        metric: True when larger is better, False for a loss.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    if form not in PLANNING_FORMS:
        raise ValueError(f"form {form!r} is no law of size and data; expected one of {', '.join(PLANNING_FORMS)}")
    check_table(table, (columns.quality,), (columns.size, columns.data))
    y, N, D = (table[column] for column in (columns.quality, columns.size, columns.data))
    return fit(form, y=y, N=N, D=D, metric=metric, n_resamples=n_resamples, seed=seed)


def below_top_decade(table: pd.DataFrame, compute: str) -> pd.Series:
    """Which rows spent at most a tenth of the most that any did.

    Args:
        table: of runs, or evaluations.
        compute: a column.

    Raises ValueError where none did: all runs lie within one decade.
    """
    check_table(table, (), (compute,))
    below = table[compute] <= table[compute].max() / 10
    if not below.any():
        raise ValueError(
            f"all runs lie within one decade of {compute}: no form can be tried on a decade held out; "
            "expected runs over more, or the name of a form"
        )
    return below


def require_runs(forms: Sequence[str], n_below: int, n_runs: int, compute: str) -> None:
    """Refuse to try forms on the top decade of compute where too few runs lie below it to fit them.

    Args:
        forms: names of `FORMS`.
        n_below: runs below the top decade.
        n_runs: all of them.
        compute: the column.

    Raises ValueError that says how many are needed.
    """
    name, least = max(((form, len(form_named(form).params)) for form in forms), key=lambda pair: pair[1])
    if n_below < least:
        raise ValueError(
            f"{n_below} of {n_runs} runs lie below the top decade of {compute}, on which forms are tried; "
            f"expected at least {least}, for the parameters of {name}, or the name of a form"
        )
