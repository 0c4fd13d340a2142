"""Data sets by name or path: where they lie, how their tables become a `Dataset`, and the cache of what was made.

A data set on disk is a folder with interactions.parquet (user_id, item_id, timestamp) and items.parquet
(item_id, title[, brand, categories]), or CSV files of the same columns.
"""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from srtlib.data.dataset import MIN_LENGTH, TEXT_FIELDS, Dataset
from srtlib.data.synthetic import World, generate
from srtlib.paths import dataset_folders, home, make_folder

FORMAT = (
    "a folder with interactions.parquet (user_id, item_id, timestamp) and "
    "items.parquet (item_id, title[, brand, categories]), or CSV files of the same names and columns"
)
SYNTHETIC = {"synthetic": "a", "synthetic_b": "b"}  # name -> domain of the synthetic world
SYNTHETIC_USERS = 40_000
TABLES = ("interactions", "items")
POOLED = "pooled.json"  # in the folder of a pool (srtlib.data.pooling): its parts and their fingerprints


def load_dataset(name_or_path: str | Path, seed: int = 0) -> Dataset:
    """Load a data set by name (synthetic, synthetic_b, a folder in SRT_DATA or in the data home) or by its path.

    What preparation makes is cached under the data home by the content of the files. `seed` breaks ties between
    interactions of a user at the same time (never by item id: that would leak), and seeds the synthetic world.

    Raises FileNotFoundError for an unknown name, ValueError for tables that cannot be used.

    >>> load_dataset("synthetic").n_items > 1000
    True
    """
    folder = find_folder(name_or_path, seed)
    tables = [table_path(folder, stem) for stem in TABLES]
    digest = hashlib.sha256(f"v1:{seed}".encode())
    for path in tables:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    made: list[Dataset] = []

    def prepare(aside: Path) -> None:
        made.append(build_dataset(read_table(tables[0]), read_table(tables[1]), folder.name, seed))
        _save(made[0], aside)

    prepared = make_folder(home() / "cache" / "datasets" / digest.hexdigest()[:16], prepare)
    return replace(_open(prepared), name=_name(name_or_path, folder), parts=tuple(pooled(folder)))


def pooled(folder: Path) -> dict[str, str]:
    """Fingerprint of each part of the pool in a folder, in order; empty where the data set is no pool."""
    record = folder / POOLED
    return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}


def list_datasets() -> pd.DataFrame:
    """The data sets that are known by name, those of SRT_DATA first: name, interactions, items, megabytes, folder.

    Numbers of rows are those of Parquet files; of a CSV file they are null.

    >>> list_datasets().columns.tolist()
    ['name', 'interactions', 'items', 'megabytes', 'folder']
    """
    rows = []
    for folder in (path for root in dataset_folders() for path in sorted(root.glob("*/"))):
        tables = {
            stem: path for stem in TABLES for path in folder.glob(f"{stem}.*") if path.suffix in (".parquet", ".csv")
        }
        if len(tables) == len(TABLES):
            sizes = {stem: _n_rows(path) for stem, path in tables.items()}
            megabytes = round(sum(path.stat().st_size for path in folder.glob("*")) / 1e6, 1)
            rows.append({"name": folder.name, **sizes, "megabytes": megabytes, "folder": str(folder)})
    table = pd.DataFrame(rows, columns=["name", *TABLES, "megabytes", "folder"])
    return table.astype(dict.fromkeys(TABLES, "Int64"))


def _n_rows(path: Path) -> int | None:
    return pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None


def synthetic_world(name: str, seed: int = 0) -> World:
    """The world behind a synthetic data set, which knows the best achievable NDCG.

    >>> synthetic_world("synthetic").items["title"].nunique()
    5000
    """
    return World(seed=seed, domain=SYNTHETIC[name])


def build_dataset(interactions: pd.DataFrame, items: pd.DataFrame, name: str, seed: int = 0) -> Dataset:
    """A Dataset from two tables (columns as in the module's docstring).

    Interactions with items that have no row in `items` are dropped with a warning (refused above half of all);
    users with fewer than three interactions are skipped. Both are counted in `Dataset.dropped`.

    >>> log = pd.DataFrame({"user_id": list("uuuu"), "item_id": list("abca"), "timestamp": [3, 1, 2, 4]})
    >>> items = pd.DataFrame({"item_id": list("abc"), "title": ["Red pen", "Blue pen", "Ink"]})
    >>> data = build_dataset(log, items, "tiny")
    >>> data.items.tolist(), data.n_targets
    ([1, 2, 0, 0], 1)
    """
    catalogue = check_items(items)
    log = _check_interactions(interactions)
    log["item"] = pd.Index(catalogue["item_id"]).get_indexer(pd.Index(log["item_id"]))
    unknown = int((log["item"] < 0).sum())
    if unknown * 2 > len(log):
        raise ValueError(
            f"{unknown:,} of {len(log):,} interactions name items without a row in items; expected at most half"
        )
    if unknown:
        warnings.warn(f"{name}: dropped {unknown:,} interactions whose item has no row in items", stacklevel=2)
        log = log[log["item"] >= 0]
    log = _sort(log, seed)
    lengths = log.groupby("user_id", sort=False, observed=True)["item"].transform("size")
    short = log["user_id"][lengths < MIN_LENGTH].nunique()
    log = log[lengths >= MIN_LENGTH]
    if log.empty:
        raise ValueError(f"{name}: no user has {MIN_LENGTH} interactions; nothing is left to learn from")
    users, starts = np.unique(log["user_id"].to_numpy(dtype=str), return_index=True)
    return Dataset(
        name=name,
        user_ids=users,
        offsets=np.append(starts, len(log)).astype(np.int64),
        items=log["item"].to_numpy(dtype=np.int32),
        catalogue=catalogue,
        dropped={"interactions_without_item": unknown, "users_too_short": short},
    )


