"""The model card: what a model is, what it was trained on, and how good it is."""

import html
import json
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from srtlib.model.encoders import ENCODERS
from srtlib.protocols import parse_protocol


def card_text(config: Mapping[str, Any], summary: Mapping[str, Any], name: str = "") -> str:
    """The model card, Markdown with the front matter that model hubs read. The data set is not in it: its name here is
    none there.

    Args:
        config: of the run that trained the model (`srtlib.training.identity.config_of`).
        summary: of the run's outcome (columns: see `srtlib.runs`).
        name: of a released model, which comes without a catalogue.
    """
    data, panel, model, train = (config[part] for part in ("dataset", "panel", "model", "train"))
    encoder = ENCODERS[model["encoder"]]
    results = pd.DataFrame({part: summary[part] for part in ("valid", "test", "test_unseen")})
    front = {
        "library_name": "srtlib",
        "license": "other",
        "license_name": "that-of-the-data",
        "tags": ["sequential-recommendation", "recommendation", "srt"],
        "metrics": [str(metric) for metric in results.index if metric != "loss"],
    }
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in front.items()),
        "---",
        f"# {_plain(name or 'SRT on ' + data['name'])}",
        "",
        f"A sequential recommender that knows items by {encoder.known_by}: it ranks a catalogue by what a user had "
        "before.",
        *_neighbours(**summary.get("neighbours", {})),
        "Architecture: Zivic, Vazquez and Sánchez, *Scaling Sequential Recommendation Models with Transformers*",
        "(SIGIR 2024, doi:10.1145/3626772.3657816).",
        "",
        "## Use",
        "",
        *_use(name),
        "",
        "## Results",
        "",
        f"{panel['n_users']:,} users, the next item among {_candidates(train['protocol'], panel['n_items'])}.",
        "All items: the user's own are ranked too; new items: they are not. The two do not compare. Validation: best",
        "over the evaluations, which chose the weights; test: once.",
        "",
        "| metric | valid, all items | test, all items | test, new items |",
        "|---|---|---|---|",
        *(
            f"| {str(name).upper()} | {row.valid:.4f} | {row.test:.4f} | {row.test_unseen:.4f} |"
            for name, row in results.iterrows()
        ),
        "",
        "## Data and training",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_plain(value)} |" for name, value in _facts(config, summary).items()),
        "",
        f"Settings: `{json.dumps({**model, **train})}`",
        "",
        "## Limits and licence",
        "",
        f"It repeats what these users took next, popular items above all, and knows nothing of items but "
        f"{encoder.known_by}.",
        *(["It ranks the items that it was trained on, and no others: none can be added."] * (not encoder.transfers)),
        "The software is under the MIT licence; whether the weights and `items.parquet`, which holds the catalogue's",
        "text, may be passed on is decided by the licence of the data.",
    ]
    return "\n".join(lines) + "\n"


def _use(name: str) -> list[str]:
    if not name:
        return [
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
        ]
    return [
        'On a catalogue that it has never seen, with no training (`pip install "srtlib[text]"` reads the items):',
        "",
        "```python",
        "from srtlib import Recommender",
        "from srtlib.data.reading import read_table",
        "",
        'items = read_table("items.csv")  # item_id, title, and if there are any brand, categories',
        f'recommender = Recommender.pretrained("{name}", items)',
        'recommender.recommend({"a user": ["an item_id", "a later one"]}, k=10)',
        "```",
        "",
        "```sh",
        f"srt recommend --model {name} --items items.csv --history history.csv --k 10",
        f"srt train path/to/your/data --start {name}  # fine-tune it",
        "```",
        "",
        "It is a start, and no more: on catalogues that it has not seen it ranks about as well as the items nearest to",
        "the whole history by sentence vectors, which need no model; the gain is what training on your own",
        "interactions adds. It knows no prices, stock or seasons, offers what resembles the history in words, and has",
        "read English titles.",
    ]


def _neighbours(weight: float = 0.0, decay: float = 0.0) -> list[str]:
    if not weight:
        return []
    return [
        f"Its scores add {weight:g} times the cosine of an item's fixed vector and the history's, in which each item",
        f"counts {decay:g} times the one after it.",
    ]


def _plain(text: str) -> str:
    """Text as it reads, where Markdown or HTML would see marks in it.

    >>> print(_plain("a|b <b>c</b>"))
    a\\|b &lt;b&gt;c&lt;/b&gt;
    """
    return re.sub(r"([\\`*|\[\]])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _candidates(protocol: str, n_items: int) -> str:
    among = parse_protocol(protocol)
    if among.kind == "full":
        return f"all {n_items:,} items"
    return f"{among.n_drawn:,} items drawn at random" + ", as the authors do" * (among.kind == "paper")


def _split(cuts: str, users: Mapping[str, int]) -> str:
    return (
        f"by time, cuts {cuts}; {users['judged']:,} users have a test target; training has not seen "
        f"{users['cold_users']:,} of them and {users['cold_items']:,} of the targets"
    )


def _facts(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, str]:
    data, train, params = config["dataset"], config["train"], summary["params"]
    return {
        "data set": f"{data['name']} (fingerprint {data['fingerprint']})",
        "users, items": f"{data['n_users']:,}, {data['n_items']:,}",
        "interactions": f"{data['n_interactions']:,}, of which {data['n_targets']:,} are training targets",
        **({"split": _split(data["cuts"], summary["test_users"])} if "cuts" in data else {}),
        "parameters": f"{params['total']:,}, of which {params['embedding']:,} in tables that it looks up in",
        "recipe": f"{config['recipe']}, {train['epochs']} epochs, seed {config['seed']}",
        "training compute": f"{summary['flops']:.3e} FLOPs ({summary['flops_paper']:.3e} as the paper counts)",
        "training time": f"{summary['wall_s']:,.0f} s on {summary['device']}",
        "software": f"srtlib {summary['version']}, commit {summary['commit']}",
        "date": summary["date"],
    }
