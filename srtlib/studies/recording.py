"""A study's finished runs as tables that can be kept and read without the store."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pandas as pd

from srtlib import runs
from srtlib.params import SizeParams
from srtlib.paths import write_text
from srtlib.studies.sweeping import grid_experiments


def record(params: SizeParams, dataset: str, store: Path, folder: Path, seed: int = 0) -> pd.DataFrame:
    """Write the finished runs of a study, and their curves, as runs.csv and curves.csv, which `runs.table` and
    `runs.curves` read.

    Args:
        params: the study: its scaling grid and all further ones.
        dataset: name or path, as for `sweep`.
        store: of the runs.
        folder: where to; made if it is not there.
        seed: as for `sweep`.

    Returns:
        One row per run as in `runs.table`, with `grid` ("scaling", or a further grid's name) and `variation`. A run
        that belongs to several grids stands with the first.
    """
    names = grids_of(params, dataset, seed)
    folder.mkdir(parents=True, exist_ok=True)
    table, curves = (names.merge(read(store), on="run_id", how="inner") for read in (runs.table, runs.curves))
    for name, frame in (("runs", table), ("curves", curves)):
        write_text(folder / f"{name}.csv", frame.to_csv(index=False))
    return table


def grids_of(params: SizeParams, dataset: str, seed: int = 0) -> pd.DataFrame:
    """Which grid of a study each of its runs belongs to: run_id, grid, variation; every run once.

    Args:
        params, dataset, seed: as for `record`.
    """
    rows = [
        {"run_id": experiment.run_id(), "grid": name, "variation": variation or "base"}
        for name, grid in {"scaling": params.scaling, **params.grids}.items()
        for variation, experiment in grid_experiments(grid, params.scaling.panel_users, dataset, seed)
    ]
    return pd.DataFrame(rows).drop_duplicates("run_id", ignore_index=True)


def write_rows(path: Path, table: pd.DataFrame, keys: Sequence[str]) -> None:
    """Write a table into a CSV file, over the rows that it has anew. All others stay as they are, so that a study that
    is run again and cut short loses none.

    Args:
        path: of the file, which need not be there.
        table: of one row or more.
        keys: columns that say which rows are the same.
    """
    rows = _texts(StringIO(table.to_csv(index=False)))
    if path.exists():
        known = _texts(path)
        old, new = (pd.MultiIndex.from_frame(part.reindex(columns=[*keys], fill_value="")) for part in (known, rows))
        rows = pd.concat([known[~old.isin(new)], rows]).fillna("")
    write_text(path, rows.to_csv(index=False))


def _texts(csv: Path | StringIO) -> pd.DataFrame:
    return pd.read_csv(csv, dtype=str, keep_default_na=False)
