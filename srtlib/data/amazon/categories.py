"""Amazon Reviews 2023, from the public files of a category to its 5-core, on DuckDB or on Spark.

    ratings   the published 5-core without text, or else all reviews, of which the earliest by a user of an item is kept
    5-core    users and items with fewer than five ratings leave, until there are none; the published one stays as it is
    items     metadata of what is left: title, brand (the store), categories

An item is a parent_asin, which the variants of a product share; times are milliseconds since 1970. In place of the
ratings, the files of an official split are read as they are given (see `official`).
Data: Y. Hou, J. Li, Z. He, A. Yan, X. Chen and J. McAuley, "Bridging Language and Items for Retrieval and
Recommendation", 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from filelock import FileLock
from ibis import _
from tqdm import tqdm

from srtlib.data.amazon import official
from srtlib.data.amazon.making import COUNTS, checked, describe, fingerprint, make, write_counts
from srtlib.data.download import download_file
from srtlib.data.engines import expressions
from srtlib.data.engines.engine import Engine, connect
from srtlib.data.statistics import read_counts, tidy
from srtlib.paths import home

NAME = "amazon-2023"  # the data sets are called <name>-<category>, those of official splits <name>-<category>-<split>
HOSTS = (  # the second is a mirror
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023",
    "https://datarepo.eng.ucsd.edu/mcauley_group/data/amazon_2023",
)
CORE = "benchmark/5core/rating_only/{}.csv.gz"
REVIEWS = "raw/review_categories/{}.jsonl.gz"
METADATA = "raw/meta_categories/meta_{}.jsonl.gz"
CATEGORIES = """
    All_Beauty Amazon_Fashion Appliances Arts_Crafts_and_Sewing Automotive Baby_Products Beauty_and_Personal_Care Books
    CDs_and_Vinyl Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics Gift_Cards
    Grocery_and_Gourmet_Food Handmade_Products Health_and_Household Health_and_Personal_Care Home_and_Kitchen
    Industrial_and_Scientific Kindle_Store Magazine_Subscriptions Movies_and_TV Musical_Instruments Office_Products
    Patio_Lawn_and_Garden Pet_Supplies Software Sports_and_Outdoors Subscription_Boxes Tools_and_Home_Improvement
    Toys_and_Games Unknown Video_Games
""".split()


def prepare(
    category: Sequence[str],
    raw: Path | None = None,
    split: str | None = None,
    seed: int = 0,
    engine: str = "duckdb",
    memory: str = "4GB",
    threads: int | None = None,
    master: str | None = None,
) -> pd.DataFrame:
    """Make the data set amazon-2023-<category> of each category; one that is made already is not made again.

    With a split its name is amazon-2023-<category>-<split>. Leave-one-out of `last_out`, and a split by time at
    `official.CUTS` of `timestamp`, have the training, validation and test of the files.

    Args:
        category: names as the public files have them, of `CATEGORIES`.
        raw: a folder that has the raw files of each, in the public folders or straight in it, gzipped or not: the
            metadata, and the 5-core without text, the reviews, or the split's files. Without it the metadata and the
            5-core or the split's files are downloaded; the reviews, from which the same comes, are not.
        split: an official one, last_out or timestamp, as it is given.
        seed: of the order of simultaneous interactions.
        engine: duckdb or spark.
        memory: of the engine (see `connect`); what needs more goes to disk.
        threads: of this machine; default: every core.
        master: the URL of a Spark cluster (default: this machine).

    Returns:
        Every count: set, statistic, value.

    Raises FileNotFoundError for a raw file that is not there, ValueError for a category that is not known, for a file
    that cannot be used, and for a data set of that name that was made from something else.
    """
    if unknown := [name for name in category if name not in CATEGORIES]:
        raise ValueError(f"category {unknown[0]!r} is not known; expected some of {', '.join(CATEGORIES)}")
    official.check_split(split)
    names, work = dict.fromkeys(category), home() / NAME
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work / ".lock"):
        files = [_raw_files(name, raw, split) if raw else _downloaded(name, work / "raw", split) for name in names]
        with connect(engine, work / ".scratch", memory, threads, master) as connected:
            for name, (ratings, metadata) in zip(bar := tqdm(names, unit="set", disable=None), files, strict=True):
                bar.set_description(name)
                _make_set(connected, _folder(name, split), ratings, metadata, split, seed, work / ".scratch")
    folders = [_folder(name, split) for name in names]
    counts = [read_counts(folder / COUNTS).assign(set=folder.name) for folder in folders]
    return pd.concat(counts, ignore_index=True)[["set", "statistic", "value"]]


def _folder(category: str, split: str | None) -> Path:
    return home() / "-".join([NAME, category, *([split] if split else [])])


def _downloaded(category: str, raw: Path, split: str | None) -> tuple[list[Path], Path]:
    places = official.places(category, split) if split else [CORE.format(category)]
    advice = "put it there by hand, or use --raw"
    *ratings, metadata = (
        download_file([f"{host}/{file}" for host in HOSTS], raw / file, advice=advice)
        for file in (*places, METADATA.format(category))
    )
    return ratings, metadata


def _raw_files(category: str, raw: Path, split: str | None) -> tuple[list[Path], Path]:
    """The ratings, those of the 5-core first, or a split's, those without histories first; and the metadata."""
    choices = [[CORE.format(category)], [REVIEWS.format(category)]]
    if split:
        choices = [official.places(category, name) for name in (split, f"{split}_w_his")]
    found = [[path for file in files if (path := _find(raw, file))] for files in choices]
    ratings = next((paths for paths, files in zip(found, choices, strict=True) if len(paths) == len(files)), [])
    metadata = _find(raw, METADATA.format(category))
    if not ratings or not metadata:
        absent = METADATA.format(category) if ratings else " or ".join(", ".join(files) for files in choices)
        raise FileNotFoundError(f"{raw} has no {absent}; expected the public files there")
    return ratings, metadata


