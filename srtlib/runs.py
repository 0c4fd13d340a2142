"""The store of runs: what was trained, how it went, what came out.

A store is a folder; every run is a directory in it, named after the hash of its configuration::

    <root>/<run_id>/config.json     the whole configuration; the same configuration is the same run
                    metrics.jsonl   one JSON object per logged row, appended and synced
                    summary.json    written once, when the run finished or failed

`table` reads a store as one row per finished run, `curves` as one row per evaluation; their columns are
documented in `COLUMNS` and `CURVE_COLUMNS`. Both also read CSV or Parquet files written from them, and
MLflow's SQLite stores with the parameter names of the authors' code, such as the authors' own
(`published`). No part of this module needs torch.

>>> import tempfile
>>> config = {"dataset": {"name": "tiny"}, "model": {"d_model": 8}, "train": {"epochs": 1}, "seed": 0}
>>> root = Path(tempfile.mkdtemp())
>>> with Run.open(root, config) as run:
...     run.log({"step": 10, "epoch": 1, "valid_ndcg@5": 0.02})
...     run.finish({"valid": {"ndcg@5": 0.02}, "params": {"total": 96}})
>>> table(root)[["dataset", "d_model", "params_total", "valid_ndcg@5"]].to_dict("records")
[{'dataset': 'tiny', 'd_model': 8, 'params_total': 96, 'valid_ndcg@5': 0.02}]
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from scipy import stats

from srtlib.paths import project_root, write_text
from srtlib.published import published, read_mlflow


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
}

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


# --- One run -----------------------------------------------------------------------------------------


class RunLockedError(RuntimeError):
    """Another process has the run open."""


def run_id(config: dict[str, Any]) -> str:
    """Identity of a configuration: 12 hex digits of the SHA-256 of its canonical JSON (sorted keys).

    >>> run_id({"a": 1, "b": 2}) == run_id({"b": 2, "a": 1})
    True
    """
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class Run:
    """One training run in a store, open for writing under an exclusive lock. Use `Run.open`."""

    def __init__(self, path: Path, config: dict[str, Any], lock: FileLock) -> None:
        self.path = path
        self.id = path.name
        self.config = config
        self._lock = lock

    @classmethod
    def open(cls, root: Path | str, config: dict[str, Any]) -> Run:
        """Create the run of `config` in the store `root`, or reopen it.

        Raises RunLockedError if it is open already, in this process or another.
        """
        path = Path(root) / run_id(config)
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / ".lock", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise RunLockedError(f"run {path} is open in another process; wait for it or end it") from None
        if not (path / "config.json").exists():
            write_text(path / "config.json", json.dumps(config, indent=2, sort_keys=True, allow_nan=False))
        return cls(path, config, lock)

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` or `fail` recorded; empty before."""
        return read_summary(self.path)

    @property
    def status(self) -> str:
        """One of "new" (nothing logged), "running" (rows, no summary yet), "finished" and "failed"."""
        return self.summary.get("status") or ("running" if self._metrics.exists() else "new")

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def rows(self) -> list[dict[str, Any]]:
        """The logged rows in order. A last line that a kill cut short is left out."""
        return _read_rows(self.path)

    def log(self, row: dict[str, Any]) -> None:
        """Append one row (numbers, strings; numpy and torch scalars too) and bring it to the disk.

        A failed run that logs again is running again; a finished run raises RuntimeError.
        """
        line = _dumps(row) + "\n"
        self._reopen()
        with self._metrics.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size and not _ends_with_newline(file, size):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def truncate(self, step: int) -> None:
        """Drop the rows after `step`: training goes on from an older checkpoint."""
        kept = [row for row in self.rows() if row["step"] <= step]
        self._reopen()
        write_text(self._metrics, "".join(_dumps(row) + "\n" for row in kept))

    def finish(self, summary: dict[str, Any]) -> None:
        """Record the outcome; the run counts as finished from here on."""
        write_text(self.path / "summary.json", _dumps({**summary, "status": "finished"}, indent=2))

    def fail(self, error: str) -> None:
        """Record why the run ended (the text of the traceback); it may be opened and continued later."""
        write_text(self.path / "summary.json", _dumps({"status": "failed", "error": error}, indent=2))

    def _reopen(self) -> None:
        if self.status == "finished":
            raise RuntimeError(f"run {self.path} is finished; its metrics cannot change any more")
        (self.path / "summary.json").unlink(missing_ok=True)


def finished(root: Path | str) -> set[str]:
    """Ids of the finished runs of a store (of none, if the folder is not there yet)."""
    return {path.name for path in _finished_paths(Path(root))}


def _finished_paths(root: Path) -> Iterator[Path]:
    for config in sorted(root.glob("*/config.json")):
        if read_summary(config.parent).get("status") == "finished":
            yield config.parent


