"""Several data sets as one, on disk: what a study across categories trains on and is judged on."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from srtlib.data.cache import hashes
from srtlib.data.columns import check_items
from srtlib.data.dataset import PART_END, part_of_id
from srtlib.data.loading import POOLED, check_name, find_folder, load_dataset, pooled, read_tables, write_record
from srtlib.data.splitting import units_per_second
from srtlib.paths import home, make_folder, write_text

FIRST_TIME = 10**8  # seconds: what ends before 1973 holds no real times


def pool_datasets(name: str, parts: Sequence[str]) -> Path:
    """Concatenate data sets in the order given, as a data set of that name in the data home; returns its folder.

    Ids of users and items are prefixed by their set's name ("beauty/A1YJ"), so that nobody and nothing is merged by an
    id that two sets happen to share: whose sequences in different sets belong to one person is often not known.

    Args:
        name: of the pool.
        parts: names or paths of the data sets, each once.

    Raises FileExistsError for a pool of that name with other content, ValueError for a part that is named twice or
    cannot be used, FileNotFoundError for one that is not there.
    """
    check_name(name)
    record = {Path(part).name: load_dataset(part).fingerprint for part in parts}
    if len(record) < max(2, len(parts)):
        raise ValueError(f"a pool is made of two or more different data sets; given were {', '.join(parts) or 'none'}")
    folder = home() / name
    if folder.exists():
        if [*pooled(folder).items()] == [*record.items()]:
            return folder
        raise FileExistsError(f"{folder} is there already, of other content; choose another name, or move it away")

    def fill(aside: Path) -> None:
        interactions, items = zip(*(_prefixed(part) for part in parts), strict=True)
        pd.concat(_in_one_unit(interactions), ignore_index=True).to_parquet(aside / "interactions.parquet", index=False)
        pd.concat(items, ignore_index=True).to_parquet(aside / "items.parquet", index=False)
        write_text(aside / POOLED, json.dumps(record, indent=2))
        write_record(aside, hashlib.sha256(json.dumps(record).encode()).hexdigest(), hashes(aside))

    return make_folder(folder, fill)


def pool_statistics(name: str | Path) -> pd.DataFrame:
    """What each part brings to a pool, one row per part and one for all.

    Columns: part, users (sequences), items, interactions, and `shared_titles`: items whose title stands in another
    part too (compared without case).
    """
    dataset = load_dataset(name)
    items = dataset.catalogue.assign(part=part_of_id(dataset.catalogue["item_id"]))
    titles = items["title"].str.lower().str.strip()
    shared = (items["part"].groupby(titles).transform("nunique") > 1) & (titles != "")
    users = part_of_id(pd.Series(dataset.user_ids))
    lengths = pd.Series(dataset.offsets).diff().dropna().astype(int).set_axis(users)
    table = pd.DataFrame(
        {
            "users": users.value_counts(),
            "items": items["part"].value_counts(),
            "interactions": lengths.groupby(level=0).sum(),
            "shared_titles": shared.groupby(items["part"]).sum(),
        }
    )
    table = table.loc[items["part"].drop_duplicates()].rename_axis("part").reset_index()
    return pd.concat([table, table.drop(columns="part").sum().to_frame().T.assign(part="all")], ignore_index=True)


def _in_one_unit(logs: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The same interactions, times counted in the finest unit of any part; places in a sequence, before 1973, stay."""
    latest = [log["timestamp"].max() for log in logs]
    finest = max(map(units_per_second, latest))
    return [
        log.assign(timestamp=log["timestamp"] * (finest // units_per_second(last))) if last > FIRST_TIME else log
        for log, last in zip(logs, latest, strict=True)
    ]


def _prefixed(part: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A data set's two tables with prefixed ids, and the same columns for every set."""
    folder = find_folder(part)
    prefix = folder.name + PART_END
    interactions, items = read_tables(folder)
    log = interactions.assign(user_id=prefix + interactions["user_id"], item_id=prefix + interactions["item_id"])
    return log, check_items(items).assign(item_id=prefix + items["item_id"])
