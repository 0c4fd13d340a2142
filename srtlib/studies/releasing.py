"""Make the released models (`srtlib.model.released`): pre-train each on public data, and write its folder, without the
catalogue. On a CPU the weights come out the same, bit for bit."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srtlib.data.dataset import concatenate
from srtlib.data.loading import load_dataset
from srtlib.extensions import look_up
from srtlib.model.folder import ITEMS, SEARCH, SUMS, seal, write_card
from srtlib.model.released import write_index
from srtlib.params import Architecture
from srtlib.paths import make_folder, project_root, runs_root
from srtlib.recipes import recipe_for
from srtlib.runs.store import run_id
from srtlib.training.identity import config_of
from srtlib.training.trainer import train

PANEL = 5_000  # users


@dataclass(frozen=True)
class Release:
    """What a released model is made of.

    sources: data sets that it learns from. judged_on: a data set with another catalogue, whose users are taken out of
    the sources: the checkpoint that ranks its items best is kept. without_users_of: further sets whose users are taken
    out, so that they can be tested on. recipe, settings: of the training.
    """

    sources: tuple[str, ...]
    judged_on: str
    without_users_of: tuple[str, ...]
    architecture: Architecture
    settings: dict[str, Any]
    recipe: str = "sentence"


RELEASES = {
    "amazon-small": Release(
        sources=(
            "amazon_health_2014",
            "amazon_clothing_2014",
            "amazon_arts_2018_urllm",
            "amazon_office_2018_urllm",
            "amazon_scientific_2018",
        ),
        judged_on="amazon_sports_2014",
        without_users_of=("amazon_beauty_2014",),
        architecture=Architecture(d_model=256),
        settings={"d_ff": 256, "epochs": 1, "batch_size": 2048, "learning_rate": 3e-5, "neighbours": True},
    )
}


def release(name: str, root: Path, store: Path) -> Path:
    """Pre-train a released model, as a run of the store, and write it to `root`/`name`.

    Args:
        name: a key of `RELEASES`.
        root: the folder of released models.
        store: of the runs.

    Returns:
        The model's folder.
    """
    trained, config, summary = pretrain(look_up(RELEASES, name, "released model"), store, name)
    folder = root / name

    def fill(aside: Path) -> None:
        shutil.copytree(trained, aside, ignore=shutil.ignore_patterns(ITEMS, SUMS, SEARCH), dirs_exist_ok=True)
        seal(aside)
        write_card(aside, config, summary, name)

    shutil.rmtree(folder, ignore_errors=True)
    return make_folder(folder, fill)


def pretrain(plan: Release, store: Path, name: str) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Train a model on its sources, as a run of the store.

    Args:
        plan: what it is made of.
        store: of the runs.
        name: of the model, for errors.

    Returns:
        The run's model folder, its configuration and its summary.
    """
    judged_on = load_dataset(plan.judged_on)
    kept_out = [judged_on, *map(load_dataset, plan.without_users_of)]
    parts = [load_dataset(source) for source in plan.sources]
    for other in kept_out:
        parts = [part.without_users(other) for part in parts]
    source = concatenate(parts).used_items()
    recipe = recipe_for(plan.recipe, plan.architecture, source, plan.settings, source=name)
    panel = judged_on.panel(PANEL)
    _, summary = train(recipe, source, store, panel)
    config = config_of(source, recipe, panel)
    return store / run_id(config) / "model", config, summary


def main() -> None:
    """Make all of them anew, and the table of their files."""
    root = project_root() / "models"
    for name in RELEASES:
        print(release(name, root, runs_root()))
    write_index(root)


if __name__ == "__main__":
    main()
