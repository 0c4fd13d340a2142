"""A trained model against what is known of the synthetic world: well above popularity, not above the ceiling."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib.data.loading import build_dataset
from srtlib.data.synthetic import World
from srtlib.evaluation import judge, metrics
from srtlib.params import ModelParams, Recipe, TrainParams
from srtlib.training.trainer import train


def popularity_ndcg(counts: np.ndarray, targets: np.ndarray) -> float:
    scores = counts.astype(float)
    higher = (scores[None, :] > scores[targets][:, None]).sum(1)
    equal = (scores[None, :] == scores[targets][:, None]).sum(1) - 1
    return metrics(1 + higher + equal / 2, (5,))["ndcg@5"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_model_learns_the_world_and_stays_below_its_ceiling(tmp_path: Path, seed: int) -> None:
    world = World(n_items=300, n_categories=6, n_brands=20, seed=seed)
    log: pd.DataFrame = world.sample(3000, seed=seed)
    data = build_dataset(log, world.items, "world")
    recipe = Recipe(
        name="small",
        model=ModelParams(d_model=32, n_layers=1, dropout=0.1, vocab_size=2000, fields={"title": 40, "brand": 8}),
        train=TrainParams(epochs=8, batch_size=1024, n_negatives=200, learning_rate=5e-3, seed=seed),
    )
    model, _ = train(recipe, data, tmp_path)
    ndcg = judge(model, data, "test", exclude_seen=True).ranks  # the world never repeats an item
    values = np.where(ndcg <= 5, 1 / np.log2(1 + ndcg), 0)
    ceiling = world.ceiling(k=5, interactions=log)
    noise = 3 * values.std() / np.sqrt(len(values))
    assert values.mean() < ceiling + noise
    assert values.mean() > 0.4 * ceiling
    assert values.mean() > 1.5 * popularity_ndcg(data.train_counts, data.targets("test"))
