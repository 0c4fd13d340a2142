"""Data sets by name or path: where they lie, how their tables become a `Dataset`, and the cache of what was made.

A data set on disk is a folder with interactions.parquet (user_id, item_id, timestamp) and items.parquet
(item_id, title[, brand, categories]), or CSV files of the same columns. Of a user's interactions at one time the order
is that of a column file_order, where there is one, or else that of a hash.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from srtlib.data import cache
from srtlib.data.columns import FILE_ORDER, check_interactions, check_items
from srtlib.data.dataset import MIN_LENGTH, Dataset
from srtlib.data.reading import read_table
from srtlib.data.splitting import count_before
from srtlib.data.synthetic import World, generate
from srtlib.params import TEXT_FIELDS
from srtlib.paths import dataset_folders, home, write_text
from srtlib.protocols import Cuts

FORMAT = (
    "a folder with interactions.parquet (user_id, item_id, timestamp) and "
    "items.parquet (item_id, title[, brand, categories]), or CSV files of the same names and columns"
)
SYNTHETIC = {"synthetic": "a", "synthetic_b": "b"}  # name -> domain of the synthetic world
SYNTHETIC_USERS = 40_000
FEW = 0.1  # share of the items that may be without any text before it is said
TABLES = ("interactions", "items")
POOLED = "pooled.json"  # in the folder of a pool (srtlib.data.pooling): its parts and their fingerprints
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
# what stands for something else already
RESERVED = (*SYNTHETIC, "cache", "published", "published_runs", "amazon", "amazon-2023")
RECORD = "imported.json"  # in a folder that was imported or pooled: hashes of what it was made from, and of its files


def load_dataset(name_or_path: str | Path, seed: int = 0, cuts: Cuts | None = None) -> Dataset:
    """Load a data set by name (synthetic, synthetic_b, a folder in SRT_DATA or in the data home) or by its path.

    What preparation makes is cached under the data home by the content of the files.

    Args:
        name_or_path: of the data set.
        seed: breaks ties between interactions of a user at the same time (never by item id: that would leak), and
            seeds the synthetic world.
        cuts: of a split by time (srtlib.data.splitting); default: leave-one-out.

    Raises FileNotFoundError for an unknown name; ValueError, naming the file and the row, for tables that cannot be
    used, for an imported folder whose files are no longer what was written, and for cuts that do not fit.

    >>> load_dataset("synthetic").n_items > 1000
    True
    """
    folder = find_folder(name_or_path, seed)
    found = _checked_hashes(folder)
    made_from = ["v3", seed, *found.values(), *([str(cuts)] if cuts else [])]
    key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]

    def prepare(aside: Path) -> None:
        log, items = read_tables(folder)
        _save(assemble(log, check_items(items), folder.name, seed, cuts), aside)

    prepared = cache.cached_folder("datasets", key, prepare)
    return replace(_open(prepared), name=_name(name_or_path, folder), parts=tuple(pooled(folder)), cuts=cuts)


def pooled(folder: Path) -> dict[str, str]:
    """Fingerprint of each part of the pool in a folder, in order; empty where the data set is no pool.

    Raises ValueError for a record that is damaged.
    """
    return _json(folder / POOLED) if (folder / POOLED).is_file() else {}


def _json(path: Path) -> dict[str, Any]:
    """The object in a file of names and texts; ValueError for any other."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str | dict) for value in found.values()):
        raise ValueError(f"{path} is damaged; expected a JSON object as it was written. Move {path.parent} away")
    return found


def check_name(name: str) -> str:
    """The name, if a data set may have it: of letters, digits, dots, dashes and underscores, no dot first.

    Raises ValueError for another, and for one that stands for something else.

    >>> check_name("my-shop_2024.1")
    'my-shop_2024.1'
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"name {name!r}: expected letters, digits, '.', '_' and '-' only, and no dot first")
    if name in RESERVED:
        raise ValueError(f"name {name!r} stands for something else; expected one that is none of {', '.join(RESERVED)}")
    return name


def _checked_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each table of a folder, by the file's name, once `check_record` has seen them."""
    found = {path.name: cache.sha256(path) for path in (table_path(folder, stem) for stem in TABLES)}
    check_record(folder, found)
    return found