def read_summary(path: Path) -> dict[str, Any]:
    """The summary of the run in the folder `path`; empty while it has none."""
    try:
        return json.loads((path / "summary.json").read_text())
    except FileNotFoundError:
        return {}


def _read_rows(path: Path) -> list[dict[str, Any]]:
    try:
        text = (path / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _ends_with_newline(file: Any, size: int) -> bool:
    file.seek(size - 1)
    return file.read(1) == b"\n"


def _dumps(value: dict[str, Any], indent: int | None = None) -> str:
    """JSON in which numpy's and torch's scalars are plain numbers."""
    return json.dumps(value, indent=indent, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"cannot record {value!r} in a run: expected numbers, text, lists and dicts of these")


# --- Tables ------------------------------------------------------------------------------------------


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


def export(path: Path | str, folder: Path | str) -> None:
    """Write the runs of `path` as runs.csv and curves.csv into `folder`, which `table` and `curves` read."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in [("runs", table(path)), ("curves", curves(path))]:
        write_text(folder / f"{name}.csv", frame.to_csv(index=False))


def _read(source: Path | str, kind: str) -> pd.DataFrame:
    columns = list(COLUMNS if kind == "runs" else CURVE_COLUMNS)
    path = _locate(source)
    if path.is_dir() and (path / f"{kind}.csv").exists():
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
        return published()
    path = Path(str(source).removeprefix("sqlite:///"))
    for candidate in (path, project_root() / path):
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"no runs at {source}: expected a store's folder or a .csv, .parquet or .sqlite file")


def _read_store(root: Path, kind: str) -> pd.DataFrame:
    records = []
    for path in _finished_paths(root):
        config, summary = json.loads((path / "config.json").read_text()), read_summary(path)
        run = {"run_id": path.name, **_config_columns(config)}
        if kind == "runs":
            records.append({**run, **_summary_columns(summary)})
        else:
            run |= _summary_columns({"params": summary.get("params", {})})
            rows = _read_rows(path)
            records += [{**run, **row} for row in rows if any(key.startswith("valid_") for key in row)]
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
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
    elif ".csv" in path.suffixes:
        hashes = dict.fromkeys(["run_id", "dataset_fingerprint", "version", "commit"], str)
        frame = pd.read_csv(path, dtype=hashes)
    else:
        raise ValueError(f"cannot read runs from {path}: expected .csv, .parquet, .sqlite or .sqlite.bz2")
    for name in ["run_id"] if kind == "runs" else ["run_id", "epoch"]:
        if name not in frame:
            raise ValueError(f"{path} has no column {name!r}: not a table of {kind}")
    if kind == "runs" and not frame["run_id"].is_unique:
        raise ValueError(f"{path} has several rows for one run_id: expected one per run (a table of curves?)")
    return frame


# --- What a table of runs says -----------------------------------------------------------------------


def best_runs(runs: pd.DataFrame, by: str | list[str] = "dataset", metric: str = "valid_ndcg@5") -> pd.DataFrame:
    """The run with the highest `metric` of each group, groups in order of `n_targets`."""
    return runs.loc[runs.groupby(by)[metric].idxmax()].sort_values("n_targets").reset_index(drop=True)


def paired_effects(
    runs: pd.DataFrame,
    factor: str,
    metric: str = "valid_ndcg@5_final",
    design: tuple[str, ...] = ("dataset", "d_model", "n_layers", "n_heads", "n_negatives"),
) -> pd.DataFrame:
    """Relative effect of each step of `factor` between runs equal in the rest of `design`.

    A step joins neighbouring levels (numbers) of the table ("8 -> 16"); repeated runs are averaged first. One row per
    pair: the shared design, `low`, `high`, `step`, both metrics and `effect` = metric_high / metric_low - 1.
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
    frame["step"] = [f"{low:,} -> {high:,}" for low, high in zip(frame["low"], frame["high"], strict=True)]
    return frame.assign(effect=frame["metric_high"] / frame["metric_low"] - 1)


def summarise_effects(pairs: pd.DataFrame, by: str | list[str] = "step", level: float = 0.95) -> pd.DataFrame:
    """Mean of the paired effects (geometric) with Student's interval over the pairs.

    One row per group: `pairs`, `worse` (pairs with a negative effect), `effect`, `low`, `high`. The interval
    takes the pairs as independent, and is NaN for one pair.
    """

    def summary(effect: pd.Series) -> pd.Series:
        logs, n = np.log1p(effect), len(effect)
        half = stats.t.ppf((1 + level) / 2, n - 1) * logs.std() / np.sqrt(n) if n > 1 else np.nan
        low, mean, high = np.expm1([logs.mean() - half, logs.mean(), logs.mean() + half])
        return pd.Series({"pairs": n, "worse": (effect < 0).sum(), "effect": mean, "low": low, "high": high})

    grouped = pairs.groupby(by, sort=False)["effect"].apply(summary).unstack()
    return grouped.astype({"pairs": int, "worse": int}).reset_index()
