"""What stands in a model folder beside the weights: the catalogue, with training counts, and the model card.

A model folder is complete by itself: copied to another machine, it recommends. `SRT.save_pretrained` writes
config.json, model.safetensors and tokenizer.json; here come items.parquet (item_id, title, brand, categories, count,
and vector where the model reads fixed vectors) and README.md. None of them holds code.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from srtlib.data.dataset import Dataset
from srtlib.params import parse_protocol
from srtlib.paths import write_text

ITEMS = "items.parquet"


def items_table(catalogue: Dataset, trained_on: Dataset) -> pd.DataFrame:
    """The items of a data set with `count`, how often each occurs in the training part of `trained_on`."""
    counts = pd.Series(trained_on.train_counts, index=trained_on.catalogue["item_id"])
    table = catalogue.catalogue.copy()
    table["count"] = counts.reindex(table["item_id"], fill_value=0).to_numpy()
    if catalogue.vectors is not None:
        table["vector"] = list(catalogue.vectors)
    return table


def write_items(folder: Path, items: pd.DataFrame) -> None:
    """Write items.parquet whole or not at all."""
    aside = folder / f".{ITEMS}.{os.getpid()}"
    try:
        items.to_parquet(aside, index=False, compression="zstd")
        aside.replace(folder / ITEMS)
    finally:
        aside.unlink(missing_ok=True)


def read_items(folder: Path) -> pd.DataFrame:
    """The catalogue of a model folder; FileNotFoundError where it has none."""
    path = folder / ITEMS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {ITEMS}: its training did not finish; give the items as a table")
    try:
        return pd.read_parquet(path)
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def write_card(folder: Path, config: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Write README.md from a run's configuration and the summary of its outcome (see `srtlib.runs`)."""
    write_text(folder / "README.md", card(config, summary))


def card(config: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The model card, Markdown with the front matter that model hubs read."""
    data, panel, model, train = (config[part] for part in ("dataset", "panel", "model", "train"))
    front = {"library_name": "srtlib", "tags": ["sequential-recommendation", "srt"], "datasets": [data["name"]]}
    results = pd.DataFrame({split: summary[split] for split in ("valid", "test")})
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in front.items()),
        "---",
        f"# SRT on {data['name']}",
        "",
        "A sequential recommender that knows items by their text: it ranks a catalogue by what a user had before.",
        "Architecture: Zivic, Vazquez and Sánchez, *Scaling Sequential Recommendation Models with Transformers*",
        "(SIGIR 2024, doi:10.1145/3626772.3657816).",
        "",
        "## Use",
        "",
        "```python",
        "from srtlib import Recommender",
        "",
        'recommender = Recommender.load("path/to/this/folder")',
        'recommender.recommend({"a user": ["an item_id", "a later one"]}, k=10)',
        "```",
        "",
        "```sh",
        "srt recommend --model path/to/this/folder --history history.csv --k 10",
        "```",
        "",
        "## Results",
        "",
        f"{panel['n_users']:,} users, the next item among {_candidates(train['protocol'], panel['n_items'])},",
        "the user's own not excluded. Validation: best over the evaluations, which chose the weights; test: once.",
        "",
        "| metric | valid | test |",
        "|---|---|---|",
        *(f"| {str(name).upper()} | {row.valid:.4f} | {row.test:.4f} |" for name, row in results.iterrows()),
        "",
        "## Data and training",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in _facts(config, summary).items()),
        "",
        f"Settings: `{json.dumps({**model, **train})}`",
        "",
        "## Limits and licence",
        "",
        "It repeats what these users took next, popular items above all, and reads words, not images or prices.",
        "The software is under the MIT licence; whether the weights and `items.parquet`, which holds the catalogue's",
        "text, may be passed on is decided by the licence of the data.",
    ]
    return "\n".join(lines) + "\n"


def _candidates(protocol: str, n_items: int) -> str:
    among = parse_protocol(protocol)
    if among.kind == "full":
        return f"all {n_items:,} items"
    return f"{among.n_drawn:,} items drawn at random" + ", as the authors do" * (among.kind == "paper")


def _facts(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, str]:
    data, train, params = config["dataset"], config["train"], summary["params"]
    return {
        "data set": f"{data['name']} (fingerprint {data['fingerprint']})",
        "users, items": f"{data['n_users']:,}, {data['n_items']:,}",
        "interactions": f"{data['n_interactions']:,}, of which {data['n_targets']:,} are training targets",
        "parameters": f"{params['total']:,}, of which {params['embedding']:,} in tables of words",
        "recipe": f"{config['recipe']}, {train['epochs']} epochs, seed {config['seed']}",
        "training compute": f"{summary['flops']:.3e} FLOPs ({summary['flops_paper']:.3e} as the paper counts)",
        "training time": f"{summary['wall_s']:,.0f} s on {summary['device']}",
        "software": f"srtlib {summary['version']}, commit {summary['commit']}",
        "date": summary["date"],
    }
