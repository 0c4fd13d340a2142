"""The neighbours of a history that scores add: against sums over each history; what moving, saving and sharing keep."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.model.average import Average
from srtlib.model.making import new_model
from srtlib.model.packing import Layout, Sequences
from srtlib.model.srt import SRT
from srtlib.model.vector_encoders import Whitening
from srtlib.params import ModelParams
from srtlib.serving.recommender import Recommender
from srtlib.studies.baselines import history_neighbours
from srtlib.studies.fine_tuning import adapt

ENCODERS = ("token_bag", "fixed_vectors", "hybrid", "hybrid_ids", "item_ids")


@pytest.fixture
def with_vectors(dataset: Dataset) -> Dataset:
    return dataset.with_vectors(np.random.default_rng(3).standard_normal((dataset.n_items, 6)).astype(np.float32))


def make(dataset: Dataset, neighbours: bool = True, encoder: str = "token_bag", weight: float = 2.0) -> SRT:
    params = ModelParams(
        d_model=8, n_layers=1, vocab_size=200, encoder=encoder, vector_dim=6, temperature=0.1, neighbours=neighbours,
        max_len=7, n_items=dataset.n_items,
    )  # fmt: skip
    model = new_model(params, dataset, seed=1).eval()
    model.move_to(dataset)
    if model.neighbours is not None:
        model.neighbours.weight.fill_(weight)
        model.neighbours.decay.fill_(0.6)
    return model


@torch.no_grad()
def scores(model: SRT, dataset: Dataset) -> np.ndarray:
    """Of every item for every user, before the test."""
    vectors = model.encode_catalogue(model.features(dataset), dataset.n_items)
    found = np.empty((dataset.n_users, dataset.n_items))
    sequences = Sequences(dataset.items, dataset.offsets, dataset.history_ends("test"), model.params.max_len)
    for users, batch in sequences.histories(10_000):
        found[users] = model(vectors[batch.items], batch.layout)[batch.supervised] @ vectors.T
    return found


def last_items(dataset: Dataset, most: int) -> list[np.ndarray]:
    ends = dataset.history_ends("test")
    return [dataset.items[max(a, b - most) : b] for a, b in zip(dataset.offsets[:-1], ends, strict=True)]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_scores_are_those_of_the_model_and_the_weighted_cosines(with_vectors: Dataset, encoder: str) -> None:
    alone = scores(make(with_vectors, neighbours=False, encoder=encoder), with_vectors)
    cosines = history_neighbours(with_vectors, decay=0.6)(last_items(with_vectors, 7))
    both = make(with_vectors, encoder=encoder)
    np.testing.assert_allclose(scores(both, with_vectors), alone + 2 * cosines, atol=1e-4)
    assert both.width == 8 + 6
    off = make(with_vectors, encoder=encoder, weight=0.0)
    assert off.width == 8
    np.testing.assert_array_equal(scores(off, with_vectors), alone)


def test_both_layouts_look_back_alike_and_no_further_than_a_sequence_begins(with_vectors: Dataset) -> None:
    path = make(with_vectors).neighbours
    assert path is not None
    vectors = torch.from_numpy(np.random.default_rng(0).standard_normal((64, 6)).astype(np.float32))
    lengths = [1, 7, 3, 5]
    expected = []
    for start, n in zip(np.cumsum([0, *lengths[:-1]]), lengths, strict=True):
        for i in range(n):
            total = sum(0.6**k * vectors[start + i - k] for k in range(i + 1))
            expected.append(2 * total / total.norm())
    positions = torch.cat([torch.arange(n) for n in lengths] + [torch.zeros(48, dtype=torch.long)])
    static = Layout.static(positions, block=8, attention_pairs=0)
    buckets = Layout.buckets([(1, n) for n in lengths], positions[:16])
    for layout in (static, buckets):
        found = path(vectors[: layout.n_tokens], layout)
        torch.testing.assert_close(found[:16], torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_it_is_saved_whole_and_moves_with_a_whitening_of_the_other_catalogue(
    with_vectors: Dataset, tmp_path: Path
) -> None:
    model = make(with_vectors)
    model.save_pretrained(tmp_path / "model")
    loaded = SRT.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(scores(loaded, with_vectors), scores(model, with_vectors))
    assert with_vectors.vectors is not None
    other = with_vectors.with_vectors(with_vectors.vectors * [1, 2, 3, 4, 5, 6] + 9)
    cosines = history_neighbours(other, decay=0.6)(last_items(other, 7))
    alone = scores(make(with_vectors, neighbours=False), other)
    moved = adapt(model, other)
    np.testing.assert_allclose(scores(moved, other), alone + 2 * cosines, atol=1e-4)
    items = other.catalogue.assign(vector=list(other.vectors))
    served = Recommender.load(tmp_path / "model", items)
    np.testing.assert_allclose(served.vectors, moved.encode_catalogue(moved.features(other), other.n_items), atol=1e-6)
    before = served.vectors.clone()
    served.add_items(pd.DataFrame({"item_id": ["new"], "title": ["red pen"], "vector": [other.vectors[3]]}))
    torch.testing.assert_close(served.vectors[:-1], before)
    torch.testing.assert_close(served.vectors[-1, 8:], before[3, 8:])


def test_a_sum_of_two_models_with_neighbours_sums_their_scores(with_vectors: Dataset) -> None:
    one, two = make(with_vectors), make(with_vectors, encoder="item_ids", weight=1.0)
    both = scores(Average(one, two, 0.5), with_vectors)
    np.testing.assert_allclose(both, scores(one, with_vectors) + 0.5 * scores(two, with_vectors), atol=1e-4)


def test_in_a_small_catalogue_what_is_alike_stays_alike() -> None:
    """Five items and 384 directions: whitened without shrinking, all would stand at right angles."""
    rng = np.random.default_rng(0)
    kinds = rng.standard_normal((2, 384))
    vectors = (kinds[[0, 0, 1, 1, 1]] + 0.3 * rng.standard_normal((5, 384))).astype(np.float32)
    whitening = Whitening(384, 384)
    whitening.fit(vectors, shrink=True)
    unit = whitening(vectors) / 384**0.5
    cosines = unit @ unit.T
    same = np.equal.outer([0, 0, 1, 1, 1], [0, 0, 1, 1, 1])
    assert cosines[same].min() > cosines[~same].max() + 0.5
    whitening.fit(vectors[:1], shrink=True)
    assert np.isfinite(whitening(vectors[:1])).all()


def test_vectors_of_no_known_width_are_refused() -> None:
    with pytest.raises(ValueError, match="neighbours=true needs vector_dim"):
        ModelParams(neighbours=True)
