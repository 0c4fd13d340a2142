"""The study of transfer on two small data sets: who learns from what, how long, and that nothing is trained twice."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib import runs
from srtlib.data.dataset import Dataset
from srtlib.data.loading import build_dataset
from srtlib.params import Architecture, Transfer
from srtlib.studies import transfer as transfer_study
from srtlib.studies.fine_tuning import Method

SETTINGS = {"epochs": 2, "eval_every": 1, "batch_size": 64, "n_negatives": 16, "learning_rate": 0.01}


@pytest.fixture
def study(
    dataset: Dataset, tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> transfer_study.Study:
    """The source is the small data set; the target has ten of its users, under the same names, and fifty others."""
    log, items = tables
    number = log["user_id"].str[1:].astype(int)
    other = build_dataset(log.assign(user_id=np.where(number < 10, "u", "x") + number.astype(str)), items, "other")
    monkeypatch.setattr(transfer_study, "load_dataset", {"small": dataset, "other": other}.__getitem__)
    params = Transfer(
        models=[Architecture(d_model=8)],
        seeds=2,
        pretrain=SETTINGS,
        train=SETTINGS,
        on_shares={"epochs": 3, "learning_rate": 0.005},
        fine_tune={"learning_rate": 0.02},
        sasrec=[{"d_model": 4, "n_layers": 1}, {"d_model": 8, "n_layers": 1}],
        shares=[0.25, 1.0],
        cold_share=0.2,
    )
    return transfer_study.Study(params, ["small"], "other", tmp_path)


def test_the_source_has_none_of_the_targets_users(study: transfer_study.Study) -> None:
    assert study.users_removed == 10
    assert study.source.n_users == 50
    assert not set(study.source.user_ids) & set(study.target.user_ids)


def test_the_comparison_has_every_seed_and_trains_nothing_twice(study: transfer_study.Study) -> None:
    names = ["popularity", "sasrec_sampled", "zero_shot", "full", "from_scratch"]
    table = study.comparison(names)
    assert table.groupby("method")["seed"].apply(list).to_dict() == {
        "popularity": [0], "zero_shot": [0], "sasrec_sampled": [0, 1], "full": [0, 1], "from_scratch": [0, 1],
    }  # fmt: skip
    assert table.loc[table["method"] == "full", "pretrain_flops"].gt(0).all()
    assert table.loc[table["method"] == "from_scratch", "pretrain_flops"].isna().all()
    before = runs.table(study.store).set_index("run_id")["date"]
    again = study.comparison(names)
    pd.testing.assert_frame_equal(table, again)
    pd.testing.assert_series_equal(before, runs.table(study.store).set_index("run_id")["date"])


def test_sasrec_takes_the_point_that_is_best_on_validation(study: transfer_study.Study) -> None:
    tried = study.tuning().query("method == 'sasrec_sampled'")
    best = tried.loc[tried["valid_ndcg@5"].idxmax()]
    assert study.sasrec("sasrec_sampled", 1).model.d_model == best["d_model"]
    assert study.sasrec("sasrec_sampled", 1).train.seed == 1


def test_a_share_of_the_users_is_trained_longer_and_judged_on_all(study: transfer_study.Study) -> None:
    study.transfer(Method.FROM_SCRATCH, share=0.25)
    study.transfer(Method.FROM_SCRATCH)
    found = runs.table(study.store).sort_values("n_users")
    assert found["n_users"].tolist() == [15, 60]
    assert found["epochs"].tolist() == [3 * 2, 2]  # a quarter of the users: twice the epochs of on_shares
    assert found["panel_n_users"].tolist() == [60, 60]
    assert found["learning_rate"].tolist() == [0.005, 0.01]


def test_shares_have_their_own_learning_rate_before_that_of_fine_tuning(study: transfer_study.Study) -> None:
    table = study.share_curve([0])
    assert table.groupby("method")["share"].apply(list).to_dict() == {
        name: [0.25, 1.0] for name in ("full", "embeddings_only", "from_scratch")
    }
    found = runs.table(study.store)
    tuned = found[found["recipe"] == "full"].set_index("n_users")["learning_rate"]
    assert tuned.to_dict() == {15: 0.005, 60: 0.02}


def test_cold_items_are_in_no_training_and_yet_ranked(study: transfer_study.Study) -> None:
    table = study.cold_items(["full", "sasrec_sampled"]).set_index(["method", "items"])
    targets = study.target.targets("test")
    cold = np.random.default_rng(0).permutation(study.target.n_items)[:8]
    assert table.loc[("full", "cold"), "users"] == np.isin(targets, cold).sum()
    assert table.groupby("method")["users"].sum().tolist() == [60, 60]
    warm = study.target.without_items(cold)
    assert not np.isin(warm.items, cold).any()
    found = runs.table(study.store)
    learnt_from = found[found["dataset_fingerprint"] == warm.fingerprint]
    assert sorted(learnt_from["recipe"]) == ["full", "sasrec"]


def test_recorded_tables_are_those_of_the_study_and_other_targets_stay(
    study: transfer_study.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, cold = study.comparison(["popularity", "zero_shot", "full"]), study.cold_items(["full"])
    monkeypatch.setattr(study, "comparison", lambda: compared)
    monkeypatch.setattr(study, "cold_items", lambda: cold)
    folder = tmp_path / "record"
    folder.mkdir()
    earlier = pd.DataFrame({"method": ["full", "old"], "target": ["another", "other"], "test_ndcg@10": [0.5, 0.25]})
    earlier.to_csv(folder / "comparison.csv", index=False)
    study.record(folder)
    assert sorted(path.stem for path in folder.iterdir()) == ["cold", "comparison", "pretraining", "shares", "tuning"]
    recorded = pd.read_csv(folder / "comparison.csv")
    assert recorded["target"].tolist() == ["another", *len(compared) * ["other"]]
    np.testing.assert_allclose(recorded["test_ndcg@10"], [0.5, *compared["test_ndcg@10"]])
    pd.testing.assert_series_equal(pd.read_csv(folder / "cold.csv")["ndcg@10"], cold["ndcg@10"])
