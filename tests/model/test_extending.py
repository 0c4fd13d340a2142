"""What is not in the library can be added from outside: the encoder of tests/examples/encoder.py."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.evaluation import evaluate
from srtlib.model.encoders import ENCODERS
from srtlib.params import Architecture, Recipe
from srtlib.paths import project_root
from srtlib.recipes import recipe_for
from srtlib.runs.store import run_id
from srtlib.serving.recommender import Recommender
from srtlib.training.identity import config_of
from srtlib.training.trainer import train


@pytest.fixture
def recipe(dataset: Dataset) -> Iterator[Recipe]:
    settings = {"encoder": "letters", "epochs": 3, "max_len": 10, "n_negatives": 20}
    runpy.run_path(str(project_root() / "tests" / "examples" / "encoder.py"))
    yield recipe_for("srtlib", Architecture(d_model=8), dataset, settings)
    ENCODERS.pop("letters", None)


def test_an_encoder_from_outside_trains_and_recommends(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    model, summary = train(recipe, dataset, tmp_path, progress_bar=False)
    assert summary["params"]["projection"] == 27 * 8
    assert summary["params"]["embedding"] == 0
    folder = tmp_path / run_id(config_of(dataset, recipe)) / "model"
    assert not (folder / "tokenizer.json").exists()
    assert "knows items by the letters of their titles" in (folder / "README.md").read_text()
    recommender = Recommender.load(folder)
    assert evaluate(recommender.model, dataset) == evaluate(model, dataset) == summary["test"]
    del ENCODERS["letters"]
    with pytest.raises(
        ValueError, match=r"config\.json: encoder 'letters' is not known; expected one of fixed_vectors"
    ):
        Recommender.load(folder)
    recommender.add_items(pd.DataFrame({"item_id": ["new", "anagram"], "title": ["Red pen", "Der nep!"]}))
    assert torch.equal(recommender.vectors[-1], recommender.vectors[-2])
    assert recommender.recommend({"ann": ["i1", "new"]}, k=3)["rank"].tolist() == [1, 2, 3]


def test_a_name_that_is_not_known_is_refused_before_a_run_exists(dataset: Dataset, tmp_path: Path) -> None:
    recipe = recipe_for("srtlib", Architecture(d_model=8), dataset, {"encoder": "leters"})
    known = "fixed_vectors, hybrid, hybrid_ids, item_ids, sentence, token_bag"
    with pytest.raises(ValueError, match=f"^encoder 'leters' is not known; expected one of {known}$"):
        train(recipe, dataset, tmp_path, progress_bar=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("encoder", "parameter"),
    [("fixed_vectors", "vector_dim"), ("item_ids", "n_items"), ("hybrid_ids", "vector_dim")],
)
def test_what_an_encoder_needs_is_asked_for_before_a_run_exists(
    dataset: Dataset, tmp_path: Path, encoder: str, parameter: str
) -> None:
    recipe = recipe_for("srtlib", Architecture(d_model=8), dataset, {"encoder": encoder})
    with pytest.raises(ValueError, match=f"^encoder '{encoder}' needs {parameter} among the model's parameters: "):
        train(recipe, dataset, tmp_path, progress_bar=False)
    assert not list(tmp_path.iterdir())
