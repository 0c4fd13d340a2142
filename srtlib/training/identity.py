"""What identifies a run, and how a training may differ from one that starts at random and trains everything alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from srtlib.data.dataset import Dataset
from srtlib.model.srt import SRT
from srtlib.params import Recipe
from srtlib.training.optimisation import always


@dataclass(frozen=True)
class Tuning:
    """How a training differs from one that starts at random and trains everything alike.

    record: what tells it from others; part of the run's configuration, under "transfer". model: the weights to start
    from. rate: the learning-rate factor of a part of the model (`part_of`) in an epoch, 0 for frozen.
    penalty: added to the loss of every step.
    """

    record: dict[str, Any]
    model: SRT | None = None
    rate: Callable[[str, int], float] = always
    penalty: Callable[[SRT], Tensor] | None = None


def config_of(
    dataset: Dataset, recipe: Recipe, panel: Dataset | None = None, tuning: Tuning | None = None
) -> dict[str, Any]:
    """What identifies a run: data, model, training, who it is evaluated on, and where it starts from; not what only
    makes it faster.

    Args:
        dataset: what is trained on.
        recipe: model and training.
        panel: whose users and catalogue the run is judged on (default: `dataset`).
        tuning: where it starts from, if not from random weights.
    """
    judged_on = panel or dataset
    return {
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "n_users": dataset.n_users,
            "n_items": dataset.n_items,
            "n_interactions": dataset.n_interactions,
            "n_targets": dataset.n_targets,
            **({"cuts": str(dataset.cuts)} if dataset.cuts else {}),
        },
        "panel": {
            "fingerprint": judged_on.fingerprint,
            "n_users": judged_on.n_users,
            "n_items": judged_on.n_items,
        },
        "recipe": recipe.name,
        **({"recipe_version": recipe.version} if recipe.version > 1 else {}),
        "model": recipe.model.identity(),
        "train": {k: v for k, v in recipe.train.identity().items() if k not in ("seed", "compile")},
        "seed": recipe.train.seed,
        **({"transfer": tuning.record} if tuning else {}),
    }
