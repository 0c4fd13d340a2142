"""The study of pre-training: whether a larger source, or a wider or deeper model, ranks a catalogue better that it has
never seen (claim 6 of the paper, with nothing trained on the target).

Models of sentence vectors start as the neighbours by them; those of words at random ones. Every training is a run of
the store, so that a study that was interrupted goes on where it was.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from srtlib.data.dataset import Dataset, concatenate
from srtlib.data.loading import load_dataset
from srtlib.data.sentences import item_texts, sentence_vectors
from srtlib.extensions import look_up
from srtlib.params import Architecture, Recipe
from srtlib.recipes import recipe_for
from srtlib.studies.baselines import record_baseline
from srtlib.studies.recording import write_rows
from srtlib.studies.sources import JUDGED, unseen_after, unseen_before
from srtlib.studies.transfer import summary_row

WIDTHS = (64, 128, 256)
SETTINGS = {"epochs": 6, "eval_every": 2, "learning_rate": 3e-4}  # of sentence vectors; words have the default recipe


def record(
    path: Path,
    sources: Sequence[str],
    target: str,
    store: Path,
    sizes: Sequence[int],
    widths: Sequence[int] = WIDTHS,
    encoder: str = "sentence",
    layers: Sequence[int] = (1,),
) -> pd.DataFrame:
    """Run the study of one target and write its table, row by row as trainings end. Other rows stay.

    Rows: the neighbours by the target's own vectors; for each size of the source and shape of the model `untrained`
    (the whitening of sentence vectors alone, or words at random) and `zero_shot`. Columns: `encoder`, `d_model`,
    `n_layers`, `source_interactions`, `source_users`, `source_items`, of a training `source_valid_ndcg@10`, and those
    of `summary_row`.

    Args:
        path: of a CSV file.
        sources: names of the data sets that are learnt from as one, without the target's users.
        target: name of the data set, 5,000 of whose users are judged.
        store: of the runs.
        sizes: interactions of the source: nested samples of its users.
        widths: of the models.
        encoder: sentence or words.
        layers: numbers of layers of the models.
    """
    rows: list[dict[str, Any]] = []
    shapes = [Architecture(d_model=width, n_layers=depth) for width in widths for depth in layers]
    for row in _rows(sources, load_dataset(target), store, sizes, shapes, encoder):
        rows.append(row)
        keys = ("target", "method", "encoder", "source_interactions", "d_model", "n_layers")
        write_rows(path, pd.DataFrame(rows), keys)
    return pd.DataFrame(rows)


def _rows(
    sources: Sequence[str],
    target: Dataset,
    store: Path,
    sizes: Sequence[int],
    shapes: Sequence[Architecture],
    encoder: str,
) -> Iterator[dict[str, Any]]:
    judged = target.panel(JUDGED)
    vectors = sentence_vectors(item_texts(target.catalogue))
    neighbours = record_baseline("text_neighbours", judged.with_vectors(vectors), store)
    yield summary_row(judged, "text_neighbours", 0, neighbours)
    whole = concatenate([load_dataset(name).without_users(target) for name in sources])
    for size in sizes:
        source = whole.sample_users(n_interactions=size).used_items()
        about = {
            "source_interactions": source.n_interactions,
            "source_users": source.n_users,
            "source_items": source.n_items,
        }
        for shape in shapes:
            of_model = {"encoder": encoder, "d_model": shape.d_model, "n_layers": shape.n_layers, **about}
            recipe = _recipe(encoder, shape, source)
            yield {**of_model, **unseen_before(recipe, source, judged, store)}
            yield {**of_model, **unseen_after(recipe, source, judged, store)}


def _recipe(encoder: str, shape: Architecture, source: Dataset) -> Recipe:
    name = look_up({"sentence": "sentence", "words": "srtlib"}, encoder, "encoder")
    settings = {**SETTINGS, "d_ff": shape.d_model} if encoder == "sentence" else {}
    return recipe_for(name, shape, source, settings, 0, "pretraining")
