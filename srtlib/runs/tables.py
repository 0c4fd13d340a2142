"""Tables of runs: one row per finished run, or one per evaluation; their columns are documented in `COLUMNS` and
`CURVE_COLUMNS`.

A table is read from a store (srtlib.runs.store), from CSV or Parquet files written from one, or from MLflow's SQLite
stores with the parameter names of the authors' code, such as the authors' own (srtlib.runs.published).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from srtlib.paths import project_root, write_text
from srtlib.runs.published import read_mlflow
from srtlib.runs.store import finished_runs


class Column(NamedTuple):
    """What a column of `table` or `curves` means, and its unit ("" for names and pure numbers)."""

    meaning: str
    unit: str = ""


_CONFIG = {
    "run_id": Column("identity of the run: hash of its configuration (the authors' store: MLflow's run id)"),
    "dataset": Column("name of the data set"),
    "dataset_fingerprint": Column("hash of the data set's content"),
    "n_users": Column("users", "users"),
    "n_items": Column("items in the catalogue", "items"),
    "n_interactions": Column("unique interactions, held-out ones too (authors: nominal)", "interactions"),
    "n_targets": Column("training targets of one epoch", "targets"),
    "recipe": Column("named set of training choices"),
    "recipe_version": Column("version of what that name stands for"),
    "d_model": Column("width of the transformer", "dimensions"),
    "n_layers": Column("transformer layers", "layers"),
    "n_heads": Column("attention heads", "heads"),
    "d_ff": Column("inner width of the feed-forward block", "dimensions"),
    "max_len": Column("longest history that the model sees", "items"),
    "dropout": Column("share of activations dropped in training"),
    "n_negatives": Column("sampled negatives that each target competes with", "items"),
    "epochs": Column("planned passes over the training targets", "epochs"),
    "seed": Column("seed of everything random"),
    "params_total": Column("trained parameters", "parameters"),
    "params_non_embedding": Column("trained parameters without the text embedding tables", "parameters"),
}
_METRICS = {
    f"{metric}@{k}": f"{name} at {k}"
    for k in (5, 10)
    for metric, name in [("ndcg", "NDCG"), ("hr", "hit rate"), ("mrr", "mean reciprocal rank")]
} | {"loss": "cross-entropy of the target among all candidates (nat)"}

COLUMNS: dict[str, Column] = {
    **_CONFIG,
    "flops": Column("exact training FLOPs of the whole run", "FLOP"),
    "flops_paper": Column("training compute of the whole run, counted the paper's way", "FLOP"),
    "targets_seen": Column("training targets seen, repeats counted", "targets"),
    **{f"valid_{m}": Column(f"validation {name}, best over the evaluations") for m, name in _METRICS.items()},
    **{f"valid_{m}_final": Column(f"validation {name}, last evaluation") for m, name in _METRICS.items()},
    **{f"test_{m}": Column(f"test {name} of the selected checkpoint") for m, name in _METRICS.items()},
    **{f"test_unseen_{m}": Column(f"the same, ranking only items new to the user: {n}") for m, n in _METRICS.items()},
    "wall_s": Column("training time on the wall clock", "s"),
    "device": Column("where it ran"),
    "version": Column("version of srtlib"),
    "commit": Column("commit of the source"),
    "date": Column("end of the run, UTC"),
}
"""The columns of `table`, always all there (NaN where a store does not know them). Further settings of the
model and the training follow under their own names."""

# columns of names, which are text whatever they look like: a data set 2024, a commit 5544499, a grid NA
NAMES = (
    "run_id",
    "dataset",
    "dataset_fingerprint",
    "recipe",
    "grid",
    "variation",
    "device",
    "version",
    "commit",
    "date",
)

CURVE_COLUMNS: dict[str, Column] = {
    **_CONFIG,
    "step": Column("counter of the training loop (authors' store: epoch, from 0)"),
    "epoch": Column("passes over the training targets so far", "epochs"),
    "flops": Column("exact training FLOPs so far", "FLOP"),
    "flops_paper": Column("training compute so far, counted the paper's way", "FLOP"),
    "targets_seen": Column("training targets seen so far, repeats counted", "targets"),
    "train_loss": Column("training loss since the last evaluation (authors' store: of the epoch)", "nat"),
    "wall_s": Column("training time so far on the wall clock", "s"),
    **{f"valid_{m}": Column(f"validation {name} at this evaluation") for m, name in _METRICS.items()},
}
"""The columns of `curves`, always all there; further settings and logged values follow."""


def table(path: Path | str) -> pd.DataFrame:
    """One row per finished run, with the columns of `COLUMNS` first.

    `path` is a store's folder; a CSV or Parquet file written from such a table, or a folder that `export`
    wrote; an MLflow SQLite store ("sqlite:///path", also .sqlite.bz2); or "published" for the authors' runs.
    A relative path is looked up from the working directory, then from the project's root.
    """
    return _read(path, "runs")


def curves(path: Path | str) -> pd.DataFrame:
    """One row per evaluation of each finished run, its configuration joined; `CURVE_COLUMNS` first.

    `path` as in `table`.
    """
    return _read(path, "curves")


def study(
    path: Path | str, dataset: str | None = None, run_ids: Iterable[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of a study and their curves: `table` and `curves`, the same runs in both.

    Args:
        path: as for `table`.
        dataset: runs on the data sets whose names start so; needed where the store holds several (`one_family`).
        run_ids: these runs instead, in this order, as `sweep` returns them; ValueError names those that are not there.
    """
    runs, history = table(path), curves(path)
    if runs.empty:
        raise ValueError(f"{path} has no finished run; expected those of a scaling study")
    if history.empty:
        raise ValueError(f"{path} has no evaluation of its runs; expected their curves")
    if run_ids is None:
        return one_family(runs, dataset), one_family(history, dataset)
    ids = list(run_ids)
    if missing := sorted(set(ids) - set(runs["run_id"])):
        raise ValueError(f"{path} has no finished run {', '.join(missing)}")
    kept = history[history["run_id"].isin(ids)].reset_index(drop=True)
    return rows_of(runs, ids), kept


