"""srt data prepare | list | describe | import | pool."""

import argparse
import warnings
from pathlib import Path

import pandas as pd

from srtlib.cli.arguments import Commands, count, extra, mapping

COLUMN_OPTIONS = {
    "--column": "both files",
    "--interactions-column": "the interactions",
    "--items-column": "the items",
}


def add_to(commands: Commands) -> None:
    """Add the commands."""
    among = commands.group("data", "Prepare, import, pool, list and describe data sets.", "list", "prepare --help")

    one = among.add(
        "prepare",
        prepare,
        "Public files -> data sets; what is finished is skipped.",
        "amazon --raw path/to/downloads --memory 4GB",
        "amazon --only-few 1M",
        "amazon-2023 --category All_Beauty --category Video_Games",
        "amazon-2023 --category All_Beauty --split last_out",
        "movielens --raw path/to/ml-1m",
    )
    one.add_argument("source", help="amazon, amazon-2023, movielens, or another of srtlib.data.preparing.SOURCES")
    one.add_argument(
        "--raw",
        type=Path,
        help="a folder that has the raw files (default: download them; of amazon-2023 the 5-core, not the reviews)",
    )
    text = "of amazon-2023, such as All_Beauty; again for another"
    one.add_argument("--category", action="append", metavar="NAME", help=text)
    text = "of amazon-2023: the official last_out or timestamp, as given (default: the 5-core, split when it is used)"
    one.add_argument("--split", metavar="NAME", help=text)
    steps = "some of download,items,transfer,users,samples,vocabulary (default: all)"
    one.add_argument("--steps", type=lambda text: text.split(","), help=steps)
    one.add_argument("--only-few", type=count, metavar="N", help="read only the first N ratings, for a trial")
    one.add_argument("--seed", type=int, help="of the samples of users (default: 0)")
    one.add_argument("--engine", choices=["duckdb", "spark"], help="default: duckdb")
    one.add_argument("--master", metavar="URL", help="of a Spark cluster (default: this machine)")
    one.add_argument("--memory", help="of the engine; what needs more goes to disk (default: 4GB)")
    one.add_argument("--threads", type=int, help="default: every core")

    among.add("list", list_all, "The data sets that there are.", "")

    one = among.add("describe", describe, "What a data set holds.", "amazon-100K --json")
    one.add_argument("dataset", help="a name or a folder")

    one = among.add(
        "import",
        import_tables,
        "Your interactions and items -> a data set.",
        "--interactions reviews.json.gz --items products.csv --name mine "
        "--column user_id=reviewerID --column timestamp=unixReviewTime",
    )
    one.add_argument("--interactions", type=Path, required=True, help="CSV, TSV, JSON lines or Parquet; .gz too")
    one.add_argument("--items", type=Path, required=True, help="CSV, TSV, JSON lines or Parquet; .gz too")
    one.add_argument("--name", required=True, help="of the data set")
    for option, table in COLUMN_OPTIONS.items():
        text = f"a column of another name in {table}"
        one.add_argument(option, action="append", default=[], metavar="OURS=THEIRS", help=text)
    text = "of times that are neither numbers nor ISO 8601 dates or date-times, such as %%d/%%m/%%Y"
    one.add_argument("--date-format", help=text)
    one.add_argument("--encoding", default="utf-8", help="of text files, such as latin-1 (default: utf-8)")
    text = "order within one time, such as a basket: a hash's, so that the file's says nothing (default), or the file's"
    one.add_argument("--ties", choices=["hash", "keep"], default="hash", help=text)

    one = among.add(
        "pool", pool, "Several data sets -> one, nobody merged.", "--name amazon-pool amazon-100K amazon-beauty"
    )
    one.add_argument("parts", nargs="+", metavar="dataset", help="a name or a folder")
    one.add_argument("--name", required=True, help="of the pool")


def prepare(options: argparse.Namespace) -> pd.DataFrame:
    with extra("amazon"):
        from srtlib.data import preparing

    names = ("raw", "category", "split", "steps", "only_few", "seed", "engine", "memory", "threads", "master")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    return preparing.prepare_data(options.source, **given)


def list_all(options: argparse.Namespace) -> pd.DataFrame:
    from srtlib.data.loading import list_datasets

    return list_datasets()


def describe(options: argparse.Namespace) -> pd.DataFrame:
    with extra("amazon"):
        return _described(options.dataset)


def _described(dataset: Path | str) -> pd.DataFrame:
    """What a data set holds, and a warning for each reason why the default protocol would mislead."""
    from srtlib.data import statistics

    shares = statistics.evaluation_statistics(dataset)
    for line in statistics.protocol_warnings(shares):
        warnings.warn(line, stacklevel=2)
    return pd.concat([statistics.describe(dataset)[0], shares], ignore_index=True)


def import_tables(options: argparse.Namespace) -> pd.DataFrame:
    with extra("amazon"):
        from srtlib.data import importing

    both, interactions, items = (
        mapping(getattr(options, option[2:].replace("-", "_")), option, "OURS=THEIRS") for option in COLUMN_OPTIONS
    )
    folder = importing.import_data(
        options.interactions,
        options.items,
        options.name,
        both,
        interactions_columns=interactions,
        items_columns=items,
        date_format=options.date_format,
        encoding=options.encoding,
        ties=options.ties,
    )
    return _described(folder)


def pool(options: argparse.Namespace) -> pd.DataFrame:
    from srtlib.data import pooling

    return pooling.pool_statistics(pooling.pool_datasets(options.name, options.parts))
