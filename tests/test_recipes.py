"""Recipes are complete, and settings go where they belong."""

from pathlib import Path

import pytest

from srtlib import runs
from srtlib.data.dataset import Dataset
from srtlib.params import Architecture, ModelParams
from srtlib.recipes import RECIPES, recipe_for
from srtlib.training.trainer import train


def test_recipes_are_complete() -> None:
    for name, recipe in RECIPES.items():
        made = recipe(Architecture(d_model=32), 1000, ("title",))
        assert made.name == name
        assert ModelParams.model_validate(made.model.model_dump()) == made.model


def test_paper_recipe_is_the_authors(dataset: Dataset) -> None:
    architecture = Architecture(d_model=128, n_layers=4, n_heads=2)
    made = recipe_for("paper", architecture, dataset, {"n_negatives": 300}, seed=2020)
    model, train = made.model, made.train
    assert (model.d_ff, model.max_len, model.dropout, model.attention_dropout, model.norm) == (
        128,
        50,
        0.5,
        0.5,
        "post",
    )
    assert (model.fields, model.vocab_size, model.norm_eps) == ({"title": 40, "brand": 8}, 30_000, 1e-12)
    assert (train.supervise, train.shared_negatives, train.n_negatives, train.negatives) == (
        "last",
        False,
        300,
        "popularity",
    )
    assert (train.optimizer, train.learning_rate, train.weight_decay, train.clip_norm) == ("adam", 1e-4, 1e-5, 0.0)
    assert (train.schedule, train.warmup, train.epochs, train.batch_size, train.seed) == (
        "one_cycle",
        0.3,
        50,
        128,
        2020,
    )
    assert (train.eval_every, train.protocol, train.logq_on_positive) == (5, "paper:10000", True)
    assert (train.select_by, model.initialisation, model.words_first) == ("mrr@5", "normal02", True)


def test_paper_recipe_trains_and_keeps_the_best_by_mrr(dataset: Dataset, tmp_path: Path) -> None:
    settings = {"epochs": 20, "vocab_size": 200, "learning_rate": 0.01, "protocol": "paper:30"}
    made = recipe_for("paper", Architecture(d_model=8), dataset, settings)
    _, summary = train(made, dataset, tmp_path, progress_bar=False)
    curve = runs.curves(tmp_path).set_index("step")
    assert summary["best_step"] == curve["valid_mrr@5"].idxmax()
    assert curve["train_loss"].iloc[-1] < curve["train_loss"].iloc[0]


def test_settings_go_to_the_model_or_to_training(dataset: Dataset) -> None:
    architecture = Architecture(d_model=8)
    made = recipe_for("srtlib", architecture, dataset, {"dropout": 0.4, "epochs": 2}, seed=3)
    plain = recipe_for("srtlib", architecture, dataset, seed=3)
    assert (made.model.dropout, made.train.epochs, made.train.seed) == (0.4, 2, 3)
    assert made.model == plain.model.model_copy(update={"dropout": 0.4})
    assert made.train == plain.train.model_copy(update={"epochs": 2})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sasrec", {}, "recipe 'sasrec' is not known; expected one of neighbours, paper, sentence, srtlib"),
        ("srtlib", {"epoch": 2}, "here: epoch: unknown key; expected one of objective"),
        ("srtlib", {"seed": 2}, "here: seed is no setting of a recipe"),
        ("srtlib", {"epochs": 0}, "here: epochs: Input should be greater than 0, got 0"),
    ],
)
def test_what_is_no_setting_is_refused(dataset: Dataset, name: str, settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe_for(name, Architecture(d_model=8), dataset, settings, source="here")