def rows_of(table: pd.DataFrame, run_ids: Sequence[str]) -> pd.DataFrame:
    """The rows of some runs, in that order.

    What is counted comes as whole numbers again, where other runs of the table, which lack it, made it broken ones.

    Args:
        table: with the columns of `COLUMNS`.
        run_ids: of rows that are there.
    """
    rows = table.set_index("run_id").loc[list(run_ids)].reset_index()
    broken = [name for name in _CONFIG if name in rows and pd.api.types.is_float_dtype(rows[name])]
    whole = [name for name in broken if name != "dropout" and len(rows) and (rows[name] % 1 == 0).all()]
    return rows.astype(dict.fromkeys(whole, np.int64))


def one_family(table: pd.DataFrame, dataset: str | None = None) -> pd.DataFrame:
    """The rows of one data set, or of samples of it, named <data set>-<size>.

    Args:
        table: with a column `dataset`.
        dataset: how the names start; default: the only data set of the table.

    Raises ValueError where there are several data sets and none is chosen, and where no row is left.

    >>> one_family(pd.DataFrame({"dataset": ["amazon-1M", "amazon-5M", "toys"]}), "amazon")["dataset"].tolist()
    ['amazon-1M', 'amazon-5M']
    """
    names = sorted(set(table["dataset"].dropna()))
    if dataset is not None:
        table = table[table["dataset"].fillna("").str.startswith(dataset)]
    elif len({name.partition("-")[0] for name in names}) > 1:
        raise ValueError(f"the runs are on several data sets; choose one of {', '.join(names)}")
    if table.empty:
        raise ValueError(f"no run on a data set {dataset!r}; there are {', '.join(names) or 'none with a name'}")
    return table.reset_index(drop=True)


def compute_column(table: pd.DataFrame) -> str:
    """The column in which the runs' compute is known: exact FLOPs, else the paper's count.

    Args:
        table: of runs, or evaluations.

    Raises ValueError where exact FLOPs are known in some rows and not in others: the two counts are not one scale.

    >>> compute_column(pd.DataFrame({"flops": [None, None], "flops_paper": [1e12, 1e13]}))
    'flops_paper'
    """
    known = table["flops"].notna() if "flops" in table else pd.Series(dtype=bool)
    if known.any() and not known.all():
        run = table.loc[~known, "run_id"].iloc[0] if "run_id" in table else known.index[~known][0]
        raise ValueError(
            f"column flops has no value in {(~known).sum():,} of {len(known):,} rows, run {run} first; expected one in "
            "every row, or in none where flops_paper counts"
        )
    return "flops" if len(known) and known.all() else "flops_paper"


