"""May such laws be trusted? Each decade of compute, or of data, predicted from what lies below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from srtlib.laws.columns import CURVES, RUNS, Columns
from srtlib.laws.comparison import COMPUTE_FORMS, DATA_FORMS, fit_data_law
from srtlib.laws.fitting import fit_frontier
from srtlib.laws.frontiers import check_table, frontier
from srtlib.laws.law import Law
from srtlib.runs.intervals import check_resamples

POINTS = 10  # of the frontier, evenly in ln compute, that a decade is judged on
NEAR = 1.1  # samples of users come this near to the size that was asked for: less above a decade's edge is on it


def compute_rollout(
    curves: pd.DataFrame,
    columns: Columns = CURVES,
    forms: Sequence[str] = COMPUTE_FORMS,
    *,
    metric: bool = True,
    n_resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Forms of compute fitted below each decade of compute, and tried on the frontier within it.

    Decades are counted down from the largest compute. A law is fitted to the curves as far as the decade's start: it
    sees neither longer runs nor how the shorter ones went on.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        columns: its columns.
        forms: names of `FORMS` that need compute only.
        metric: True when larger is better, False for a loss.
        n_resamples: of the bootstrap behind the bands.
        seed: of that bootstrap.

    Returns:
        One row per decade, form and point: `start` (compute where the decade begins), `form`, compute, `observed`,
        `predicted`, `low`, `high` (95% band of the law); NaN predictions where the form could not be fitted, and
        `reason` says why.

    Raises ValueError where all runs lie within one decade.
    """
    x, y = columns.compute, columns.quality
    check_table(curves, (y,), (x,))
    check_resamples(n_resamples)
    whole = frontier(curves, columns, metric)

    def decade(start: float, end: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        grid = np.geomspace(start, end, POINTS + 1)[1:]
        observed = np.interp(np.log(grid), np.log(whole[x]), whole[y])
        return curves[curves[x] <= start], pd.DataFrame({x: grid, "observed": observed})

    def law(form: str, below: pd.DataFrame) -> Law:
        return fit_frontier(form, below, columns, metric=metric, n_resamples=n_resamples, seed=seed)

    return _rollout(forms, _starts(curves[x]), decade, law, {"C": x})


def data_rollout(
    table: pd.DataFrame,
    columns: Columns = RUNS,
    forms: Sequence[str] = DATA_FORMS,
    *,
    metric: bool = True,
    n_resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Forms of N and D fitted to the runs below each decade of data, and tried on the runs within it.

    A run on the decade's edge, or up to a tenth above it, lies below: sizes of samples are not met exactly.

    Args:
        table: one row per run, as from `runs.table`.
        columns: its columns.
        forms: of `DATA_FORMS`.
        metric: True when larger is better, False for a loss.
        n_resamples: of the bootstrap behind the bands.
        seed: of that bootstrap.

    Returns:
        As `compute_rollout`, one row per decade, form and run, with size and data in place of compute.

    Raises ValueError where all runs lie within one decade.
    """
    size, x, y = columns.size, columns.data, columns.quality
    check_table(table, (y,), (size, x))
    check_resamples(n_resamples)

    def decade(start: float, end: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        inside = table[(table[x] > start * NEAR) & (table[x] <= end * NEAR)]
        return table[table[x] <= start * NEAR], inside[[size, x, y]].rename(columns={y: "observed"})

    def law(form: str, below: pd.DataFrame) -> Law:
        return fit_data_law(form, below, columns, metric=metric, n_resamples=n_resamples, seed=seed)

    return _rollout(forms, _starts(table[x]), decade, law, {"N": size, "D": x})


def summarise(points: pd.DataFrame) -> pd.DataFrame:
    """How far each form was off in each decade.

    Args:
        points: as from `compute_rollout` or `data_rollout`.

    Returns:
        One row per decade and form: `start`, `form`, `points`, `error` (root mean square of predicted / observed - 1),
        `bias` (mean of the same), `rmse` (of predicted - observed, in units of quality), `coverage` (share of the
        points inside the law's 95% band, which holds the uncertainty of the law and not the noise of a run) and
        `reason` where the form could not be fitted.
    """

    def row(part: pd.DataFrame) -> pd.Series:
        off = part["predicted"] / part["observed"] - 1
        inside = (part["low"] <= part["observed"]) & (part["observed"] <= part["high"])
        return pd.Series(
            {
                "points": len(part),
                "error": np.sqrt((off**2).mean()),
                "bias": off.mean(),
                "rmse": np.sqrt(((part["predicted"] - part["observed"]) ** 2).mean()),
                "coverage": inside.mean() if off.notna().all() else np.nan,
                "reason": part["reason"].iloc[0],
            }
        )

    grouped = points.groupby(["start", "form"], sort=False)[["predicted", "observed", "low", "high", "reason"]]
    return grouped.apply(row).reset_index()


def _starts(values: pd.Series) -> list[float]:
    """Where the decades below the largest value begin, ascending, as long as something lies below."""
    n = int(np.ceil(np.log10(values.max() / values.min()) - 1e-9)) - 1
    if n < 1:
        raise ValueError(f"all runs lie within one decade of {values.name}: no decade can be predicted from below")
    return [float(values.max() / 10**i) for i in range(n, 0, -1)]


def _rollout(
    forms: Sequence[str],
    starts: Sequence[float],
    decade: Callable[[float, float], tuple[pd.DataFrame, pd.DataFrame]],
    law: Callable[[str, pd.DataFrame], Law],
    inputs: dict[str, str],
) -> pd.DataFrame:
    parts = []
    for start in starts:
        below, inside = decade(start, 10 * start)
        for form in forms:
            found = inside.assign(start=start, form=form, predicted=np.nan, low=np.nan, high=np.nan, reason="")
            try:
                fitted = law(form, below)
                given: dict[str, Any] = {letter: inside[name].to_numpy(float) for letter, name in inputs.items()}
                low, high = fitted.band(**given)
                found = found.assign(predicted=fitted.predict(**given), low=low, high=high)
            except ValueError as error:
                found["reason"] = str(error)
            parts.append(found)
    return pd.concat(parts, ignore_index=True)