def check_record(folder: Path, found: Mapping[str, str]) -> None:
    """Complain of an imported folder whose files are no longer what was written.

    Args:
        folder: of a data set, imported or not.
        found: SHA-256 of each of its tables, by the file's name.

    Raises ValueError, naming the file that differs.
    """
    if not (folder / RECORD).is_file():
        return
    written = read_record(folder).get("tables", found)
    more = {name: cache.sha256(folder / name) for name in written if name not in found and (folder / name).is_file()}
    for name in {**found, **written}:
        if written.get(name) != {**more, **found}.get(name):
            raise ValueError(
                f"{folder / name} is not what was imported (its hash differs from that in {RECORD}); import it again "
                f"under another name, or delete {RECORD} if it was changed on purpose"
            )


def write_record(folder: Path, digest: str, tables: Mapping[str, str]) -> None:
    """Write imported.json.

    Args:
        folder: of the data set.
        digest: SHA-256 of what it was made from.
        tables: SHA-256 of each of its files, by name.
    """
    write_text(folder / RECORD, json.dumps(_record(digest, tables), indent=2))


def _record(digest: object, tables: object) -> dict[str, object]:
    seal = hashlib.sha256(json.dumps([digest, tables]).encode()).hexdigest()
    return {"sha256": digest, "tables": tables, "seal": seal}


def read_record(folder: Path) -> dict[str, Any]:
    """What imported.json says; ValueError where it is not what an import writes."""
    record = _json(folder / RECORD)
    if "tables" in record and record != _record(record.get("sha256"), record["tables"]):
        raise ValueError(f"{folder / RECORD} is damaged; expected the hashes that an import writes. Move {folder} away")
    return record


