"""Weight and decay of the neighbours, against judging every pair of them; and what training has to do with it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.evaluation import evaluate
from srtlib.model.making import new_model
from srtlib.params import ModelParams, Recipe
from srtlib.serving.recommender import Recommender
from srtlib.studies.fine_tuning import Method, fine_tune
from srtlib.training import weighing
from srtlib.training.trainer import train
from srtlib.training.weighing import weigh_neighbours, with_neighbours


@pytest.fixture
def with_vectors(dataset: Dataset) -> Dataset:
    return dataset.with_vectors(np.random.default_rng(3).standard_normal((dataset.n_items, 6)).astype(np.float32))


@pytest.fixture
def both(recipe: Recipe) -> Recipe:
    params = ModelParams(**{**recipe.model.model_dump(), "neighbours": True, "vector_dim": 6})
    return recipe.model_copy(update={"model": params})


def test_they_are_the_best_on_validation_among_new_items(
    with_vectors: Dataset, both: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = new_model(both.model, with_vectors)
    model.move_to(with_vectors)
    path = model.neighbours
    assert path is not None
    monkeypatch.setattr(weighing, "SCORES", 3 * with_vectors.n_items)  # several parts of users
    weigh_neighbours(model, with_vectors)
    found = path.weight.item(), path.decay.item()
    quality = {}
    for weight in weighing.WEIGHTS:
        for decay in weighing.DECAYS:
            path.weight.fill_(weight)
            path.decay.fill_(decay)
            quality[weight, decay] = evaluate(model, with_vectors, "valid", exclude_seen=True)["ndcg@10"]
    best = max(quality.values())
    assert found == pytest.approx(min(pair for pair, value in quality.items() if value > best - 1e-9))
    assert found[0] > 0, "of vectors at random and a model that has not learnt, some weight is better by chance"


def test_what_is_learnt_is_the_same_and_the_run_is_judged_with_them(
    with_vectors: Dataset, recipe: Recipe, both: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, without = train(recipe, with_vectors, tmp_path)
    model, summary = train(both, with_vectors, tmp_path)
    for name, weight in alone.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=0, atol=0)
    assert model.neighbours is not None
    assert summary["neighbours"] == pytest.approx(
        {"weight": model.neighbours.weight.item(), "decay": model.neighbours.decay.item()}
    )
    assert summary["flops"] == without["flops"]
    assert summary["params"] == without["params"]
    assert summary["valid"] == pytest.approx(evaluate(model, with_vectors, "valid"))
    assert summary["test_unseen"] == pytest.approx(evaluate(model, with_vectors, exclude_seen=True))
    folder = next(path.parent for path in tmp_path.glob("*/model/model.safetensors") if "neighbours" in _config(path))
    served = Recommender.load(folder)
    assert served.vectors.shape[1] == model.width
    monkeypatch.setattr("srtlib.training.trainer.Trainer.step", None)
    again, same = train(both, with_vectors, tmp_path)
    assert same == summary
    assert evaluate(again, with_vectors) == evaluate(model, with_vectors)


def test_a_trained_model_gets_them_as_if_it_had_been_trained_so(
    with_vectors: Dataset, recipe: Recipe, both: Recipe, tmp_path: Path
) -> None:
    alone, _ = train(recipe, with_vectors, tmp_path)
    expected, _ = train(both, with_vectors, tmp_path)
    found = with_neighbours(alone, with_vectors)
    assert found.state_dict().keys() == expected.state_dict().keys()
    for name, weight in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], weight)
    assert alone.neighbours is None
    assert evaluate(found, with_vectors, "valid") == evaluate(expected, with_vectors, "valid")


def test_fine_tuning_learns_without_them_and_weighs_them_anew(
    with_vectors: Dataset, both: Recipe, tmp_path: Path
) -> None:
    start = new_model(both.model, with_vectors)
    start.move_to(with_vectors)
    assert start.neighbours is not None
    start.neighbours.weight.fill_(64.0)
    unseen, _ = fine_tune(start, with_vectors, tmp_path, both.train, Method.ZERO_SHOT)
    assert unseen.neighbours is not None
    assert unseen.neighbours.weight.item() == 64
    tuned, summary = fine_tune(start, with_vectors, tmp_path, both.train)
    plain, _ = train(both, with_vectors, tmp_path)
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(tuned.state_dict()[name], weight)
    assert summary["neighbours"]["weight"] in weighing.WEIGHTS
    assert start.neighbours.weight.item() == 64
    penalised, _ = fine_tune(start, with_vectors, tmp_path, both.train, Method.EWC, source=with_vectors)
    assert penalised.neighbours is not None


def _config(path: Path) -> str:
    return (path.parent / "config.json").read_text()