def find_folder(name_or_path: str | Path, seed: int = 0) -> Path:
    """The folder of a data set known by its name or path; a synthetic world is made from `seed` if it is absent."""
    name = str(name_or_path)
    if name in SYNTHETIC:
        world = synthetic_world(name, seed)
        target = home() / "synthetic" / f"{name}-{seed}"
        return make_folder(target, lambda aside: generate(aside, world, SYNTHETIC_USERS, seed))
    candidates = [folder / name for folder in dataset_folders()]
    for folder in [Path(name), *candidates]:
        if folder.is_dir():
            return folder
    known = sorted({p.parent.name for root in dataset_folders() for p in root.glob("*/interactions.*")})
    raise FileNotFoundError(
        f"data set {name!r} is not there; expected one of {', '.join([*SYNTHETIC, *known])}, or {FORMAT}"
    )


def _name(name_or_path: str | Path, folder: Path) -> str:
    return str(name_or_path) if str(name_or_path) in SYNTHETIC else folder.name


def table_path(folder: Path, stem: str) -> Path:
    """The file of a table (interactions or items) in a data set's folder, Parquet or CSV."""
    for path in (folder / f"{stem}.parquet", folder / f"{stem}.csv"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder} has no {stem}.parquet or {stem}.csv; expected {FORMAT}")


def read_table(path: Path) -> pd.DataFrame:
    """A table of interactions or items, .csv (ids as text) or Parquet; ValueError for what cannot be read."""
    reader: Callable[[Path], pd.DataFrame] = pd.read_parquet
    if path.suffix == ".csv":
        reader = lambda p: pd.read_csv(p, dtype={"user_id": str, "item_id": str})  # noqa: E731
    try:
        return reader(path)
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path.name} is empty; expected {FORMAT}") from None
    except Exception as error:
        raise ValueError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from None


def _require(table: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{what}: no column {', '.join(missing)}; found {', '.join(map(str, table.columns))}")
    if table.empty:
        raise ValueError(f"{what}: the table is empty; expected at least one row")
    for column in columns:
        if column.endswith("_id") and (nulls := int(table[column].isna().sum())):
            raise ValueError(f"{what}: {nulls:,} rows have no {column}; expected one in every row")


def check_items(items: pd.DataFrame) -> pd.DataFrame:
    """item_id and the text fields of a table of items, as text, empty where unknown; ValueError for repeated ids.

    >>> check_items(pd.DataFrame({"item_id": [7], "title": ["Ink"]})).to_dict("records")
    [{'item_id': '7', 'title': 'Ink', 'brand': '', 'categories': ''}]
    """
    _require(items, ("item_id", "title"), "items")
    ids = items["item_id"].astype(str)
    if repeated := int(ids.duplicated().sum()):
        example = ids[ids.duplicated()].iloc[0]
        raise ValueError(f"items: {repeated:,} rows repeat an item_id, {example!r} among them; expected one row each")
    text = {f: items[f].fillna("").astype(str) if f in items else "" for f in TEXT_FIELDS}
    return pd.DataFrame({"item_id": ids.to_numpy(dtype=object), **text}).reset_index(drop=True)


def _check_interactions(interactions: pd.DataFrame) -> pd.DataFrame:
    _require(interactions, ("user_id", "item_id", "timestamp"), "interactions")
    return pd.DataFrame(
        {
            "user_id": interactions["user_id"].astype(str),
            "item_id": interactions["item_id"].astype(str),
            "timestamp": timestamps(interactions["timestamp"], "interactions"),
        }
    )


def timestamps(column: pd.Series, what: str) -> pd.Series:
    """A column of timestamps as numbers; ValueError, naming the table (`what`), where one is none."""
    if pd.api.types.is_numeric_dtype(column) and not column.isna().any():
        return column
    numbers = pd.to_numeric(column, errors="coerce")
    bad = column[numbers.isna()]
    if len(bad):
        raise ValueError(f"{what}: timestamp {bad.iloc[0]!r} is not a number ({len(bad):,} rows are not)")
    return numbers


def _sort(log: pd.DataFrame, seed: int) -> pd.DataFrame:
    """By (user, timestamp); ties by a seeded hash of the row."""
    keys = ["user_id", "timestamp"]
    if log.duplicated(keys).any():
        row = log["user_id"] + "\t" + log["item_id"] + "\t" + log["timestamp"].astype(str)
        log = log.assign(tie=pd.util.hash_array(row.to_numpy(dtype=object), hash_key=f"{seed:016d}"))
        keys = [*keys, "tie"]
    return log.sort_values(keys, kind="stable")


def _save(dataset: Dataset, folder: Path) -> None:
    np.save(folder / "user_ids.npy", dataset.user_ids)
    np.save(folder / "offsets.npy", dataset.offsets)
    np.save(folder / "items.npy", dataset.items)
    dataset.catalogue.to_parquet(folder / "catalogue.parquet")
    (folder / "dropped.json").write_text(json.dumps(dataset.dropped))


def _open(folder: Path) -> Dataset:
    return Dataset(
        name=folder.name,
        user_ids=np.load(folder / "user_ids.npy", mmap_mode="r"),
        offsets=np.load(folder / "offsets.npy", mmap_mode="r"),
        items=np.load(folder / "items.npy", mmap_mode="r"),
        catalogue=pd.read_parquet(folder / "catalogue.parquet"),
        dropped=json.loads((folder / "dropped.json").read_text()),
    )