def read_tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The interactions and the items of a data set's folder, checked: ids as text, times as numbers, text as text.

    The items have those of the text fields that the folder has.
    """
    _checked_hashes(folder)
    interactions, items = (table_path(folder, stem) for stem in TABLES)
    log, found = check_interactions(read_table(interactions), str(interactions)), read_table(items)
    return log, check_items(found, str(items))[["item_id", *(field for field in TEXT_FIELDS if field in found)]]


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
            try:
                sizes = {stem: _n_rows(path) for stem, path in tables.items()}
            except (OSError, pa.ArrowException) as error:
                warnings.warn(f"{folder} is left out: a table cannot be read ({error})", stacklevel=2)
                continue
            megabytes = round(sum(path.stat().st_size for path in folder.glob("*")) / 1e6, 1)
            rows.append({"name": folder.name, **sizes, "megabytes": megabytes, "folder": str(folder)})
    table = pd.DataFrame(rows, columns=["name", *TABLES, "megabytes", "folder"])
    return table.astype(dict.fromkeys(TABLES, "Int64"))


def _n_rows(path: Path) -> int | None:
    return pq.ParquetFile(path).metadata.num_rows if path.suffix == ".parquet" else None


def synthetic_world(name: str, seed: int = 0) -> World:
    """The world behind a synthetic data set, which knows the best achievable NDCG.

    Args:
        name: synthetic or synthetic_b.
        seed: of the world.

    >>> synthetic_world("synthetic").items["title"].nunique()
    5000
    """
    return World(seed=seed, domain=SYNTHETIC[name])


def build_dataset(
    interactions: pd.DataFrame, items: pd.DataFrame, name: str, seed: int = 0, cuts: Cuts | None = None
) -> Dataset:
    """A Dataset from two tables.

    Interactions with items that have no row in `items` are dropped with a warning (refused above half of all);
    users with fewer than three interactions are skipped. Both are counted in `Dataset.dropped`.

    Args:
        interactions: user_id, item_id, timestamp; columns of any type (see `srtlib.data.columns`).
        items: item_id, title and, if there are any, brand and categories.
        name: of the data set.
        seed: breaks ties between interactions of a user at the same time.
        cuts: of a split by time (srtlib.data.splitting); default: leave-one-out.

    Raises ValueError, naming the table and the row, for tables that cannot be used.

    >>> log = pd.DataFrame({"user_id": list("uuuu"), "item_id": list("abca"), "timestamp": [3, 1, 2, 4]})
    >>> items = pd.DataFrame({"item_id": list("abc"), "title": ["Red pen", "Blue pen", "Ink"]})
    >>> data = build_dataset(log, items, "tiny")
    >>> data.items.tolist(), data.n_targets
    ([1, 2, 0, 0], 1)
    """
    return assemble(check_interactions(interactions), check_items(items), name, seed, cuts)


def assemble(log: pd.DataFrame, catalogue: pd.DataFrame, name: str, seed: int, cuts: Cuts | None = None) -> Dataset:
    """`build_dataset` of tables that were checked.

    Args:
        log: what `check_interactions` returned.
        catalogue: what `check_items` returned.
        name: of the data set.
        seed: of what breaks ties in time.
        cuts: of a split by time.

    Raises ValueError where most interactions name unknown items, or nobody has three, and for cuts that do not fit.
    """
    log = log.copy()
    log["item"] = pd.Index(catalogue["item_id"]).get_indexer(pd.Index(log["item_id"]))
    unknown = int((log["item"] < 0).sum())
    first = log["item_id"].iloc[int((log["item"] < 0).argmax())]
    if unknown * 2 > len(log):
        raise ValueError(
            f"{name}: {unknown:,} of {len(log):,} interactions name items without a row in items, {first!r} first; "
            f"expected at most half, and ids as the items have them, such as {catalogue['item_id'].iloc[0]!r}"
        )
    if unknown:
        warnings.warn(
            f"{name}: dropped {unknown:,} interactions whose item has no row in items, {first!r} first", stacklevel=3
        )
        log = log[log["item"] >= 0]
    silent = int((catalogue[[*TEXT_FIELDS]].apply(lambda text: text.str.strip()) == "").all(axis=1).sum())
    if silent > FEW * len(catalogue):
        warnings.warn(
            f"{name}: {silent:,} of {len(catalogue):,} items have no {', '.join(TEXT_FIELDS)}: "
            "a model that reads text cannot tell them apart",
            stacklevel=3,
        )
    log = in_order(log, seed)
    lengths = log.groupby("user_id", sort=False, observed=True)["item"].transform("size")
    short = log["user_id"][lengths < MIN_LENGTH].nunique()
    log = log[lengths >= MIN_LENGTH]
    if log.empty:
        raise ValueError(f"{name}: no user has {MIN_LENGTH} interactions; nothing is left to learn from")
    users, starts = np.unique(log["user_id"].to_numpy(dtype=str), return_index=True)
    offsets = np.append(starts, len(log)).astype(np.int64)
    return Dataset(
        name=name,
        user_ids=users,
        offsets=offsets,
        items=log["item"].to_numpy(dtype=np.int32),
        catalogue=catalogue,
        dropped={"interactions_without_item": unknown, "users_too_short": short},
        cuts=cuts,
        before=count_before(log["timestamp"].to_numpy(), offsets, cuts, name) if cuts else None,
    )


def find_folder(name_or_path: str | Path, seed: int = 0) -> Path:
    """The folder of a data set known by its name or path.

    Args:
        name_or_path: of the data set.
        seed: that a synthetic world is made from, where it is not there.

    Raises FileNotFoundError, naming what there is, where there is none.
    """
    name = str(name_or_path)
    if name in SYNTHETIC:
        world = synthetic_world(name, seed)
        target = home() / "synthetic" / f"{name}-{seed}"
        return cache.made_once(target, lambda aside: generate(aside, world, SYNTHETIC_USERS, seed))
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
    """The file of a table in a data set's folder, Parquet or CSV.

    Args:
        folder: of the data set.
        stem: interactions or items.

    Raises FileNotFoundError where there is none.
    """
    for path in (folder / f"{stem}.parquet", folder / f"{stem}.csv"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder} has no {stem}.parquet or {stem}.csv; expected {FORMAT}")


def in_order(log: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Interactions by user and time; ties by their file_order where they have one, else by a hash of the row.

    Args:
        log: user_id, item_id, timestamp and anything else.
        seed: of the hash.
    """
    keys = ["user_id", "timestamp", *(name for name in (FILE_ORDER,) if name in log)]
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
    if dataset.before is not None:
        np.save(folder / "before.npy", dataset.before)


def _open(folder: Path) -> Dataset:
    return Dataset(
        name=folder.name,
        user_ids=np.load(folder / "user_ids.npy", mmap_mode="r"),
        offsets=np.load(folder / "offsets.npy", mmap_mode="r"),
        items=np.load(folder / "items.npy", mmap_mode="r"),
        catalogue=pd.read_parquet(folder / "catalogue.parquet"),
        dropped=json.loads((folder / "dropped.json").read_text()),
        before=np.load(before, mmap_mode="r") if (before := folder / "before.npy").is_file() else None,
    )
