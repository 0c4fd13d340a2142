"""Frontiers of a set of runs: the best that was reached for a given amount of compute, and with what.

Tables in, tables out, for runs of any model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from srtlib.laws.columns import CURVES, Columns
from srtlib.laws.law import LARGEST, SMALLEST

Array = npt.NDArray[np.float64]
SIZES = 4  # runs that end together make a parabola if they are of so many sizes


def check_table(
    table: pd.DataFrame, numbers: Sequence[str], amounts: Sequence[str] = (), names: Sequence[str] = ()
) -> None:
    """Refuse a table that lacks a column that is needed, or holds something else there in some row.

    Args:
        table: of runs.
        numbers: columns of finite numbers.
        amounts: columns of positive numbers, `law.SMALLEST` to `law.LARGEST`.
        names: columns of anything, missing nowhere.

    Raises ValueError that names the column, and the run where there is a column run_id.
    """
    kinds = dict.fromkeys(numbers, "not finite numbers") | dict.fromkeys(names, "missing")
    kinds |= dict.fromkeys(amounts, f"not positive numbers, {SMALLEST:.0e} to {LARGEST:.0e}")
    if missing := [column for column in kinds if column not in table.columns]:
        raise ValueError(f"the table of runs lacks {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    if table.empty:
        raise ValueError("the table of runs is empty")
    for column, fault in kinds.items():
        if table[column].isna().all():
            raise ValueError(f"no run has a value in column {column}; expected one in every row")
        bad = table[column].isna().to_numpy() if column in names else ~_are_numbers(table[column], column in amounts)
        if bad.any():
            first = f", run {table['run_id'].iloc[int(bad.argmax())]} first" if "run_id" in table else ""
            raise ValueError(
                f"column {column} holds values that are {fault} ({bad.sum():,} of {len(bad):,} rows{first})"
            )


def _are_numbers(column: pd.Series, positive: bool) -> npt.NDArray[np.bool_]:
    is_text = column.map(lambda value: isinstance(value, str))
    values = pd.to_numeric(column.mask(is_text), errors="coerce").to_numpy(float)
    return (values >= SMALLEST) & (values <= LARGEST) if positive else np.isfinite(values)


def interpolate(
    curves: pd.DataFrame, columns: Columns = CURVES, value: str = "", grid: Array | None = None
) -> tuple[Array, Array, pd.Index]:
    """Every curve on a grid of compute, linear in its logarithm, NaN outside the curve's own range.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        columns: its columns.
        value: the column that is interpolated; default: quality.
        grid: amounts of compute (n,); default: all that occur.

    Returns:
        The grid (n,), the values (runs, n) and the runs' names in the rows' order.
    """
    x, y, run = columns.compute, value or columns.quality, columns.run
    check_table(curves, (y,), (x,), (run,))
    grid = np.unique(curves[x].to_numpy(float)) if grid is None else grid
    names, rows = [], []
    for name, curve in curves.groupby(run, sort=False):
        points = curve.groupby(x)[y].mean()  # sorted by x
        log_x = np.log(points.index.to_numpy(float))
        rows.append(np.interp(np.log(grid), log_x, points.to_numpy(float), left=np.nan, right=np.nan))
        names.append(name)
    return grid, np.array(rows), pd.Index(names, name=run)


def envelope(values: Array, metric: bool = True) -> tuple[Array, npt.NDArray[np.intp]]:
    """Running best over runs.

    Args:
        values: quality at ascending amounts of compute, (runs, n), NaN where a run was not under way.
        metric: True when larger is better, False for a loss.

    Returns:
        The best so far and the row that holds it, (n,) each; NaN and -1 before the first.
    """
    filled = np.where(np.isnan(values), -np.inf, values if metric else -values)
    row = filled.argmax(0)
    best = filled[row, np.arange(filled.shape[1])]
    running = np.maximum.accumulate(best)
    # index of the last place where the running maximum was renewed
    renewed = np.maximum.accumulate(np.where(best >= running, np.arange(best.size), 0))
    reached = np.isfinite(running)
    out = np.where(reached, running if metric else -running, np.nan)
    return out, np.where(reached, row[renewed], -1)


def frontier(curves: pd.DataFrame, columns: Columns = CURVES, metric: bool = True) -> pd.DataFrame:
    """The upper envelope of learning curves: the best quality reached with at most so much compute (the lower one for
    a loss).

    Curves are interpolated in ln compute, and the running maximum is taken: more compute never buys less. Source: the
    authors' optimal curve, which interpolates in x and drops each run's last point; here no point is lost.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        columns: its columns; compute is positive.
        metric: True when larger is better, False for a loss.

    Returns:
        One row per distinct amount of compute, ascending, with it, the quality, the run that holds the frontier there,
        and every other column that is constant within runs (sizes of model and data).

    >>> curves = pd.DataFrame({"run_id": ["a", "a", "b"], "flops": [1.0, 100.0, 10.0],
    ...                        "valid_ndcg@5": [0.0, 0.2, 0.05]})
    >>> frontier(curves)["valid_ndcg@5"].tolist()
    [0.0, 0.1, 0.2]
    """
    x, y, run = columns.compute, columns.quality, columns.run
    grid, values, names = interpolate(curves, columns)
    best, holder = envelope(values, metric)
    table = pd.DataFrame({x: grid, y: best, run: names[holder]})
    groups = curves.groupby(run, sort=False)
    constant = [c for c in curves.columns if c not in (x, y, run) and (groups[c].nunique(dropna=False) == 1).all()]
    return table.merge(groups[constant].first(), left_on=run, right_index=True, how="left")


def effective_runs(best: pd.DataFrame, columns: Columns = CURVES) -> float:
    """How many runs a frontier rests on: 1 / the sum of squares of their shares of its length in ln compute.

    Args:
        best: as from `frontier`.
        columns: its columns.

    A run holds the frontier from where it renews it until another does. One run alone gives 1; n equal shares give n.

    >>> best = pd.DataFrame({"flops": [1.0, 10.0, 100.0], "run_id": ["a", "b", "b"]})
    >>> effective_runs(best)
    2.0
    """
    check_table(best, (), (columns.compute,), (columns.run,))
    lengths = np.append(np.diff(np.log(best[columns.compute].to_numpy(float))), 0.0)
    held = pd.Series(lengths).groupby(best[columns.run].to_numpy()).sum().to_numpy()
    return float(held.sum() ** 2 / (held**2).sum()) if held.sum() > 0 else 1.0


def pareto(runs: pd.DataFrame, columns: Columns = CURVES, metric: bool = True) -> pd.DataFrame:
    """The runs that no other run beats at the same or a lower compute, cheapest first.

    Args:
        runs: one row per run, as from `runs.table`, compute and quality finite. Of equal runs one stays.
        columns: its columns.
        metric: True when larger is better, False for a loss.

    >>> table = pd.DataFrame({"flops": [1.0, 2.0, 3.0], "valid_ndcg@5": [0.1, 0.05, 0.2]})
    >>> pareto(table)["flops"].tolist()
    [1.0, 3.0]
    """
    cost, y = columns.compute, columns.quality
    check_table(runs, (cost, y))
    ordered = runs.sort_values([cost, y], ascending=[True, not metric], kind="stable")
    value = ordered[y].to_numpy(float) * (1 if metric else -1)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(value)[:-1]])
    return ordered[value > before].reset_index(drop=True)


def alike(log_sizes: Array, within: float = 0.1) -> npt.NDArray[np.intp]:
    """Labels of sizes that count as one: an architecture has a few more parameters where its vocabulary is larger.

    Args:
        log_sizes: natural logarithms, (n,).
        within: neighbours less than this share apart are alike.

    Returns:
        Labels (n,), ascending with size.
    """
    order = np.argsort(log_sizes)
    labels = np.empty(len(log_sizes), dtype=np.intp)
    labels[order] = np.concatenate([[0], np.cumsum(np.diff(log_sizes[order]) > np.log1p(within))])
    return labels


def best_per_size(labels: npt.NDArray[np.intp], values: Array) -> npt.NDArray[np.intp]:
    """The row with the largest value of each label.

    Args:
        labels: as from `alike`, (n,).
        values: (n,); NaN never wins.

    Returns:
        Rows, labels ascending; none of a label that has NaN only.
    """
    rows = np.flatnonzero(~np.isnan(values))
    rows = rows[np.lexsort((values[rows], labels[rows]))]
    last = np.append(np.diff(labels[rows]) > 0, True)[: len(rows)]
    return rows[last]


def vertex(log_sizes: Array, values: Array) -> tuple[float, Array] | None:
    """The top of a parabola of quality in ln N.

    Args:
        log_sizes: ascending, (n,).
        values: larger is better, (n,).

    Returns:
        Where the top is, and the coefficients, highest power first. None if the largest value stands at either end,
        where the top may lie beyond, or if the parabola bends the wrong way or has its top outside.
    """
    if len(values) < 3 or not 0 < int(values.argmax()) < len(values) - 1:
        return None
    coefficients = np.polyfit(log_sizes, values, 2)
    top = -coefficients[1] / (2 * coefficients[0])
    return (top, coefficients) if coefficients[0] < 0 and log_sizes[0] < top < log_sizes[-1] else None


def isoflop(
    curves: pd.DataFrame,
    budgets: npt.ArrayLike | int = 10,
    columns: Columns = CURVES,
    metric: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Quality against model size at fixed compute, and the optimal size of each budget.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        budgets: amounts of compute, or how many to lay evenly in its logarithm over the range in which runs are.
        columns: the columns of `curves`.
        metric: True when larger is better, False for a loss.

    Returns:
        The points, one row per budget and size with compute (the budget), size, quality (of the best run that was
        under way, interpolated in ln compute) and the run; and the optima, one row per budget with compute, size,
        quality and the coefficients c2, c1, c0 of the parabola in ln size. A budget whose best size is its smallest or
        largest, or whose parabola bends the wrong way, has no optimum.

    Source: approach 2 of Hoffmann et al. (2022), section 3.2.
    """
    x, y, run, size = columns.compute, columns.quality, columns.run, columns.size
    check_table(curves, (y,), (x, size), (run,))
    grid = levels(curves[x], budgets) if isinstance(budgets, int) else np.asarray(budgets, dtype=float)
    if not (grid.size and (np.isfinite(grid) & (grid > 0)).all()):
        raise ValueError(f"budgets is {budgets!r}; expected positive, finite amounts of {x}, or how many")
    _, values, names = interpolate(curves, columns, grid=grid)
    return _parabolas_at(grid, values, names, curves, columns, metric)


