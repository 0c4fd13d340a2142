"""The study of sources: a model learns from one catalogue alone, and ranks a target that it has not seen; how good that
is, against how far apart the two catalogues' texts lie.

Source and target are read by their titles alone, so that no catalogue is told by the form of its text. Every training
is a run of the store, so that a study that was interrupted goes on where it was.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srtlib.data.dataset import Dataset
from srtlib.data.loading import load_dataset
from srtlib.data.sentences import item_texts, sentence_vectors
from srtlib.model.making import new_model
from srtlib.params import TEXT_FIELDS, Architecture, Recipe
from srtlib.recipes import recipe_for
from srtlib.studies.baselines import record_baseline
from srtlib.studies.fine_tuning import Method, fine_tune
from srtlib.studies.recording import write_rows
from srtlib.studies.transfer import summary_row
from srtlib.training.trainer import train

ARCHITECTURE = Architecture(d_model=256)  # of the released model amazon-small
SETTINGS = {"d_ff": 256, "epochs": 6, "eval_every": 2, "learning_rate": 3e-4}
PANEL, JUDGED = 2_000, 5_000  # users: of the source, for its best checkpoint; of the target


def record(
    path: Path,
    sources: Sequence[str],
    target: str,
    store: Path,
    n_items: int = 2_000,
    n_interactions: int = 20_000,
    seeds: int = 1,
) -> pd.DataFrame:
    """Run the study of one target and write its table, row by row as trainings end. Other rows stay.

    Rows: the neighbours by the target's own vectors (no source); for each source, `untrained` (its whitening alone)
    and for each seed `zero_shot`. Columns: `source`, its `distance` to the target, `source_users`, `source_items`,
    `source_interactions`, `users_removed`, of a training `source_valid_ndcg@10`, and those of `summary_row`.

    Args:
        path: of a CSV file.
        sources: names of the data sets that are learnt from, one at a time, without the target's users.
        target: name of the data set, 5,000 of whose users are judged.
        store: of the runs.
        n_items: of each source the most bought, so that catalogues are of one size.
        n_interactions: of users of each source, drawn at random, at most.
        seeds: of training.
    """
    rows: list[dict[str, Any]] = []
    for row in _rows(sources, titles_of(load_dataset(target)), store, n_items, n_interactions, seeds):
        rows.append(row)
        write_rows(path, pd.DataFrame(rows), ("target", "source", "method", "seed"))
    return pd.DataFrame(rows)


def titles_of(dataset: Dataset) -> Dataset:
    """The same data, every item with its title alone.

    Args:
        dataset: stays as it is.

    >>> titles_of(load_dataset("synthetic")).text_fields
    ('title',)
    """
    others = [name for name in TEXT_FIELDS if name != "title"]
    return replace(dataset, catalogue=dataset.catalogue.assign(**dict.fromkeys(others, "")))


def most_bought(dataset: Dataset, n_items: int) -> Dataset:
    """The same data less the interactions with all but its most bought items.

    Args:
        dataset: stays as it is.
        n_items: how many are left.
    """
    return dataset.without_items(np.argsort(-dataset.train_counts, kind="stable")[n_items:])


def distance(source: np.ndarray, target: np.ndarray) -> float:
    """One minus the cosine of two catalogues' mean vectors, 0 to 2.

    Args:
        source, target: vectors of the items, float [items, F].

    >>> distance(np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[0.0, 2.0]]))
    1.0
    """
    a, b = source.mean(axis=0), target.mean(axis=0)
    return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _rows(
    sources: Sequence[str], target: Dataset, store: Path, n_items: int, n_interactions: int, seeds: int
) -> Iterator[dict[str, Any]]:
    vectors, judged = sentence_vectors(item_texts(target.catalogue)), target.panel(JUDGED)
    neighbours = record_baseline("text_neighbours", judged.with_vectors(vectors), store)
    yield {"source": "", **summary_row(judged, "text_neighbours", 0, neighbours)}
    for name in sources:
        whole = titles_of(load_dataset(name))
        apart = whole.without_users(target)
        source = most_bought(apart, n_items).sample_users(n_interactions=n_interactions).used_items()
        about = {
            "source": name,
            "distance": distance(sentence_vectors(item_texts(source.catalogue)), vectors),
            "source_users": source.n_users,
            "source_items": source.n_items,
            "source_interactions": source.n_interactions,
            "users_removed": whole.n_users - apart.n_users,
        }
        for seed in range(seeds):
            recipe = recipe_for("sentence", ARCHITECTURE, source, SETTINGS, seed, "sources")
            if seed == 0:
                yield {**about, **unseen_before(recipe, source, judged, store)}
            yield {**about, **unseen_after(recipe, source, judged, store)}


def unseen_before(recipe: Recipe, source: Dataset, judged: Dataset, store: Path) -> dict[str, Any]:
    """How a model that has learnt nothing ranks a target, by the whitening of a source's vectors: `untrained`, a row as
    `transfer.summary_row` gives it.

    Args:
        recipe: of the model.
        source: what its whitening is fitted to.
        judged: the target.
        store: of the runs.
    """
    _, found = fine_tune(new_model(recipe.model, source), judged, store, recipe.train, Method.ZERO_SHOT)
    return summary_row(judged, "untrained", recipe.train.seed, found)


def unseen_after(recipe: Recipe, source: Dataset, judged: Dataset, store: Path) -> dict[str, Any]:
    """How it ranks the target when it has learnt from the source alone: `zero_shot`, a row with
    `source_valid_ndcg@10` besides.

    Args:
        recipe: of the model, and of its training on the source.
        source: what it learns from; its best checkpoint is that for 2,000 of these users.
        judged: the target.
        store: of the runs.
    """
    model, learnt = train(recipe, source, store, source.panel(PANEL))
    _, found = fine_tune(model, judged, store, recipe.train, Method.ZERO_SHOT)
    row = summary_row(judged, Method.ZERO_SHOT, recipe.train.seed, found)
    return {"source_valid_ndcg@10": learnt["valid"]["ndcg@10"], **row}