def export(path: Path | str, folder: Path | str) -> None:
    """Write runs as runs.csv and curves.csv, which `table` and `curves` read.

    Args:
        path: as for `table`.
        folder: where to; made if it is not there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in [("runs", table(path)), ("curves", curves(path))]:
        write_text(folder / f"{name}.csv", frame.to_csv(index=False))


def _read(source: Path | str, kind: str) -> pd.DataFrame:
    columns = list(COLUMNS if kind == "runs" else CURVE_COLUMNS)
    path = _locate(source)
    if path.is_dir() and any((path / f"{name}.csv").exists() for name in ("runs", "curves")):
        path = path / f"{kind}.csv"
    if path.is_dir():
        frame = _read_store(path, kind)
    elif ".sqlite" in path.suffixes or path.suffix == ".db":
        frame = read_mlflow(path)[kind == "curves"]
    else:
        frame = _read_file(path, kind)
    known = [*columns, *(name for name in frame.columns if name not in columns)]
    return frame.reindex(columns=known).reset_index(drop=True)


def _locate(source: Path | str) -> Path:
    if str(source) == "published":
        return project_root() / "results" / "published"
    path = Path(str(source).removeprefix("sqlite:///"))
    for candidate in (path, project_root() / path):
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"no runs at {source}: expected a store's folder or a .csv, .parquet or .sqlite file")


def _read_store(root: Path, kind: str) -> pd.DataFrame:
    records = []
    for recorded in finished_runs(root):
        run = {"run_id": recorded.id, **_config_columns(recorded.config)}
        if kind == "runs":
            records.append({**run, **_summary_columns(recorded.summary)})
        else:
            run |= _summary_columns({"params": recorded.summary.get("params", {})})
            records += [{**run, **row} for row in recorded.rows if any(key.startswith("valid_") for key in row)]
    return pd.DataFrame.from_records(records)


def _config_columns(config: dict[str, Any]) -> dict[str, Any]:
    dataset = {
        {"name": "dataset", "fingerprint": "dataset_fingerprint"}.get(key, key): value
        for key, value in config.get("dataset", {}).items()
    }
    columns: dict[str, Any] = {}
    for section in ("model", "train", "transfer"):
        for key, value in config.get(section, {}).items():
            plain = json.dumps(value) if isinstance(value, dict) else value
            columns[key if key not in columns else f"{section}_{key}"] = plain
    panel = {f"panel_{key}": value for key, value in config.get("panel", {}).items()}
    return {
        **columns,
        **dataset,
        **panel,
        **{key: config[key] for key in ("seed", "recipe") if key in config},
        **({"recipe_version": config.get("recipe_version", 1)} if "recipe" in config else {}),
    }


def _summary_columns(summary: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for key, value in summary.items():
        if not isinstance(value, dict):
            columns[key] = value
        elif key == "valid_final":
            columns |= {f"valid_{name}_final": number for name, number in value.items()}
        else:
            columns |= {f"{key}_{name}": number for name, number in value.items()}
    columns.pop("status", None)
    return columns


def _read_file(path: Path, kind: str) -> pd.DataFrame:
    if path.suffix != ".parquet" and ".csv" not in path.suffixes:
        raise ValueError(f"cannot read runs from {path}: expected .csv, .parquet, .sqlite or .sqlite.bz2")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; expected runs.csv and curves.csv in one folder")
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is no table of {kind} as `export` writes it, or is damaged: {reason}") from error
    for name in ["run_id"] if kind == "runs" else ["run_id", "epoch"]:
        if name not in frame:
            raise ValueError(f"{path} has no column {name!r}: not a table of {kind}")
    if kind == "runs" and not frame["run_id"].is_unique:
        raise ValueError(f"{path} has several rows for one run_id: expected one per run (a table of curves?)")
    for name in (COLUMNS if kind == "runs" else CURVE_COLUMNS).keys() & set(frame) - set(NAMES):
        bad = pd.to_numeric(frame[name], errors="coerce").isna() & frame[name].notna()
        if bad.any():
            run, value = (frame[column].iloc[int(bad.argmax())] for column in ("run_id", name))
            raise ValueError(f"{path}: {name} of run {run} is {value!r}; expected a number")
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    """A table whose names are as they are written, empty ones NaN."""
    names = pd.read_csv(path, dtype=str, keep_default_na=False, usecols=lambda name: name in NAMES)
    return pd.read_csv(path).assign(**names.where(names != ""))
