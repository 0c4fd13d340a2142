"""Size S on real interactions: what is known of the set, and what must hold of the study."""

import os
from pathlib import Path

import pytest

from srtlib.data.loading import load_dataset
from srtlib.evaluation import evaluate, random_ndcg
from srtlib.model.making import new_model
from srtlib.params import ModelParams, load_params
from srtlib.studies.sweeping import scaling_experiments, sweep

NAME = "amazon_beauty_2014"
pytestmark = pytest.mark.skipif(
    not (Path(os.environ.get("SRT_DATA", "")) / NAME).is_dir(),
    reason=f"SRT_DATA names no folder with {NAME}",
)


def test_counts() -> None:
    data = load_dataset(NAME)
    assert (data.n_users, data.n_items, data.n_interactions) == (22_363, 12_101, 198_502)
    assert data.n_targets == 198_502 - 3 * 22_363
    assert data.text_fields == ("title", "categories")


def test_an_untrained_model_scores_like_chance() -> None:
    data = load_dataset(NAME)
    model = new_model(ModelParams(d_model=16, fields={"title": 40}), data)
    with_random_items = model.encoder.tables["title"].weight.data.normal_()
    assert with_random_items.std() > 0.9
    found = evaluate(model, data, "test")["ndcg@5"]
    assert found < 5 * random_ndcg(data.n_items, 5)


def test_ndcg_rises_with_data_and_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Size S less its middles, its largest sample cut to 40,000 interactions."""
    study = load_params("S").scaling
    study = study.model_copy(
        update={
            "interactions": [5_000, 40_000],
            "models": [study.models[0], study.models[-1]],
            "panel_users": 2_000,
        }
    )
    table = sweep(scaling_experiments(study, NAME), tmp_path_factory.mktemp("runs"), progress_bar=False)
    best = table.groupby("n_interactions")["test_ndcg@5"].max()
    assert best.iloc[-1] > 1.5 * best.iloc[0]
    largest = table[table["n_interactions"] == table["n_interactions"].max()].sort_values("d_model")
    assert largest["valid_ndcg@5"].is_monotonic_increasing
    assert best.iloc[-1] > 50 * random_ndcg(12_101, 5)
