"""What a table of runs says: the best of each group, means over seeds, and the effect of one factor between runs equal
in the rest."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from srtlib.runs.intervals import tails


def best_runs(runs: pd.DataFrame, by: str | list[str] = "dataset", metric: str = "valid_ndcg@5") -> pd.DataFrame:
    """The best run of each group, groups in order of `n_targets`.

    Args:
        runs: one row per run, as from `runs.table`.
        by: the columns that make a group.
        metric: a column: larger is better.
    """
    return runs.loc[runs.groupby(by)[metric].idxmax()].sort_values("n_targets").reset_index(drop=True)


def paired_effects(
    runs: pd.DataFrame,
    factor: str,
    metric: str = "valid_ndcg@5_final",
    design: tuple[str, ...] = ("dataset", "d_model", "n_layers", "n_heads", "n_negatives"),
) -> pd.DataFrame:
    """Relative effect of each step of a factor between runs equal in the rest of the design.

    A step joins neighbouring levels (numbers) of the table ("8 to 16"); repeated runs are averaged first.

    Args:
        runs: one row per run, as from `runs.table`.
        factor: a column of numbers.
        metric: a column: larger is better.
        design: the columns in which a pair is equal, but for the factor.

    Returns:
        One row per pair: the shared design, `low`, `high`, `step`, both metrics and `effect` = metric_high / metric_low
        - 1.

    Raises ValueError where the factor has one level only.
    """
    shared = [name for name in design if name != factor]
    mean = runs.groupby([*shared, factor])[metric].mean().unstack(factor)
    pairs = [
        mean[[low, high]].set_axis(["metric_low", "metric_high"], axis=1).assign(low=low, high=high).dropna()
        for low, high in zip(mean.columns[:-1], mean.columns[1:], strict=True)
    ]
    if not pairs:
        raise ValueError(f"{factor} has one level only: no pairs to compare")
    frame = pd.concat(pairs).reset_index()
    frame["step"] = [f"{low:,} to {high:,}" for low, high in zip(frame["low"], frame["high"], strict=True)]
    return frame.assign(effect=frame["metric_high"] / frame["metric_low"] - 1)


def effects_of_variations(
    table: pd.DataFrame,
    base: str = "base",
    metric: str = "valid_ndcg@10",
    design: tuple[str, ...] = ("n_interactions", "d_model", "n_layers", "seed"),
) -> pd.DataFrame:
    """Relative effect of each variation of a recipe between runs equal in the design.

    Args:
        table: as from `srtlib.studies.sweeping.grid_table`, with a column `variation`.
        base: the variation that the others are held against.
        metric: a column: larger is better.
        design: the columns in which a pair is equal.

    Returns:
        One row per pair: the design, `variation`, `metric_low` (of the base), `metric_high` and `effect` = metric_high
        / metric_low - 1; `summarise_effects(pairs, "variation")` is their mean.

    Raises ValueError where the table has no run of the base.
    """
    rows = table[[*design, "variation", metric]]
    of_base = rows[rows["variation"] == base].drop(columns="variation").rename(columns={metric: "metric_low"})
    if of_base.empty:
        raise ValueError(
            f"no run of the variation {base!r}; there are {', '.join(map(str, rows['variation'].unique()))}"
        )
    pairs = rows[rows["variation"] != base].rename(columns={metric: "metric_high"}).merge(of_base, on=[*design])
    return pairs.assign(effect=pairs["metric_high"] / pairs["metric_low"] - 1)


def summarise_effects(pairs: pd.DataFrame, by: str | list[str] = "step", level: float = 0.95) -> pd.DataFrame:
    """Mean of the paired effects (geometric) with Student's interval over the pairs.

    Args:
        pairs: as from `paired_effects`.
        by: the columns that make a group.
        level: of the interval, which takes the pairs as independent.

    Returns:
        One row per group: `pairs`, `worse` (pairs with a negative effect), `effect`, `low`, `high` (NaN for one pair).
    """

    def summary(effect: pd.Series) -> pd.Series:
        logs, n = np.log1p(effect), len(effect)
        half = stats.t.ppf(tails(level)[1], n - 1) * logs.std() / np.sqrt(n) if n > 1 else np.nan
        low, mean, high = np.expm1([logs.mean() - half, logs.mean(), logs.mean() + half])
        return pd.Series({"pairs": n, "worse": (effect < 0).sum(), "effect": mean, "low": low, "high": high})

    grouped = pairs.groupby(by, sort=False)["effect"].apply(summary).unstack()
    return grouped.astype({"pairs": int, "worse": int}).reset_index()


def over_seeds(table: pd.DataFrame, by: str | list[str], columns: Sequence[str], level: float = 0.95) -> pd.DataFrame:
    """Mean over the seeds of each group, and Student's interval of the first column's mean as `low` and `high`.

    Args:
        table: one row per run.
        by: the columns that make a group.
        columns: numbers to average.
        level: of the interval, which speaks of seeds (first weights, order of training), not of users.

    Returns:
        One row per group, in the table's order: the group, `seeds`, `low`, `high` (NaN for a single seed), `columns`.

    >>> runs = pd.DataFrame({"method": list("aab"), "ndcg": [1.0, 3.0, 5.0]})
    >>> over_seeds(runs, "method", ["ndcg"])["ndcg"].tolist()
    [2.0, 5.0]
    """
    grouped = table.groupby(by, sort=False)
    mean, first = grouped[list(columns)].mean(), grouped[columns[0]]
    n = first.size()
    half = stats.t.ppf(tails(level)[1], np.maximum(n - 1, 1)) * first.std() / np.sqrt(n)
    bounds = {"seeds": n, "low": mean[columns[0]] - half, "high": mean[columns[0]] + half}
    return pd.concat([pd.DataFrame(bounds), mean], axis=1).reset_index()


def seed_spread(
    table: pd.DataFrame,
    metric: str = "valid_ndcg@5",
    design: tuple[str, ...] = (
        "recipe",
        "n_interactions",
        "d_model",
        "n_layers",
        "epochs",
        "batch_size",
        "learning_rate",
    ),
) -> pd.DataFrame:
    """How far runs that differ in their seed alone lie from each other.

    Args:
        table: one row per run, as from `runs.table`.
        metric: a column of positive numbers.
        design: the columns in which such runs are equal.

    Returns:
        One row per run of the groups of two or more seeds: the design, `seed`, the metric, `seeds` of its group,
        `mean` over them and `off` = metric / mean - 1. Their pooled standard deviation is sqrt(sum off^2 / (rows -
        groups)).

    >>> columns = {"n_interactions": 9, "d_model": [8, 8, 16], "seed": [0, 1, 0], "valid_ndcg@5": [0.09, 0.11, 0.2]}
    >>> seed_spread(pd.DataFrame(columns), design=("n_interactions", "d_model"))["off"].round(3).tolist()
    [-0.1, 0.1]
    """
    groups = table.groupby(list(design), sort=False, dropna=False)
    rows = table[[*design, "seed", metric]].assign(
        seeds=groups["seed"].transform("nunique"), mean=groups[metric].transform("mean")
    )
    rows = rows[rows["seeds"] > 1].reset_index(drop=True)
    return rows.assign(off=rows[metric] / rows["mean"] - 1)
