"""srt recommend | models [pull | push] | export."""

import argparse
import io
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from srtlib.cli.arguments import Commands
from srtlib.cli.printing import as_csv

if TYPE_CHECKING:
    import pandas as pd


def add_to(commands: Commands) -> None:
    """Add the commands."""
    one = commands.add(
        "recommend",
        recommend,
        "Recommend items to users by what they had before; writes CSV.",
        "--model out/runs/0123456789ab/model --history history.csv --k 10 > offers.csv",
        "--model amazon-small --items items.csv --history history.csv > offers.csv",
    )
    one.add_argument("--model", required=True, help="a model folder, or a name that srt models lists")
    one.add_argument("--history", type=Path, required=True, help="table of user_id, item_id[, timestamp]")
    one.add_argument("--k", type=int, default=10, help="items per user")
    one.add_argument("--items", type=Path, help="another catalogue: table of item_id, title[, brand, categories]")
    one.add_argument("--candidates", type=Path, help="table of item_id: the only items that may be offered")
    one.add_argument("--exclude", type=Path, help="table of item_id: items that may not be offered")
    one.add_argument("--category", action="append", help="offer items of this path of categories, and of what is below")
    one.add_argument("--max-per-category", type=int, metavar="N", help="at most N offers of one category for each user")
    one.add_argument("--encoding", default="utf-8", help="of these files, such as latin-1 (default: utf-8)")
    one.add_argument("--date-format", help="of the history's dates, where they are not ISO 8601, such as %%d/%%m/%%Y")
    one.add_argument("--raw", action="store_true", help="CSV: keep control characters, and what looks like a formula")
    one.add_argument("--strict", action="store_true", help="refuse histories with unknown items")

    one = commands.add("models", models, "List the models that --model and --start take by name, or get others.", "")
    among = Commands(one, "models ", required=False)
    one = among.add(
        "pull",
        pull,
        "Fetch a model into models/ of the data home: its name is then taken like that of one that is here.",
        "amazon-small --from https://example.org/models",
        "org/name",
    )
    one.add_argument("name", help="of a released model, or org/name of the Hugging Face hub (extra hub)")
    one.add_argument("--from", dest="address", metavar="URL", help="where released models lie (default: SRT_MODELS)")
    one = among.add(
        "push",
        push,
        "Put a model folder, its catalogue included, on the Hugging Face hub (extra hub); a new one is private.",
        "out/runs/0123456789ab/model --hub org/name",
    )
    one.add_argument("model", help="a model folder, or a name that srt models lists")
    one.add_argument("--hub", required=True, metavar="ORG/NAME", help="where it goes")

    one = commands.add(
        "export",
        export,
        "Write a model for serving without srtlib: ONNX, item vectors, ids and a manifest.",
        "out/runs/0123456789ab/model exported",
    )
    one.add_argument("model", type=Path, help="a model folder, or a name that srt models lists")
    one.add_argument("out", type=Path, help="a new folder")


def recommend(options: argparse.Namespace) -> dict[str, Any] | None:
    from srtlib.data.columns import as_times
    from srtlib.data.reading import read_table
    from srtlib.serving.recommender import Recommender

    history = read_table(options.history, options.encoding)
    if "timestamp" in history:
        history["timestamp"] = as_times(history["timestamp"], str(options.history), options.date_format)
    items = read_table(options.items, options.encoding) if options.items else None
    recommender = Recommender.load(options.model, items)
    offers = recommender.recommend(
        history,
        options.k,
        strict=options.strict,
        candidates=_ids(options.candidates, options.encoding),
        exclude=_ids(options.exclude, options.encoding),
        categories=options.category,
        max_per_category=options.max_per_category,
    )
    if options.json:
        return {str(key): value for key, value in offers.attrs.items()} | {"recommendations": offers.to_dict("records")}
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    print(as_csv(offers, options.raw), end="")
    return None


def models(options: argparse.Namespace) -> "pd.DataFrame":
    from srtlib.model.released import released_models

    return released_models()


def pull(options: argparse.Namespace) -> dict[str, Any]:
    return {"model": options.name, "folder": _sharing().pull_model(options.name, options.address)}


def push(options: argparse.Namespace) -> dict[str, Any]:
    return {"model": options.model, "address": _sharing().push_model(options.model, options.hub)}


def export(options: argparse.Namespace) -> dict[str, Any]:
    from srtlib.serving.export import export_model

    folder = export_model(options.model, options.out)
    return {path.name: f"{path.stat().st_size:,} bytes" for path in sorted(folder.iterdir())}


def _sharing() -> ModuleType:
    """The module; the hub's bars are for terminals only, as srtlib's own are."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from srtlib.model import sharing

    return sharing


def _ids(path: Path | None, encoding: str) -> "pd.Series | None":
    """The column item_id of a file, if one is given."""
    from srtlib.data.columns import as_ids, require
    from srtlib.data.reading import read_table

    if path is None:
        return None
    table = read_table(path, encoding)
    require(table, ("item_id",), str(path))
    return as_ids(table["item_id"], str(path))
