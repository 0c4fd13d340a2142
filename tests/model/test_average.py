"""The sum of two models' scores, one dot product."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.evaluation import judge
from srtlib.model.average import Average
from srtlib.model.making import new_model
from srtlib.model.packing import Sequences
from srtlib.model.srt import SRT
from srtlib.params import ModelParams
from srtlib.serving.recommender import Recommender
from srtlib.studies.judging import best_weight


@pytest.fixture
def pair(dataset: Dataset) -> tuple[SRT, SRT]:
    """One of text and one of item IDs, of different widths and lengths."""
    text = ModelParams(d_model=8, n_layers=1, vocab_size=200, temperature=0.1)
    ids = ModelParams(d_model=4, n_layers=2, encoder="item_ids", n_items=dataset.n_items, max_len=30)
    return new_model(text, dataset, seed=1).eval(), new_model(ids, dataset, seed=2).eval()


@torch.no_grad()
def scores(model: SRT, dataset: Dataset, longest: int) -> np.ndarray:
    """Of every item for every user, before the test."""
    vectors = model.encode_catalogue(model.features(dataset), dataset.n_items)
    found = np.empty((dataset.n_users, dataset.n_items))
    sequences = Sequences(dataset.items, dataset.offsets, dataset.history_ends("test"), longest)
    for users, batch in sequences.histories(10_000):
        found[users] = model(vectors[batch.items], batch.layout)[batch.supervised] @ vectors.T
    return found


def test_its_ranks_are_those_of_the_summed_scores(dataset: Dataset, pair: tuple[SRT, SRT]) -> None:
    expected = scores(pair[0], dataset, 30) + 3 * scores(pair[1], dataset, 30)
    own = expected[np.arange(dataset.n_users), dataset.targets("test")][:, None]
    assert judge(Average(*pair, 3), dataset, "test").ranks == pytest.approx(1 + (expected > own + 1e-5).sum(1))


def test_it_recommends_what_the_sum_says(dataset: Dataset, pair: tuple[SRT, SRT]) -> None:
    both = Average(*pair, 0.5)
    offers = Recommender(both, dataset.catalogue).recommend({"u": dataset.catalogue["item_id"][:3].tolist()}, k=40)
    assert len(offers) == 37
    assert both.parameter_counts()["total"] == sum(model.parameter_counts()["total"] for model in pair)


def test_the_weight_is_the_best_on_validation(dataset: Dataset, pair: tuple[SRT, SRT]) -> None:
    weight, table = best_weight(*pair, dataset, (0.0, 1.0, 10.0))
    assert table["weight"].tolist() == [0, 1, 10]
    assert weight == table.sort_values("ndcg@10")["weight"].iloc[-1]
    weight, table = best_weight(*pair, dataset, (0.0, 1.0, 10.0), exclude_seen=True)
    among_new = judge(Average(*pair, weight), dataset, "valid", exclude_seen=True).metrics()
    assert table["ndcg@10"].max() == pytest.approx(among_new["ndcg@10"])
    _, table = best_weight(*pair, dataset, (0.0, 1.0, 10.0))
    alone = judge(pair[0], dataset, "valid").metrics()
    assert table.loc[0, "mrr@10"] == pytest.approx(alone["mrr@10"], abs=0.05)  # the shorter history counts


def test_it_is_not_saved_and_knows_the_items_of_its_ids_only(
    dataset: Dataset, pair: tuple[SRT, SRT], tmp_path: Path
) -> None:
    both = Average(*pair, 0.5)
    with pytest.raises(ValueError, match="an average is not saved"):
        both.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="this model was trained on"):
        both.features(pd.concat([dataset.catalogue, dataset.catalogue[:1].assign(item_id="new")]))
