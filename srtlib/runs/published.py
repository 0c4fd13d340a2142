"""The authors' recorded runs, an MLflow SQLite store read with sqlite3 alone, and their published estimators.

119 runs (116 distinct configurations, three of them repeated) on five samples of the Amazon Product Data,
with a validation every five epochs and one test. Source: github.com/mercadolibre/srt, MIT licence.
`srtlib.runs.table("published")` and `srtlib.runs.curves("published")` read them from the tables that come with
srtlib, written by `export_published`; any store that the authors' code wrote reads the same.

>>> round(float(predict_from_compute(1e16)), 3), round(float(predict_from_data(1e7, 4e6)), 3)
(0.111, 0.108)
"""

from __future__ import annotations

import bz2
import io
import itertools
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pooch

from srtlib.paths import home, write_text

COMMIT = "16345a357ef8a9fcbb8cc66b0a9647f7bb186078"
URL = f"https://raw.githubusercontent.com/mercadolibre/srt/{COMMIT}/mlruns.sqlite.bz2"
SHA256 = "498dadb536615da8295fb1bc2e3fe92911b4b1331828ac320c390ca36213d2f4"

SOURCE = f"""# The authors' recorded runs

The 119 finished runs of P. Zivic, H. Vazquez and J. Sánchez, *Scaling Sequential Recommendation Models with
Transformers* (SIGIR 2024), and their validations every five epochs: the values of the authors' MLflow store, nothing
rounded, under the column names of `srtlib.runs.COLUMNS` and `CURVE_COLUMNS`.

- Store: {URL}
- SHA-256: {SHA256}
- Licence: MIT, the authors of github.com/mercadolibre/srt
- Written by `srtlib.runs.published.export_published`
"""

LARGEST = 256 << 20  # bytes of a store that is unpacked in memory; the authors' has 14 MB
LARGEST_ROW = 16 << 20  # bytes of a row of a store
MOST_STEPS = 100_000_000  # of SQLite that a store may take to read; the authors' takes 700,000
_ROUND = 10_000  # steps between two looks at how many there were

_TABLES = ("runs", "params", "metrics")
_INTEGERS = {
    "n_items": "n_items",
    "n_inters": "n_targets",
    "hidden_size": "d_model",
    "n_layers": "n_layers",
    "n_heads": "n_heads",
    "inner_size": "d_ff",
    "MAX_ITEM_LIST_LENGTH": "max_len",
    "nce_num_negatives": "n_negatives",
    "epochs": "epochs",
    "train_batch_size": "batch_size",
    "seed": "seed",
    "model_total_params": "params_total",
    "model_non_emb_params": "params_non_embedding",
}
_PARAMS = {**_INTEGERS, "dataset": "dataset", "device": "device", "hidden_dropout_prob": "dropout"}
_PARAMS["total_flops"] = "batch_flops"
_METRICS = {
    "time_epoch": "wall_s",
    "train/train_loss": "train_loss",
    **{f"{split}/{theirs}_at_5": f"{split}_{ours}@5" for split in ("valid", "test")
       for theirs, ours in [("ndcg", "ndcg"), ("hit", "hr"), ("mrr", "mrr")]},
}  # fmt: skip


def published_store() -> Path:
    """Path of the authors' store (a .sqlite.bz2 file of 2 MB).

    It is taken from SRT_DATA/published_runs when that is there, else downloaded once, pinned by commit and
    SHA-256, into the folder of caches. Raises FileNotFoundError when neither can be had.
    """
    name = "mlruns.sqlite.bz2"
    given = os.environ.get("SRT_DATA")
    if given and (path := Path(given) / "published_runs" / name).exists():
        return path
    try:
        return Path(pooch.retrieve(URL, f"sha256:{SHA256}", name, home() / "published_runs"))
    except (OSError, ValueError) as error:
        place = f"not in {given}/published_runs" if given else "not here (SRT_DATA is not set)"
        raise FileNotFoundError(
            f"the published runs are {place} and cannot be downloaded from {URL} ({type(error).__name__})"
        ) from error


def export_published(folder: Path) -> None:
    """Write the authors' runs into `folder`: runs.csv, curves.csv and SOURCE.md, which says where they come from."""
    for name, frame in zip(("runs", "curves"), read_mlflow(published_store()), strict=True):
        write_text(folder / f"{name}.csv", frame.to_csv(index=False))
    write_text(folder / "SOURCE.md", SOURCE)


COMPUTE_LAW = {"A": 0.396, "k": 0.18, "m": 24.44, "d": 0.247}
"""Published coefficients of the form "sigmoid", compute counted the paper's way."""
DATA_LAW = {"E": 0.163, "A": 18.56, "B": 2.9, "alpha": 0.376, "beta": 0.364}
"""Published coefficients of the form "additive_power": N total parameters, D training targets."""


def predict_from_compute(C: npt.ArrayLike) -> Any:
    """The published compute estimator: NDCG@5 of the frontier at compute C, counted the paper's way [FLOP]."""
    A, k, m, d = COMPUTE_LAW.values()
    return A / (1 + np.exp(-k * (np.log(C) - m))) - d


def predict_from_data(N: npt.ArrayLike, D: npt.ArrayLike) -> Any:
    """The published data estimator: NDCG@5.

    Args:
        N: parameters of the model in all.
        D: training targets that it learns from.
    """
    E, A, B, alpha, beta = DATA_LAW.values()
    return E - A / np.asarray(N, float) ** alpha - B / np.asarray(D, float) ** beta