def _find(raw: Path, file: str) -> Path | None:
    places = [raw / file, raw / Path(file).name]
    return next((path for path in (*places, *(path.with_suffix("") for path in places)) if path.is_file()), None)


def _make_set(
    engine: Engine, folder: Path, ratings: list[Path], metadata: Path, split: str | None, seed: int, scratch: Path
) -> None:
    def fill(aside: Path) -> None:
        if split:
            kept, funnel = official.ratings(engine, ratings, split, aside, scratch)
        else:
            kept, funnel = _core(engine, *_ratings(engine, ratings[0], aside), scratch)
        if not funnel["ratings_kept"]:
            raise ValueError(
                f"{ratings[0]}: none of {funnel['ratings']:,} ratings is left; expected users and items with "
                f"{expressions.MIN_RATINGS} ratings and more"
            )
        engine.write(expressions.in_order(kept, seed, engine.number), aside / "interactions.parquet")
        interactions, lines = engine.parquet(aside / "interactions.parquet"), engine.lines(metadata)
        items = expressions.parsed_items(lines, engine.fields(lines.line, expressions.ITEM_2023))
        parsed, _counts = checked(engine, items, metadata.name, "JSON objects with a parent_asin", aside)
        engine.write(expressions.items_for(interactions, parsed), aside / "items.parquet")
        describe(engine, aside)
        counts = pd.concat([tidy(funnel), read_counts(aside / COUNTS)])
        if not counts.set_index("statistic").loc["items_with_title", "value"]:
            raise ValueError(
                f"{metadata}: no item of {ratings[0].name} has a title there; expected metadata of the same"
            )
        write_counts(aside, counts)

    files = {path.name: fingerprint(path) for path in (*ratings, metadata)}
    make(folder, {"files": files, "seed": seed}, fill, replace=False)


def _ratings(engine: Engine, path: Path, aside: Path) -> tuple[Any, dict[str, int]]:
    """The file's ratings, checked, and how many lines it has, are bad, and are kept."""
    lines = engine.lines(path)
    if ".csv" in path.suffixes:
        expected = f"rows of {expressions.HEAD_2023}"
        return checked(engine, expressions.rating_lines(lines), path.name, expected, aside)
    found = expressions.reviews(lines, engine.fields(lines.line, expressions.REVIEW_2023))
    return checked(engine, found, path.name, "JSON objects of a review", aside)


def _core(engine: Engine, ratings: Any, found: dict[str, int], scratch: Path) -> tuple[Any, dict[str, int]]:
    """The first rating by each user of each item, of users and items that have enough; and the funnel."""
    step, sizes = expressions.first_of_each(ratings.filter(_.usable)), [found["kept"]]
    while len(sizes) < 3 or sizes[-1] < sizes[-2]:
        path = scratch / f"core-{len(sizes)}.parquet"
        engine.write(step, path)
        sizes.append(pq.read_metadata(path).num_rows)
        step = expressions.often_enough(engine.parquet(path))
    return engine.parquet(path), {
        "ratings": found["lines"],
        "ratings_unusable": found["bad"],
        "ratings_repeated": sizes[0] - sizes[1],
        "ratings_outside_core": sizes[1] - sizes[-1],
        "ratings_kept": sizes[-1],
    }
