"""Anybody's interactions and items, from CSV, JSON lines or Parquet, as a data set of the library's one format."""

import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from srtlib.data.cache import hashes, sha256
from srtlib.data.columns import FILE_ORDER, as_ids, as_numbers, check_interactions, check_items
from srtlib.data.loading import RECORD, assemble, check_name, check_record, in_order, read_record, write_record
from srtlib.data.reading import read_columns, require_file
from srtlib.params import TEXT_FIELDS
from srtlib.paths import home, make_folder

COLUMNS = {"interactions": ("user_id", "item_id", "timestamp", "rating"), "items": ("item_id", *TEXT_FIELDS)}
OPTIONAL = ("rating", "brand", "categories")
Ties = Literal["hash", "keep"]


def import_data(
    interactions: Path | str,
    items: Path | str,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    *,
    interactions_columns: Mapping[str, str] | None = None,
    items_columns: Mapping[str, str] | None = None,
    date_format: str | None = None,
    encoding: str = "utf-8",
    ties: Ties = "hash",
) -> Path:
    """Make a data set in the data home from two files; what was imported already is not imported again.

    Ids arrive as they are written. Times may be numbers or dates, which become seconds (see `as_times`). Lists of
    categories are joined by " > " (see `check_items`), HTML entities are resolved, white space is made single blanks.
    Of several rows of an item the last wins.

    Args:
        interactions: file of who took what when, whose name ends as `read_table` says.
        items: file of what there is.
        name: of the data set; by default that of the interactions' file and a hash of the content.
        columns: our name -> the files', where they differ (user_id, item_id, timestamp, rating; title, brand,
            categories).
        seed: of the order of interactions at the same time.
        interactions_columns: the same for the file of interactions alone.
        items_columns: the same for the file of items alone.
        date_format: of dates that are not ISO 8601, as `datetime.strptime` reads it, such as %d/%m/%Y.
        encoding: of text files.
        ties: the order of a user's interactions at one time, such as a basket's: that of a hash of user, item and time,
            so that the order of the file says nothing (hash), or that of the file (keep).

    Returns:
        The folder of the data set.

    Raises FileExistsError when there is another data set of that name, FileNotFoundError for a file that is not there,
    ValueError, naming the file and the row, for one that cannot be used.
    """
    if name is not None:
        check_name(name)
    if ties not in get_args(Ties):
        raise ValueError(f"ties {ties!r}: expected one of {', '.join(get_args(Ties))}")
    files = {"interactions": Path(interactions), "items": Path(items)}
    theirs = {
        "interactions": _mapping("interactions", columns or {}, interactions_columns or {}),
        "items": _mapping("items", columns or {}, items_columns or {}),
    }
    digest = _digest(files.values(), [theirs, seed, date_format, encoding, *([] if ties == "hash" else [ties])])
    folder = home() / (name or _default_name(files["interactions"], digest))
    if folder.exists():
        if _is_import_of(folder, digest):
            return folder
        raise FileExistsError(f"{folder} is there already, of other content; choose another name, or move it away")
    log = _interactions(files["interactions"], theirs["interactions"], encoding, date_format)
    if ties == "keep":
        log[FILE_ORDER] = np.arange(len(log))
    catalogue = _items(files["items"], theirs["items"], encoding)
    assemble(log, check_items(catalogue), folder.name, seed)  # refuses what cannot be learnt from

    def fill(aside: Path) -> None:
        in_order(log, seed).to_parquet(aside / "interactions.parquet", index=False, compression="zstd")
        catalogue.to_parquet(aside / "items.parquet", index=False)
        write_record(aside, digest, hashes(aside))

    return make_folder(folder, fill)


def _mapping(kind: str, common: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Our name -> theirs, of the columns of a table that are called otherwise there."""
    every = dict.fromkeys(name for names in COLUMNS.values() for name in names)
    for known, given in ((every, common), (COLUMNS[kind], own)):
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"column {unknown[0]!r} is none of ours; expected one of {', '.join(known)}")
    return {name: theirs for name, theirs in {**common, **own}.items() if name in COLUMNS[kind]}


def _digest(files: Iterable[Path], options: object) -> str:
    digest = hashlib.sha256(json.dumps(["v2", options]).encode())
    for path in files:
        require_file(path)
        digest.update(sha256(path).encode())
    return digest.hexdigest()


def _default_name(path: Path, digest: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", path.name.partition(".")[0]) or "data"
    return f"{stem}-{digest[:8]}"


def _is_import_of(folder: Path, digest: str) -> bool:
    """Whether a folder was imported from that content, and is as it was written."""
    if not (folder / RECORD).is_file() or read_record(folder).get("sha256") != digest:
        return False
    check_record(folder, {f"{stem}.parquet": sha256(folder / f"{stem}.parquet") for stem in COLUMNS})
    return True


def _interactions(path: Path, theirs: Mapping[str, str], encoding: str, date_format: str | None) -> pd.DataFrame:
    table = _read("interactions", path, theirs, encoding)
    log = check_interactions(table, str(path), date_format)
    return log.assign(rating=as_numbers(table["rating"], str(path)).astype("float32")) if "rating" in table else log


def _items(path: Path, theirs: Mapping[str, str], encoding: str) -> pd.DataFrame:
    table = _read("items", path, theirs, encoding)
    table["item_id"] = as_ids(table["item_id"], str(path))
    table = table.drop_duplicates("item_id", keep="last")
    texts = check_items(table, str(path))
    cleaned = {field: texts[field].map(_clean) for field in TEXT_FIELDS if field in table}
    return pd.DataFrame({"item_id": texts["item_id"], **cleaned})


def _read(kind: str, path: Path, theirs: Mapping[str, str], encoding: str) -> pd.DataFrame:
    """The columns of a file under our names; which ones there are is checked."""
    names = _roles(kind, theirs)
    table, found = read_columns(path, set(names.values()), encoding)
    for ours, name in names.items():
        if name not in found and (ours in theirs or ours not in OPTIONAL):
            wanted = f"{name} for {ours}" if ours in theirs else ours
            how = "" if ours in theirs else f"; a column of another name is named by --column {ours}=NAME"
            raise ValueError(f"{path}: no column {wanted}; found {', '.join(found)}{how}")
    return pd.DataFrame({ours: table[name] for ours, name in names.items() if name in found})


def _roles(kind: str, theirs: Mapping[str, str]) -> dict[str, str]:
    """Our name -> theirs. A column that is named for one of ours is no optional other by its name alone; a title may be
    the id, too."""
    named = set(theirs.values())
    names = {
        ours: theirs.get(ours, ours)
        for ours in COLUMNS[kind]
        if ours in theirs or ours not in OPTIONAL or ours not in named
    }
    for one, other in combinations(names, 2):
        if names[one] == names[other] and (one, other) != ("item_id", "title"):
            raise ValueError(
                f"column {names[one]!r} of the {kind} is named for {one} and for {other}; expected one each"
            )
    return names


def _clean(text: str) -> str:
    """HTML entities resolved, white space made single blanks."""
    return re.sub(r"\s+", " ", html.unescape(text)).strip()