def planned_isoflop(
    curves: pd.DataFrame, columns: Columns = CURVES, metric: bool = True
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As `isoflop`, of runs that end where the budget does: their schedules were planned for it, and no curve is cut.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        columns: the columns of `curves`.
        metric: True when larger is better, False for a loss.

    Returns:
        As `isoflop`, for the budgets at which runs of at least four sizes end (`ends_together`).
    """
    check_table(curves, (columns.quality,), (columns.compute, columns.size), (columns.run,))
    return _parabolas_at(*ends_together(curves, columns), curves, columns, metric)


def ends_together(curves: pd.DataFrame, columns: Columns = CURVES, value: str = "") -> tuple[Array, Array, pd.Index]:
    """The ends of runs that end at about the same compute: neighbours less than a tenth apart, of at least four sizes.

    FLOPs are planned from the first steps of a training and met within some percent.

    Args:
        curves: one row per evaluation, as from `runs.curves`.
        columns: its columns.
        value: the column that is wanted; default: quality.

    Returns:
        As `interpolate`: budgets (n,), the geometric means of what was spent; the values (runs, n), NaN where a run
        ends elsewhere; and the runs' names.
    """
    x, run = columns.compute, columns.run
    last = curves.sort_values(x, kind="stable").groupby(run, sort=False).last()
    spent, sizes = (np.log(last[name].to_numpy(float)) for name in (x, columns.size))
    budget, size = alike(spent), alike(sizes)
    different = pd.Series(size).groupby(budget).nunique()
    kept = np.sort(different.index[different >= SIZES])
    there = budget[:, None] == kept
    grid = np.exp([spent[column].mean() for column in there.T])
    return grid, np.where(there, last[value or columns.quality].to_numpy(float)[:, None], np.nan), last.index


def _parabolas_at(
    grid: Array, values: Array, names: pd.Index, curves: pd.DataFrame, columns: Columns, metric: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    x, y, run, size = columns.compute, columns.quality, columns.run, columns.size
    sizes = curves.groupby(run)[size].first().loc[names].to_numpy(float)
    labels, sign = alike(np.log(sizes)), 1 if metric else -1
    points, optima = [pd.DataFrame(columns=[x, size, y, run])], []
    for budget, column in zip(grid, values.T, strict=True):
        rows = best_per_size(labels, sign * column)
        points.append(pd.DataFrame({x: budget, size: sizes[rows], y: column[rows], run: names[rows]}))
        if found := vertex(np.log(sizes[rows]), sign * column[rows]):
            top, coefficients = found[0], sign * found[1]
            optima.append([budget, np.exp(top), np.polyval(coefficients, top), *coefficients])
    kept = pd.concat(points[1:] or points, ignore_index=True)
    return kept, pd.DataFrame(optima, columns=[x, size, y, "c2", "c1", "c0"])


def levels(values: pd.Series, n: int) -> Array:
    """Amounts evenly spaced in logarithm strictly between the smallest and the largest of some.

    Args:
        values: positive.
        n: how many.

    Returns:
        The amounts, (n,).
    """
    return np.geomspace(values.min(), values.max(), n + 2)[1:-1]


def parabolas(points: pd.DataFrame, optima: pd.DataFrame, columns: Columns = CURVES, n: int = 60) -> pd.DataFrame:
    """The parabolas of `isoflop` as points over the sizes of their budget, for drawing.

    Args:
        points: as from `isoflop`.
        optima: as from `isoflop`.
        columns: those of the runs.
        n: points of each parabola.

    Returns:
        One row per point: compute (the budget), size, quality.
    """
    x, y, size = columns.compute, columns.quality, columns.size
    parts = []
    for _, row in optima.iterrows():
        sizes = points.loc[points[x] == row[x], size]
        grid = np.geomspace(sizes.min(), sizes.max(), n)
        curve = np.polyval([row["c2"], row["c1"], row["c0"]], np.log(grid))
        parts.append(pd.DataFrame({x: row[x], size: grid, y: curve}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[x, size, y])
