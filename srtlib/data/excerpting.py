"""The example that ships with srtlib: an excerpt of a shop's real sales (UCI Online Retail II, CC BY 4.0).

    python -m srtlib.data.excerpting path/to/online_retail_ii_2009_2011 datasets/online_retail

Customers are drawn by a hash of their id; each keeps the last purchases; items are those that occur.
"""

import argparse
import hashlib
from pathlib import Path

import pandas as pd

from srtlib.data.reading import read_table
from srtlib.paths import whole_file

CUSTOMERS, LONGEST = 3_000, 100


def excerpt(
    interactions: pd.DataFrame, items: pd.DataFrame, customers: int = CUSTOMERS, longest: int = LONGEST
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The last purchases of some customers, and the items among them.

    Args:
        interactions: user_id, item_id, timestamp; rows of one time stand in their order.
        items: item_id, title.
        customers: how many; fewer are a part of more.
        longest: most purchases of each.

    >>> log = pd.DataFrame({"user_id": list("aaab"), "item_id": list("xyzx"), "timestamp": [3, 1, 2, 1]})
    >>> items = pd.DataFrame({"item_id": list("xyzw"), "title": list("XYZW")})
    >>> kept, known = excerpt(log, items, customers=2, longest=2)
    >>> kept["item_id"].tolist(), known["item_id"].tolist()
    (['z', 'x', 'x'], ['x', 'z'])
    """
    users = sorted(interactions["user_id"].unique(), key=lambda user: hashlib.md5(user.encode()).digest())
    log = interactions[interactions["user_id"].isin(users[:customers])].sort_values(
        ["user_id", "timestamp"], kind="stable", ignore_index=True
    )
    log = log.groupby("user_id", sort=False).tail(longest).reset_index(drop=True)
    return log, items[items["item_id"].isin(log["item_id"])].reset_index(drop=True)


def main() -> None:
    """Write the two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="the folder of the whole data set")
    parser.add_argument("out", type=Path, help="the folder to write to")
    options = parser.parse_args()
    log, items = (read_table(options.source / f"{stem}.parquet") for stem in ("interactions", "items"))
    tables = excerpt(log[["user_id", "item_id", "timestamp"]], items[["item_id", "title"]])
    for stem, table in zip(("interactions", "items"), tables, strict=True):
        with whole_file(options.out / f"{stem}.parquet") as aside:
            table.to_parquet(aside, index=False, compression="zstd", compression_level=19)


if __name__ == "__main__":
    main()
