"""Where text beats item IDs: SRT on words and SASRec, judged for the same users, by history and by popularity.

Every training is a run of the store, so that a study that was interrupted goes on where it was.
"""

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import torch

from srtlib.data.loading import load_dataset
from srtlib.params import Architecture
from srtlib.recipes import recipe_for
from srtlib.studies.baselines import sasrec
from srtlib.studies.judging import difference_by_group
from srtlib.studies.recording import write_rows
from srtlib.training.provenance import provenance_of
from srtlib.training.trainer import train

TEXT = Architecture(d_model=64)  # of the default recipe; as wide as the other
TEXT_TRAIN = {"epochs": 6}  # of the usual 27, validation was best after four
IDS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(  # the best tried on Beauty (results/transfer/tried.csv)
    {
        "model": {"d_model": 64},
        "train": {"batch_size": 512, "epochs": 40, "eval_every": 4, "learning_rate": 1e-3},
    }
)


def record(path: Path, name: str, store: Path, seeds: int = 3) -> pd.DataFrame:
    """Train both models of a data set with each seed, judge them, and write the table; rows of other sets stay.

    Args:
        path: of a CSV file.
        name: of the data set.
        store: of the runs.
        seeds: of the training of each model.

    Returns:
        The rows of the data set, one per ranking and group of users, as `judging.difference_by_group` returns them: the
        first is item IDs, the second text. The file has more columns, which say where they come from.
    """
    dataset = load_dataset(name)
    ids = [train(sasrec(dataset, **IDS, seed=seed), dataset, store, device="cpu")[0] for seed in range(seeds)]
    recipes = [recipe_for("srtlib", TEXT, dataset, TEXT_TRAIN, seed) for seed in range(seeds)]
    text = [train(recipe, dataset, store, device="cpu")[0] for recipe in recipes]
    table = difference_by_group(ids, text, dataset)
    table.insert(0, "dataset", name)
    about: dict[str, Any] = {
        "dataset_fingerprint": dataset.fingerprint,
        "seeds": seeds,
        **provenance_of(torch.device("cpu")),
    }
    write_rows(path, table.assign(**about), ("dataset",))
    return table
