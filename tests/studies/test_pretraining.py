"""The study of pre-training: nested samples of the source by widths, each trained once, judged on what is unseen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from srtlib.data.dataset import Dataset
from srtlib.data.loading import build_dataset
from srtlib.paths import project_root
from srtlib.studies import pretraining


def test_a_row_per_size_and_width_before_and_after_and_none_is_trained_twice(
    dataset: Dataset,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("sentence_transformers")
    log, items = tables
    number = log["user_id"].str[1:].astype(int)
    users = np.where(number < 10, "u", "x") + number.astype(str)  # ten users of the target
    other = build_dataset(
        log.assign(user_id=users, item_id="o" + log["item_id"]), items.assign(item_id="o" + items["item_id"]), "other"
    )
    monkeypatch.setattr(pretraining, "load_dataset", {"small": dataset, "other": other}.__getitem__)
    monkeypatch.setattr(pretraining, "SETTINGS", {**pretraining.SETTINGS, "n_negatives": 16, "whiten_dim": 16})
    path, sizes = tmp_path / "table.csv", [150, 400]
    given = path, ["other"], "small", tmp_path / "runs", sizes, (4, 8)
    found = pretraining.record(*given)
    assert found["method"].tolist() == ["text_neighbours", *["untrained", "zero_shot"] * 4]
    learnt = found.iloc[1:]
    assert learnt["d_model"].tolist() == [4, 4, 8, 8] * 2
    alone = other.without_users(dataset)
    for size, part in zip(sizes, (learnt.iloc[:4], learnt.iloc[4:]), strict=True):
        sample = alone.sample_users(n_interactions=size)
        assert set(part["source_users"]) == {sample.n_users}
        assert set(part["source_interactions"]) == {sample.n_interactions}
    assert found["target"].eq("small").all()
    assert found["test_unseen_ndcg@10"].between(0, 1).all()
    words = pretraining.record(*given[:4], sizes, (4,), encoder="words")
    assert words["method"].tolist() == ["text_neighbours", *["untrained", "zero_shot"] * 2]
    assert words["params_total"].iloc[1] > 4 * 100  # a table of words
    deep = pretraining.record(*given[:4], sizes[:1], (4,), layers=(1, 2))
    assert deep["n_layers"].tolist()[1:] == [1, 1, 2, 2]
    weights = deep["params_total"]
    assert weights.iloc[3] > weights.iloc[1]
    monkeypatch.setattr("srtlib.training.trainer.Trainer.step", None)
    pd.testing.assert_frame_equal(pretraining.record(*given), found)
    written = pd.read_csv(path)
    assert written["encoder"].fillna("").value_counts().to_dict() == {"sentence": 10, "words": 4, "": 1}


def test_what_the_book_says_of_larger_sources() -> None:
    """Every training takes away, and more interactions do not mend it."""
    table = pd.read_csv(project_root() / "results" / "transfer" / "pretraining_sentences.csv", dtype={"commit": str})
    table = table[~table["n_layers"].isin([2, 4])]
    words = table[table["encoder"] == "words"]
    table = table[table["encoder"] != "words"]
    assert table["test_unseen_ndcg@10"].iloc[0].round(4) == 0.0426
    found = table.iloc[1:].pivot(
        index=["d_model", "source_interactions"], columns="method", values="test_unseen_ndcg@10"
    )
    assert len(found) == 9
    lost = 1 - found["zero_shot"] / found["untrained"]
    assert lost.between(0.03, 0.125).all()
    assert found["zero_shot"].loc[256].round(4).tolist() == [0.0361, 0.0339, 0.0353]
    largest = found.xs(found.index.levels[1].max(), level="source_interactions").round(3)
    assert largest["zero_shot"].tolist() == [0.028, 0.032, 0.035]
    assert largest["untrained"].tolist() == [0.032, 0.036, 0.038]
    assert found["untrained"].max() < 0.0426
    bags = words.pivot(index=["d_model", "source_interactions"], columns="method", values="test_unseen_ndcg@10").round(
        3
    )
    assert bags["zero_shot"].loc[64].tolist() == [0.021, 0.024, 0.021, 0.016, 0.011]
    assert bags["untrained"].loc[64].between(0.020, 0.024).all()
    assert bags["untrained"].loc[16].between(0.004, 0.008).all()
    assert (bags["zero_shot"] > bags["untrained"]).loc[16].tolist() == [True, True, False, False]
    learnt = words[(words["method"] == "zero_shot") & (words["d_model"] == 64)].sort_values("source_interactions")
    assert learnt["source_valid_ndcg@10"].round(3).tolist()[1:] == [0.027, 0.029, 0.034, 0.035]
    line = stats.linregress(np.log10(learnt["source_interactions"]), learnt["test_unseen_ndcg@10"])
    half = stats.t.ppf(0.975, len(learnt) - 2) * line.stderr
    assert [round(line.slope + part * half, 4) for part in (0, -1, 1)] == [-0.0054, -0.0124, 0.0016]


def test_what_the_book_says_of_wider_and_deeper_models() -> None:
    table = pd.read_csv(project_root() / "results" / "transfer" / "pretraining_sentences.csv", dtype={"commit": str})
    table = table.dropna(subset="n_layers").assign(thousands=(table["source_interactions"] / 1000).round())
    shape = ["encoder", "d_model", "n_layers"]
    found = table.pivot(index=["method", *shape], columns="thousands", values="test_unseen_ndcg@10")
    after = found.loc["zero_shot"].round(3)
    for layers, of_sentences, of_words in (
        (1, [0.028, 0.030, 0.028], [0.021, 0.024, 0.021]),
        (2, [0.027, 0.029, 0.024], [0.021, 0.023, 0.015]),
        (4, [0.024, 0.025, 0.021], [0.022, 0.017, 0.013]),
    ):
        assert after.loc[("sentence", 64, layers), [10, 30, 100]].tolist() == of_sentences
        assert after.loc[("words", 64, layers), [30, 100, 300]].tolist() == of_words
    wide = found.loc[("zero_shot", "sentence", 256)][100]
    assert (wide[[2, 4]] / wide[1] - 1).round(2).tolist() == [-0.04, -0.06]
    by_width = found.xs(1, level="n_layers").xs("words", level="encoder")
    assert by_width.loc["zero_shot"][30].round(3).tolist() == [0.012, 0.021, 0.027, 0.029]
    assert by_width.loc["untrained"][30].round(3).tolist()[1:] == [0.023, 0.027, 0.028]
    change = (by_width.loc["zero_shot"] - by_width.loc["untrained"]).loc[[128, 256], [30, 100]]
    assert change.to_numpy().min().round(3) == -0.001
    assert change.to_numpy().max().round(3) == 0.004
    assert by_width.loc[(slice(None), [128, 256]), [30, 100]].stack().between(0.0245, 0.031).all()