def refit_data_law(runs: pd.DataFrame, y: str = "valid_ndcg@5_final") -> dict[str, float]:
    """E, A and B of the data law by linear least squares, the published exponents held.

    Args:
        runs: one row per run, as from `runs.table`.
        y: a column: NDCG.
    """
    powers = [-(runs[size] ** -DATA_LAW[power]) for size, power in [("params_total", "alpha"), ("n_targets", "beta")]]
    solution = np.linalg.lstsq(np.column_stack([np.ones(len(runs)), *powers]), runs[y])[0]
    return dict(zip("EAB", solution.tolist(), strict=True))


def read_mlflow(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs (one row each) and curves (one row per evaluation), with the column names of `srtlib.runs`.

    The store logs each value twice under one (run, key, step): one is dropped. Equal values at different
    steps are real and stay. Raises ValueError if `path` is no MLflow store with the authors' names.
    """
    with closing(_connect(path)) as store:
        try:
            real = dict(store.execute("select name, sql from sqlite_master where type = 'table'"))
            if missing := [name for name in _TABLES if not re.match("create table", real.get(name, ""), re.IGNORECASE)]:
                raise ValueError(f"{path} is not an MLflow SQLite store: it has no table {missing[0]}")
            params = pd.read_sql("select run_uuid as run_id, key, value from params", store)
            metrics = pd.read_sql(
                "select run_uuid as run_id, key, value, step, timestamp from metrics where not is_nan", store
            )
            done = pd.read_sql(
                "select run_uuid from runs where lifecycle_stage = 'active' and status = 'FINISHED'", store
            )
        except (sqlite3.Error, pd.errors.DatabaseError) as error:
            raise ValueError(f"{path} is not an MLflow SQLite store: {error}") from error
    config = _wide(params[params["run_id"].isin(done["run_uuid"])], ["run_id"], _PARAMS, path)
    if incomplete := config.columns[config.isna().any()].tolist():
        raise ValueError(f"{path} has runs without {incomplete}: not written by the authors' code")
    config = _typed(config)
    metrics = metrics.sort_values("timestamp").drop_duplicates(["run_id", "key", "step"], keep="last")
    metrics = metrics[metrics["run_id"].isin(config.index)]
    history = _wide(metrics, ["run_id", "step"], _METRICS, path)
    history["wall_s"] = history["wall_s"].groupby("run_id").cumsum()
    ended = pd.to_datetime(metrics.groupby("run_id")["timestamp"].max(), unit="ms").dt.strftime("%Y-%m-%d")
    return _runs(config, history).join(ended.rename("date"), "run_id"), _curves(config, history)


def _connect(path: Path) -> sqlite3.Connection:
    """A store that is only read, and for a bounded time: its tables may be computed without end."""
    if path.suffix == ".bz2":
        store = sqlite3.connect(":memory:")
        store.deserialize(_unpacked(path))
    else:
        store = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    rounds = itertools.count(1)
    store.set_progress_handler(lambda: next(rounds) * _ROUND > MOST_STEPS, _ROUND)
    store.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_ROW)
    return store


def _unpacked(path: Path) -> bytes:
    packed = io.BytesIO(path.read_bytes())
    try:
        with bz2.open(packed) as stream:
            data = stream.read(LARGEST + 1)
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is damaged or cut short: {error}; expected a whole bzip2 file") from None
    if len(data) > LARGEST:
        raise ValueError(f"{path} unpacks to more than {LARGEST:,} bytes; unpack it, and name the .sqlite file")
    return data


def _wide(long: pd.DataFrame, index: list[str], names: dict[str, str], path: Path) -> pd.DataFrame:
    if missing := sorted(set(names) - set(long["key"])):
        raise ValueError(f"{path} has no {missing}: not written by the authors' code")
    wide = long.pivot(index=index, columns="key", values="value").rename_axis(columns=None)
    return wide[list(names)].rename(columns=names)


def _typed(config: pd.DataFrame) -> pd.DataFrame:
    config = config.astype({**dict.fromkeys(_INTEGERS.values(), int), "dropout": float, "batch_flops": float})
    size = config["dataset"].str.extract(r"(\d+)([KM])$")
    config["n_interactions"] = size[0].astype(float) * size[1].map({"K": 1e3, "M": 1e6})
    # The authors' order: one floor per epoch, of the product.
    config["epoch_flops"] = config["batch_flops"].astype(int) * config["n_targets"] // config["batch_size"]
    return config.drop(columns="batch_flops").assign(recipe="paper")


def _curves(config: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    evaluations = history.dropna(subset="valid_ndcg@5").filter(regex="^(?!test_)").reset_index("step")
    frame = config.join(evaluations, how="inner").reset_index()
    return _so_far(frame.assign(epoch=frame["step"] + 1))


def _runs(config: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    by_run = history.sort_index().groupby("run_id")  # last() takes the last value that is there
    valid = [name for name in history.columns if name.startswith("valid_")]
    test = [name for name in history.columns if name.startswith("test_")]
    final = by_run[valid].last().add_suffix("_final")
    frame = config.join([by_run[valid].max(), final, by_run[[*test, "wall_s"]].last()])
    return _so_far(frame.reset_index().assign(epoch=frame["epochs"].to_numpy())).drop(columns="epoch")


def _so_far(frame: pd.DataFrame) -> pd.DataFrame:
    frame["targets_seen"] = frame["n_targets"] * frame["epoch"]
    frame["flops_paper"] = (frame["epoch_flops"] * frame["epoch"]).astype(float)
    return frame.drop(columns="epoch_flops")
