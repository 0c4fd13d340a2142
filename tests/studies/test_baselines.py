"""Baselines against brute force, and SASRec as an SRT with another item encoder."""

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.data.loading import build_dataset
from srtlib.evaluation import evaluate, metrics
from srtlib.model.making import new_model
from srtlib.model.srt import SRT
from srtlib.params import ModelParams, Recipe, TrainParams
from srtlib.studies.baselines import (
    co_occurrence,
    popularity,
    record_baseline,
    sasrec,
    score_ranks,
    text_neighbours,
    text_vectors,
    tune,
)
from srtlib.training.trainer import train

QUICK = {"epochs": 2, "batch_size": 64, "n_negatives": 16, "learning_rate": 0.01}


def sequences(dataset: Dataset) -> list[list[int]]:
    return [dataset.items[a:b].tolist() for a, b in zip(dataset.offsets[:-1], dataset.offsets[1:], strict=True)]


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_popularity_ranks_are_those_of_counting(dataset: Dataset, split: str, exclude_seen: bool) -> None:
    counts = Counter(item for sequence in sequences(dataset) for item in sequence[:-2])
    expected = []
    for sequence in sequences(dataset):
        *history, target = sequence if split == "test" else sequence[:-1]
        rivals = set(range(dataset.n_items)) - {target} - (set(history) if exclude_seen else set())
        higher = sum(counts[i] > counts[target] for i in rivals)
        expected.append(1 + higher + sum(counts[i] == counts[target] for i in rivals) / 2)
    assert score_ranks(popularity(dataset), dataset, split, exclude_seen, batch=7).tolist() == expected


def test_users_without_a_target_are_left_out(timed: Dataset) -> None:
    judged = timed.with_target("test")
    scores = timed.train_counts
    expected = [1 + (scores > scores[i]).sum() + ((scores == scores[i]).sum() - 1) / 2 for i in judged.targets("test")]
    assert score_ranks(popularity(timed), timed, "test").tolist() == expected


def test_co_occurrence_counts_shared_training_histories(dataset: Dataset) -> None:
    together: Counter[tuple[int, int]] = Counter()
    for sequence in sequences(dataset):
        together.update(combinations(sorted(set(sequence[:-2])), 2))
    scores = co_occurrence(dataset)([np.array([i]) for i in range(dataset.n_items)])
    for i in range(dataset.n_items):
        for j in range(dataset.n_items):
            assert int(scores[i, j]) == (together[min(i, j), max(i, j)] if i != j else 0)
    assert (scores % 1 < 1).all()


@pytest.mark.parametrize("given", [True, False])
def test_text_neighbours_are_those_of_whitened_vectors(dataset: Dataset, given: bool) -> None:
    """Against a whitening by singular values, and cosines one by one."""
    vectors = np.random.default_rng(0).standard_normal((dataset.n_items, 5)) if given else text_vectors(dataset).vectors
    data = dataset.with_vectors(vectors) if given else dataset
    left, _, right = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    signs = [np.sign(row[np.abs(row).argmax()]) for row in right[:5]]
    scores = text_neighbours(data, width=5)([np.array([i]) for i in range(data.n_items)])
    for i, j in combinations(range(8), 2):
        a, b = (row - row.mean() for row in left[[i, j], :5] * signs)
        assert scores[i, j] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-3)


def test_co_occurrence_by_hand() -> None:
    log = pd.DataFrame({"user_id": list("uuuuvvvv"), "item_id": list("abcdabdc"), "timestamp": range(8)})
    items = pd.DataFrame({"item_id": list("abcd"), "title": list("abcd")})
    data = build_dataset(log, items, "hand")
    assert score_ranks(co_occurrence(data), data, "valid").tolist() == [3.5, 3.5]  # a was seen with b, c and d tie
    summary_ranks = score_ranks(popularity(data), data, "test")
    assert summary_ranks.tolist() == [3.5, 3.5]


def test_recorded_baseline_has_the_metrics_of_its_ranks(dataset: Dataset, tmp_path: Path) -> None:
    summary = record_baseline("popularity", dataset, tmp_path)
    assert summary["test"] == metrics(score_ranks(popularity(dataset), dataset, "test"))
    assert record_baseline("popularity", dataset, tmp_path) == summary, "recorded once"


def test_sasrec_has_a_vector_per_item_and_learns(dataset: Dataset, tmp_path: Path) -> None:
    recipe = sasrec(dataset, {"d_model": 16, "n_layers": 1, "dropout": 0.1}, {**QUICK, "epochs": 15})
    model, summary = train(recipe, dataset, tmp_path)
    assert model.parameter_counts()["embedding"] == dataset.n_items * 16
    assert summary["test"] == evaluate(model, dataset)
    by_chance = 1 / dataset.n_items * sum(1 / np.log2(1 + r) for r in range(1, 11))
    assert summary["test"]["ndcg@10"] > 3 * by_chance
    reloaded = SRT.from_pretrained(next(tmp_path.glob("*/model")))
    assert evaluate(reloaded, dataset) == summary["test"]


def test_sasrec_needs_its_catalogue() -> None:
    with pytest.raises(ValueError, match="'item_ids' needs n_items"):
        SRT(ModelParams(encoder="item_ids"))


def test_tuning_takes_the_best_on_validation(dataset: Dataset, tmp_path: Path) -> None:
    rates = [1e-6, 0.02]
    grid = [sasrec(dataset, {"d_model": 8}, {**QUICK, "learning_rate": rate, "epochs": 8}) for rate in rates]
    best, values = tune(grid, dataset, tmp_path)
    assert best.train.learning_rate == rates[int(np.argmax(values))]
    assert len(values) == 2


def test_text_vectors_bring_items_of_the_same_words_together(dataset: Dataset) -> None:
    with_vectors = text_vectors(dataset, width=16)
    vectors = with_vectors.vectors
    assert vectors is not None
    assert vectors.shape == (dataset.n_items, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    words = [set(text.lower().split()) for text in dataset.catalogue["title"]]
    overlap = np.array([[len(a & b) / len(a | b) for b in words] for a in words])
    off = ~np.eye(len(words), dtype=bool)
    assert np.corrcoef(overlap[off], (vectors @ vectors.T)[off])[0, 1] > 0.5


@pytest.mark.parametrize("width", [16, 256])
def test_text_vectors_are_the_same_each_time(dataset: Dataset, width: int) -> None:
    """Also where more directions are asked for than the words have, as with 256 here."""
    first, again = text_vectors(dataset, width), text_vectors(dataset, width)
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert first.fingerprint == again.fingerprint


def test_text_vectors_of_a_single_field(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    log, items = tables
    titles = build_dataset(log, items[["item_id", "title"]], "titles")
    vectors = text_vectors(titles, width=8).vectors
    assert vectors is not None
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for rows in titles.catalogue.groupby("title").indices.values():
        np.testing.assert_allclose(vectors[rows], vectors[rows[:1]].repeat(len(rows), 0), atol=1e-5)


def test_srt_on_fixed_vectors_leaves_them_alone(dataset: Dataset, tmp_path: Path) -> None:
    data = text_vectors(dataset, width=8)
    params = ModelParams(d_model=8, n_layers=1, encoder="fixed_vectors", vector_dim=8)
    model, _ = train(Recipe(name="fixed", model=params, train=TrainParams(**QUICK)), data, tmp_path)
    start = new_model(params, data)
    assert not torch.equal(start.encoder.project.weight, model.encoder.project.weight)  # type: ignore[union-attr]
    assert model.parameter_counts()["embedding"] == 0
