"""What else predicts quality: properties of the data, such as its entropy, beside the sizes of model and data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from srtlib.laws.columns import RUNS, Columns
from srtlib.laws.comparison import below_top_decade, require_runs
from srtlib.laws.fitting import fit
from srtlib.laws.frontiers import check_table

LEAST = 4  # parts: one is left out, and a line through two is no finding


def compare_covariates(
    table: pd.DataFrame,
    parts: pd.DataFrame,
    covariates: Sequence[str],
    columns: Columns = RUNS,
    prefix: str = "test_part_",
) -> pd.DataFrame:
    """Does a property of a part of the data predict the quality on it, beyond what N and D predict for all parts?

    The additive power law of the mean over parts is fitted to the runs below the top decade of compute, and so is, part
    by part left out, a line that turns the property into the ratio of a part's quality to that mean. Both are tried on
    the runs of the top decade and the part left out: runs and part that were not fitted.

    Args:
        table: one row per run, as from `runs.table`, with a column of quality for each part.
        parts: one row per part: `part`, and the covariates.
        covariates: columns of `parts`.
        columns: those of the runs; `quality` is not needed.
        prefix: what a part's column of quality begins with, before the part's name.

    Returns:
        One row per covariate and one for none, the best first: `covariate`, `rmse_held_out` (in units of quality) and
        `correlation` (Spearman's, of the covariate and a part's mean quality over all runs; uncertain, of few parts).

    Raises ValueError for a part without a column, for fewer than four parts, and where all runs lie within one decade.
    """
    names = [prefix + str(part) for part in parts["part"]]
    check_table(table, names, (columns.size, columns.data, columns.compute))
    check_table(parts, tuple(covariates))
    if len(parts) < LEAST:
        raise ValueError(
            f"{len(parts)} parts are too few to leave one out and draw a line through the others; "
            f"expected at least {LEAST}"
        )
    below = below_top_decade(table, columns.compute)
    require_runs(("additive_power",), int(below.sum()), len(below), columns.compute)
    quality, fitted = table[names].to_numpy(float), below.to_numpy()
    mean = quality.mean(1)
    N, D = table[columns.size].to_numpy(float), table[columns.data].to_numpy(float)
    law = fit("additive_power", y=mean[fitted], N=N[fitted], D=D[fitted], metric=True)
    ratio = (quality[fitted] / mean[fitted, None]).mean(0)
    expected = law.predict(N=N[~fitted], D=D[~fitted])
    rows = []
    for covariate in ("none", *covariates):
        values = np.zeros(len(parts)) if covariate == "none" else parts[covariate].to_numpy(float)
        guess = np.array([_left_out(values, ratio, part) for part in range(len(parts))])
        error = expected[:, None] * guess - quality[~fitted]
        correlation = np.nan if covariate == "none" else pd.Series(values).corr(pd.Series(quality.mean(0)), "spearman")
        rows.append([covariate, np.sqrt((error**2).mean()), correlation])
    found = pd.DataFrame(rows, columns=["covariate", "rmse_held_out", "correlation"])
    return found.sort_values("rmse_held_out", ignore_index=True)


def _left_out(values: np.ndarray, ratio: np.ndarray, part: int) -> float:
    """The ratio at one part by a line through the others (their mean, where the values do not differ)."""
    others = np.arange(len(values)) != part
    x, y = values[others], ratio[others]
    centred = x - x.mean()
    slope = centred @ y / (centred @ centred) if centred.any() else 0.0
    return float(y.mean() + slope * (values[part] - x.mean()))
