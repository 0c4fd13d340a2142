"""Amazon Product Data, from the public files to the paper's data sets, in one call, on DuckDB or on Spark.

    download    the raw files, where no folder with them is given
    items       metadata -> items with a usable title, the last row of each asin
    transfer    the 2014 5-core sets of Beauty and Sports -> amazon-beauty, amazon-sports
    users       ratings -> users with their counts: who has 5 or more of known items and is in no transfer set?
    samples     users drawn by a seeded hash -> amazon-100K, -500K, -1M, -5M, -10M, each part of the next
    vocabulary  titles and brands -> the size of their vocabulary

Every count goes to a table beside the data, next to the authors' where theirs is known. Data: J. Ni, J. Li and
J. McAuley, EMNLP 2019 (ratings and metadata of 2018); R. He and J. McAuley, WWW 2016 (5-core sets of 2014).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from srtlib.data.amazon.steps import METADATA, RATINGS, TRANSFER, Preparation
from srtlib.data.download import download_file
from srtlib.data.engines.engine import connect
from srtlib.paths import home, write_text

HOSTS = (  # of the release of 2018; the second is a mirror
    "https://datarepo.eng.ucsd.edu/mcauley_group/data/amazon_v2",
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2",
)
HOST_2014 = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
FILES = {  # name -> addresses, tried in order
    RATINGS: [f"{host}/categoryFilesSmall/{RATINGS}" for host in HOSTS],
    METADATA: [f"{host}/metaFiles/{METADATA}" for host in HOSTS],
    **{file: [f"{HOST_2014}/{file}"] for files in TRANSFER.values() for file in files},
}
STEPS = ("download", "items", "transfer", "users", "samples", "vocabulary")
SIZES = {"100K": 100_000, "500K": 500_000, "1M": 1_000_000, "5M": 5_000_000, "10M": 10_000_000}

PUBLISHED = {  # (set, statistic) -> the authors' count, from their logs and configuration files
    ("pipeline", "ratings"): 233_055_327,
    ("pipeline", "metadata_kept"): 15_018_453,
    ("pipeline", "ratings_without_metadata"): 2_110_568,
    ("pipeline", "users_with_5_ratings"): 10_660_702,
    ("pipeline", "ratings_of_cold_users"): 55_291_073,
    ("pipeline", "ratings_of_transfer_users"): 4_951_355,
    ("pipeline", "ratings_kept"): 170_702_331,
} | {
    (f"amazon-{part}", statistic): count
    for part, *counts in [
        ("100K", 80_021, 85_682, 44_253),
        ("500K", 408_409, 357_859, 51_636),
        ("1M", 813_811, 622_646, 53_422),
        ("5M", 4_077_664, 1_978_197, 56_216),
        ("10M", 8_178_335, 3_078_853, 57_045),
    ]
    for statistic, count in zip(("training_targets", "items", "vocabulary"), counts, strict=True)
}


def prepare(
    raw: Path | None = None,
    steps: Sequence[str] = STEPS,
    only_few: int | None = None,
    sizes: Mapping[str, int] = SIZES,
    seed: int = 0,
    engine: str = "duckdb",
    memory: str = "4GB",
    threads: int | None = None,
    master: str | None = None,
    name: str = "amazon",
) -> pd.DataFrame:
    """Run the pipeline; returns every count, which is also in <data home>/<name>/statistics.csv.

    Args:
        raw: a folder that has the raw files under their public names; without it they are downloaded.
        steps: those to run, of `STEPS`. A step that is finished is skipped, unless what it was made from has changed.
        only_few: read only the first so many ratings, for a trial; its samples are called <name>-few<N>-100K, ...
        sizes: part of a sample's name -> its interactions; a smaller sample is part of every larger one.
        seed: of the samples of users, and of the order of simultaneous interactions.
        engine: duckdb or spark.
        memory: of the engine (see `connect`); what needs more goes to disk.
        threads: of this machine; default: every core.
        master: the URL of a Spark cluster (default: this machine).
        name: the data sets are called <name>-100K, ..., in the data home.

    Returns:
        Columns set, statistic, value and published, the authors' count (null where it is not known).

    Without the four files of 2014 the transfer sets are left out, with a warning.

    Raises FileNotFoundError for a raw file that is not there, and ValueError for one that cannot be used and for a data
    set of that name that was made from something else.
    """
    if unknown := [step for step in steps if step not in STEPS]:
        raise ValueError(f"step {unknown[0]!r} is not known; expected some of {', '.join(STEPS)}")
    job = Preparation(name, raw or home() / name / "raw", sizes, seed, only_few)
    job.work.mkdir(parents=True, exist_ok=True)
    with FileLock(job.work / ".lock"):
        if "download" in steps and raw is None:
            for file, urls in FILES.items():
                download_file(urls, job.raw / file, advice="put it there by hand, or use --raw")
        wanted = [step for step in STEPS[1:] if step in steps]
        with connect(engine, job.scratch, memory, threads, master) as connected:
            for step in (bar := tqdm(wanted, unit="step", disable=None)):
                bar.set_description(step)
                getattr(job, step)(connected)
        table = job.counts()
        known = [None if only_few else PUBLISHED.get(key) for key in zip(table["set"], table["statistic"], strict=True)]
        table["published"] = pd.array(known, dtype="Int64")
        write_text(job.work / f"statistics{job.suffix}.csv", table.to_csv(index=False))
    return table


def stages(counts: pd.DataFrame) -> pd.DataFrame:
    """The funnel of a table from `prepare`: columns stage and ratings, from the raw file to the samples."""
    funnel = counts[counts["set"] == "pipeline"].set_index("statistic")["value"].astype(float).astype(int)
    left = {"in the file": funnel["ratings"]}
    for stage, dropped in {
        "readable": "ratings_unusable",
        "item has metadata": "ratings_without_metadata",
        "user has 5 or more": "ratings_of_cold_users",
        "user not in a transfer set": "ratings_of_transfer_users",
    }.items():
        left[stage] = [*left.values()][-1] - funnel[dropped]
    samples = counts[(counts["statistic"] == "interactions") & ~counts["set"].str.endswith(tuple(TRANSFER))]
    sizes = sorted((int(float(value)) for value in samples["value"]), reverse=True)
    left |= {f"sample {i} of {len(sizes)}": size for i, size in enumerate(sizes, start=1)}
    return pd.DataFrame({"stage": list(left), "ratings": list(left.values())})


def scaled_sets() -> pd.DataFrame:
    """The paper's scaled sets: the authors' counts next to ours (null where they were not prepared here)."""
    names = [f"amazon-{part}" for part in SIZES]
    keys = ["training_targets", "items", "vocabulary"]
    rows = pd.DataFrame([{"set": name, **{f"{key}, authors": PUBLISHED[name, key] for key in keys}} for name in names])
    recorded = home() / "amazon" / "statistics.csv"
    ours = pd.read_csv(recorded) if recorded.is_file() else pd.DataFrame(columns=["set", "statistic", "value"])
    wide = ours[ours["statistic"].isin(keys)].pivot(index="set", columns="statistic", values="value")
    wide = wide.reindex(index=names, columns=keys).astype(float).astype("Int64").reset_index(drop=True)
    return rows.join(wide.add_suffix(", ours"))
