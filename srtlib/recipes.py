"""Recipes: named, complete choices of model and training, made for an architecture and a data set.

`recipe_for` is the one way to make one; `RECIPES` is where another is added.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from srtlib.data.sentences import DEFAULT_MODEL
from srtlib.extensions import look_up
from srtlib.params import Architecture, ModelParams, Recipe, TrainParams, parse

if TYPE_CHECKING:
    from srtlib.data.dataset import Dataset

FIELD_LENGTHS = {"title": 40, "brand": 8, "categories": 40}  # most tokens kept of each text field

NEIGHBOURS = {"neighbours": True, "text_model": DEFAULT_MODEL, "vector_dim": 384}
SENTENCE = {  # an SRT that starts as the neighbours of the last item by MiniLM's vectors (book/transfer)
    "text_model": DEFAULT_MODEL,
    "vector_dim": 384,
    "whiten_dim": 256,
    "head": "residual",
    "start": "neighbours",
}


class MakeRecipe(Protocol):
    """Complete parameters of an architecture, for a data set with so many training targets and such text fields."""

    def __call__(self, architecture: Architecture, n_targets: int, fields: tuple[str, ...]) -> Recipe: ...


def paper_recipe(
    architecture: Architecture, n_targets: int = 0, fields: tuple[str, ...] = ("title", "brand")
) -> Recipe:
    """The authors' choices: post-LN, dropout 0.5, last position only, per-target negatives, Adam, one-cycle, no
    clipping, words before normalisation, the best checkpoint by MRR@5 among 10,000 items.

    They depend on neither the amount of data nor its text fields. Source: the authors' configuration files and
    recorded runs.

    Args:
        architecture: width, layers, heads.
        n_targets, fields: of the data set; neither counts.

    >>> paper_recipe(Architecture(d_model=256, n_layers=8)).train.learning_rate
    0.0001
    """
    return Recipe(
        name="paper",
        model=ModelParams(
            d_model=architecture.d_model,
            n_layers=architecture.n_layers,
            n_heads=architecture.n_heads or 1,
            d_ff=architecture.d_model,
            dropout=0.5,
            attention_dropout=0.5,
            norm="post",
            words_first=True,
            initialisation="normal02",
        ),
        train=TrainParams(
            supervise="last",
            n_negatives=100,
            shared_negatives=False,
            logq_on_positive=True,
            batch_size=128,
            epochs=50,
            optimizer="adam",
            learning_rate=1e-4,
            weight_decay=1e-5,
            schedule="one_cycle",
            warmup=0.3,
            clip_norm=0.0,
            eval_every=5,
            protocol="paper:10000",
            select_by="mrr@5",
            seed=2020,
        ),
    )


def srtlib_recipe(
    architecture: Architecture, n_targets: int = 100_000, fields: tuple[str, ...] = ("title", "brand")
) -> Recipe:
    """The default: pre-norm, cosine scores, every position supervised, shared negatives, AdamW, warm-up and linear
    decay.

    More data get larger batches and fewer epochs, wide models more dropout and a lower rate. Chosen on the validation
    part of a pool of ten Amazon sets (book/recipe).

    Args:
        architecture: width, layers, heads.
        n_targets: training targets of the data set.
        fields: text fields of the data set that the model reads.

    >>> srtlib_recipe(Architecture(d_model=128), n_targets=10_000).train.supervise
    'all'
    """
    d_model, epochs = architecture.d_model, usual_epochs(n_targets)
    return Recipe(
        name="srtlib",
        version=2,
        model=ModelParams(
            d_model=d_model,
            n_layers=architecture.n_layers,
            n_heads=architecture.n_heads or max(1, d_model // 64),
            dropout=min(0.3, max(0.0, 0.05 * math.log2(d_model / 16))),
            temperature=0.07,
            fields={name: FIELD_LENGTHS[name] for name in fields},
        ),
        train=TrainParams(
            batch_size=usual_batch_size(epochs * n_targets),
            epochs=epochs,
            learning_rate=2e-3 * min(1.0, 128 / d_model),
        ),
    )


def sentence_recipe(
    architecture: Architecture, n_targets: int = 100_000, fields: tuple[str, ...] = ("title", "brand")
) -> Recipe:
    """The default recipe on sentence vectors (extra `text`), for small data sets: before training it ranks the
    neighbours of the last item, and it learns what to add.

    Args:
        architecture: width, layers, heads; d_model is at most 256.
        n_targets: training targets of the data set.
        fields: text fields of the data set; the sentence encoder reads all that there are.

    >>> sentence_recipe(Architecture(d_model=128)).model.encoder
    'sentence'
    """
    base = srtlib_recipe(architecture, n_targets, fields)
    model = parse(ModelParams, base.model.model_dump() | {"encoder": "sentence", **SENTENCE}, "sentence recipe")
    return Recipe(name="sentence", model=model, train=base.train)


def neighbours_recipe(
    architecture: Architecture, n_targets: int = 100_000, fields: tuple[str, ...] = ("title", "brand")
) -> Recipe:
    """The default recipe, whose scores add the history's neighbours by sentence vectors (extra `text`) once it is
    trained: better where users or items are little known (book/transfer).

    Args:
        architecture, n_targets, fields: as for `srtlib_recipe`.

    >>> neighbours_recipe(Architecture(d_model=128)).model.neighbours
    True
    """
    base = srtlib_recipe(architecture, n_targets, fields)
    model = parse(ModelParams, base.model.model_dump() | NEIGHBOURS, "neighbours recipe")
    return Recipe(name="neighbours", model=model, train=base.train)


def usual_epochs(n_targets: int) -> int:
    """40 to 4, with the inverse root of the training targets.

    >>> usual_epochs(10**5)
    16
    """
    return min(40, max(4, round(16 * math.sqrt(1e5 / max(1, n_targets)))))


def usual_batch_size(targets_seen: float) -> int:
    """128 to 8192, a power of 2: about a third of the root of the targets that a training sees, repeats counted.

    >>> usual_batch_size(16 * 10**5)
    512
    """
    return min(8192, max(128, 2 ** round(math.log2(max(1.0, 0.36 * math.sqrt(targets_seen))))))


RECIPES: dict[str, MakeRecipe] = {
    "paper": paper_recipe,
    "srtlib": srtlib_recipe,
    "sentence": sentence_recipe,
    "neighbours": neighbours_recipe,
}


def recipe_for(
    name: str,
    architecture: Architecture,
    dataset: "Dataset",
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    source: str = "settings",
) -> Recipe:
    """The recipe `name` for an architecture and a data set, with `settings` put in its place.

    Args:
        name: a key of `RECIPES`.
        architecture: width, layers, heads.
        dataset: what is trained on; its number of training targets and its text fields count.
        settings: model or training parameters (`ModelParams`, `TrainParams`) that differ from the recipe's.
        seed: of everything random.
        source: where the settings come from, named in errors.

    Raises ValueError for an unknown recipe and for settings that are unknown or do not fit.

    >>> from srtlib.data.loading import load_dataset
    >>> recipe_for("srtlib", Architecture(d_model=8), load_dataset("synthetic"), {"epochs": 3}).train.epochs
    3
    """
    base = look_up(RECIPES, name, "recipe")(architecture, dataset.n_targets, dataset.text_fields)
    given = dict(settings or {})
    if "seed" in given:
        raise ValueError(f"{source}: seed is no setting of a recipe; a run's seed is given beside it")
    for_model = {key: given.pop(key) for key in list(given) if key in ModelParams.model_fields}
    return Recipe(
        name=name,
        version=base.version,
        model=parse(ModelParams, base.model.model_dump() | for_model, source),
        train=parse(TrainParams, base.train.model_dump() | given | {"seed": seed}, source),
    )
