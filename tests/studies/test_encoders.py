"""The study of encoders: a row per training, each done once; and what the book says of the recorded one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from srtlib.data.dataset import Dataset
from srtlib.data.loading import build_dataset
from srtlib.data.synthetic import World
from srtlib.evaluation import evaluate
from srtlib.model.average import Average
from srtlib.params import Architecture, FineTuning, Transfer
from srtlib.paths import project_root
from srtlib.studies import encoders, fine_tuning, transfer
from srtlib.studies.baselines import UNTRAINED, sasrec
from srtlib.training.trainer import train

SETTINGS = {"epochs": 1, "eval_every": 1, "batch_size": 64, "n_negatives": 8}


@pytest.fixture
def quick(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers")
    monkeypatch.setattr(encoders, "load_dataset", {"small": dataset}.__getitem__)
    monkeypatch.setattr(encoders, "ARCHITECTURE", Architecture(d_model=8))


@pytest.mark.usefixtures("quick")
def test_a_row_per_training_and_none_is_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    pd.DataFrame({"target": ["another"], "seed": [3]}).to_csv(path, index=False)
    first = encoders.record(path, "small", tmp_path / "runs", {0.5: 2, 1.0: 1})
    untrained = first[first["share"] == 0]["method"].tolist()
    assert untrained == [*UNTRAINED, "untrained", "zero_shot"]
    counts = first[first["share"] > 0].groupby(["share", "encoder"]).size().to_dict()
    names = ["words", "sentence", "hybrid", "words_and_neighbours", "amazon-small"]
    assert counts == {(share, name): n for share, n in ((0.5, 2), (1.0, 1)) for name in names}
    written = pd.read_csv(path)
    assert written["target"].tolist() == ["another"] + ["small"] * len(first)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("srtlib.training.trainer.Trainer.step", never)
    again = encoders.record(path, "small", tmp_path / "runs", {0.5: 2, 1.0: 1})
    pd.testing.assert_frame_equal(again, first)
    assert fine_tuning.Method.FULL in again["method"].tolist()


@pytest.mark.usefixtures("quick")
def test_each_training_keeps_the_rate_that_is_best_on_validation(tmp_path: Path) -> None:
    """All rates are tried with the first seed, the best is used for the others, and read back from the table."""
    path, rates = tmp_path / "table.csv", (1e-4, 1e-3, 1e-2)
    found = encoders.record(path, "small", tmp_path / "runs", {0.5: 3}, ("words", "sentence"), rates=rates)
    kept = encoders.tuned(pd.read_csv(path))
    for name in ("words", "sentence", "amazon-small"):
        own = found[(found["encoder"] == name) & (found["share"] > 0)]
        first = own[own["seed"] == 0].set_index("learning_rate")["valid_ndcg@10"]
        assert sorted(first.index) == list(rates)
        assert set(own[own["seed"] > 0]["learning_rate"]) == {first.idxmax()}
        left = kept[(kept["encoder"] == name) & (kept["share"] > 0)]
        assert left[["seed", "learning_rate"]].values.tolist() == [[seed, first.idxmax()] for seed in range(3)]
    assert (kept["share"] == 0).sum() == (found["share"] == 0).sum()


@pytest.mark.usefixtures("quick")
def test_the_sum_with_item_ids_has_the_weights_that_are_best_on_validation(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "IDS", {"model": {"d_model": 8}, "train": SETTINGS})
    row = encoders.record_sum(tmp_path / "table.csv", "small", tmp_path / "runs").iloc[0]
    store = tmp_path / "runs"
    text, _ = train(encoders._recipe(dataset, 1.0, "words_and_neighbours", 0), dataset, store, panel=dataset)
    ids, _ = train(sasrec(dataset, **encoders.IDS), dataset, store, panel=dataset)
    assert text.neighbours is not None
    found = {}
    for alike in (0.0, 1.0, 2.0, 4.0, 8.0):
        text.neighbours.weight.fill_(alike)
        for weight in (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0):
            both = Average(text, ids, weight)
            found[alike, weight] = evaluate(both, dataset, "valid", exclude_seen=True)["ndcg@10"]
    best = row["neighbours_weight"], row["ids_weight"]
    assert found[best] == max(found.values())
    text.neighbours.weight.fill_(best[0])
    unseen = evaluate(Average(text, ids, best[1]), dataset, exclude_seen=True)
    assert row["test_unseen_ndcg@10"] == pytest.approx(unseen["ndcg@10"])
    assert row["encoder"] == "words_neighbours_and_ids"
    monkeypatch.setattr("srtlib.training.trainer.Trainer.step", None)
    again = encoders.record_sum(tmp_path / "table.csv", "small", tmp_path / "runs").iloc[0]
    pd.testing.assert_series_equal(again, row)


@pytest.mark.usefixtures("quick")
def test_cold_items_are_unknown_to_whatever_learns_and_yet_ranked(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt_from: list[Dataset] = []

    def spy(name: str, place: int) -> None:
        genuine = getattr(encoders, name)

        def called(*given: Any, **named: Any) -> object:
            learnt_from.append(given[place])
            return genuine(*given, **named)

        monkeypatch.setattr(encoders, name, called)

    spy("train", 1)
    spy("fine_tune", 1)
    path = tmp_path / "cold.csv"
    found = encoders.record_cold_items(path, "small", tmp_path / "runs", seeds=(0, 1), share=0.2)
    drawn = np.random.default_rng(0).permutation(dataset.n_items)[: round(0.2 * dataset.n_items)]
    cold = set(dataset.catalogue["item_id"].iloc[drawn])
    assert learnt_from.pop(0) is dataset  # zero-shot, which learns nothing
    assert len(learnt_from) == 10
    for data in learnt_from:
        assert not cold & set(data.catalogue["item_id"])
    is_cold = dataset.catalogue["item_id"].iloc[dataset.targets("test")].isin(cold).to_numpy()
    users = found.set_index(["method", "encoder", "seed", "items"])["users"].unstack("items")
    assert (len(users), set(users["cold"]), set(users["warm"])) == (13, {is_cold.sum()}, {(~is_cold).sum()})
    assert 0 < is_cold.sum() < dataset.n_users
    whole = encoders.record(tmp_path / "whole.csv", "small", tmp_path / "runs", {}).set_index("method")
    for method in ("text_neighbours", "zero_shot"):  # both parts together are everybody
        part = found[found["method"] == method]
        for metric in ("test_ndcg@10", "test_unseen_ndcg@10"):
            assert np.average(part[metric], weights=part["users"]) == pytest.approx(whole.loc[method, metric])
    level = found[found["method"] == "text_neighbours"].set_index("items")["test_unseen_ndcg@10"]
    more = found["test_unseen_ndcg@10"] - found["items"].map(level)
    np.testing.assert_allclose(found["difference"], more, atol=1e-12)
    assert (found["low"] <= found["difference"]).all()
    assert (found["difference"] <= found["high"]).all()
    monkeypatch.setattr("srtlib.training.trainer.Trainer.step", None)
    again = encoders.record_cold_items(path, "small", tmp_path / "runs", seeds=(0, 1), share=0.2)
    pd.testing.assert_frame_equal(again, found)
    assert len(pd.read_csv(path)) == len(found) == 26


def test_in_worlds_words_vectors_and_both_are_carried_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors are the world's own, item by item; a hybrid learns from them and from words."""
    worlds = {
        name: World(n_items=60, n_categories=3, n_brands=6, domain=domain)
        for name, domain in (("synthetic", "a"), ("synthetic_b", "b"))
    }
    loaded = {name: build_dataset(world.sample(80, seed=1), world.items, name) for name, world in worlds.items()}
    monkeypatch.setattr(encoders, "synthetic_world", worlds.__getitem__)
    monkeypatch.setattr(transfer, "load_dataset", loaded.__getitem__)
    learnt: list[Dataset] = []

    def spy(self: transfer.Trials, method: fine_tuning.Method, seed: int, share: float) -> object:
        learnt.extend([self.source, self.target])
        return genuine(self, method, seed, share=share)

    genuine = transfer.Trials.transfer
    monkeypatch.setattr(transfer.Trials, "transfer", spy)
    params = Transfer(
        models=[Architecture(d_model=8)], pretrain=SETTINGS, train=SETTINGS, options=FineTuning(own_vocabulary=True)
    )
    found = encoders.in_worlds(params, tmp_path, [0.5, 1.0])
    assert found.groupby(["encoder", "method"])["share"].apply(list).to_dict() == {
        (encoder, method): [0.5, 1.0]
        for encoder in ("words", "vectors", "hybrid")
        for method in ("from_scratch", "full")
    }
    assert found["test_ndcg@10"].gt(0).all()
    assert [data.vectors is None for data in learnt] == [True] * 8 + [False] * 16
    for data in learnt[8:]:
        own = dict(zip(worlds[data.name].items["item_id"], worlds[data.name].vectors(), strict=True))
        assert data.vectors is not None
        np.testing.assert_array_equal(data.vectors, [own[item] for item in data.catalogue["item_id"]])


def test_gains_are_over_the_best_from_scratch_on_validation_in_pairs_of_a_seed() -> None:
    """The best on validation is the base though it is not the best on test; the neighbours have one value."""
    columns = ["target", "share", "method", "encoder", "seed", "valid_ndcg@10", "test_unseen_ndcg@10"]
    values = {"words": (0.3, [0.2, 0.4]), "sentence": (0.1, [0.5, 0.5])}
    rows: list[tuple[object, ...]] = [("t", 0.0, "text_neighbours", None, 0, 0.2, 0.3)]
    for encoder, (valid, tests) in values.items():
        rows += [("t", 0.1, "from_scratch", encoder, seed, valid, test) for seed, test in enumerate(tests)]
    rows += [("t", 0.1, "full", "amazon-small", seed, 0.9, test) for seed, test in enumerate([0.3, 0.5])]
    found = encoders.gains(pd.DataFrame(rows, columns=columns)).set_index("encoder")
    assert found["best"].tolist() == ["words"] * 3
    assert found["pairs"].tolist() == [2] * 3
    ratios = {
        "sentence": (0.5 / 0.2, 0.5 / 0.4),
        "amazon-small": (0.3 / 0.2, 0.5 / 0.4),
        "text_neighbours": (1.5, 0.75),
    }
    for name, (first, second) in ratios.items():
        assert found.loc[name, "effect"] == pytest.approx((first * second) ** 0.5 - 1)
        half = 12.706 * abs(np.log(first / second)) / 2  # Student's t with one degree of freedom, two values
        assert np.log1p(found.loc[name, "high"]) - np.log1p(found.loc[name, "effect"]) == pytest.approx(half, rel=1e-3)


def test_what_the_book_says_of_the_recorded_study() -> None:
    table = encoders.tuned(pd.read_csv(project_root() / "results" / "transfer" / "sentences.csv"))
    table = table[table["target"] == "amazon_beauty_2014"]
    new = table.groupby(["share", "method", "encoder"], dropna=False)["test_unseen_ndcg@10"].mean().round(4)
    found = {(share, method, encoder): value for (share, method, encoder), value in new.items()}
    by_encoder = {(share, encoder): value for (share, _, encoder), value in found.items() if share}
    added = [by_encoder.pop((s, "words_and_neighbours")) for s in (0.01, 0.05, 0.2, 1.0)]
    assert added == [0.0466, 0.0498, 0.0558, 0.0677]
    assert [by_encoder.pop((s, "amazon-small")) for s in (0.01, 0.05, 0.2)] == [0.0462, 0.0426, 0.0444]
    assert by_encoder.pop((0.01, "amazon-words")) == 0.0461
    with_ids = table[table["encoder"] == "words_neighbours_and_ids"].iloc[0]
    assert by_encoder.pop((1.0, "words_neighbours_and_ids")) == 0.0700
    assert with_ids[["test_ndcg@10", "neighbours_weight", "ids_weight"]].tolist() == pytest.approx(
        [0.0458, 2, 0.125], abs=5e-5
    )
    shares = {0.01: (0.0349, 0.0427, 0.0413, 0.0385), 0.05: (0.0429, 0.0438, 0.0434, 0.0416)}
    shares[1.0] = (0.0645, 0.0590, 0.0652, 0.0539)
    names = ("words", "sentence", "hybrid", "amazon-small-1")
    assert [by_encoder.pop((0.2, name)) for name in names[:3]] == [0.0527, 0.0434, 0.0464]
    assert by_encoder == {(s, name): value for s, row in shares.items() for name, value in zip(names, row, strict=True)}
    assert table[table["share"].between(0.001, 0.9)].groupby(["share", "encoder"]).size().eq(3).all()


def test_what_the_book_says_of_targets_that_were_not_trained_on() -> None:
    table = pd.read_csv(project_root() / "results" / "transfer" / "sentences.csv")
    unseen = table[table["share"] == 0]
    unseen = unseen.assign(method=unseen["encoder"].where(unseen["method"] == "zero_shot", unseen["method"]))
    new, every = (
        unseen.pivot(index="target", columns="method", values=f"test{part}_ndcg@10") for part in ("_unseen", "")
    )
    names = ["text_neighbours", "history_neighbours", "untrained", "amazon-small-1", "amazon-small"]
    assert new[names].round(4).loc["amazon_beauty_2014"].tolist() == [0.0423, 0.0463, 0.0376, 0.0374, 0.0456]
    assert new[names].round(4).loc["amazon_sports_2014"].tolist() == [0.0200, 0.0215, 0.0198, 0.0196, 0.0213]
    assert new[names].round(4).loc["movielens_1m"].tolist() == [0.0195, 0.0300, 0.0249, 0.0251, 0.0356]
    back = (new["history_neighbours"] / new["text_neighbours"] - 1).round(2)
    assert back.to_dict() == {"amazon_beauty_2014": 0.09, "amazon_sports_2014": 0.08, "movielens_1m": 0.54}
    cost = (every["history_neighbours"] / every["text_neighbours"] - 1).round(2)
    assert cost[["amazon_beauty_2014", "amazon_sports_2014"]].tolist() == [-0.04, -0.05]
    learnt = (new["amazon-small"] / new["history_neighbours"] - 1).round(2)
    assert learnt.to_dict() == {"amazon_beauty_2014": -0.02, "amazon_sports_2014": -0.01, "movielens_1m": 0.19}
    assert round(new.loc["movielens_1m", "co_occurrence"], 4) == 0.0472
    assert round(new.loc["amazon_beauty_2014", "amazon-words"], 4) == 0.0453


def test_what_the_book_says_of_the_gains() -> None:
    table = encoders.tuned(pd.read_csv(project_root() / "results" / "transfer" / "sentences.csv"))
    found = encoders.gains(table).set_index(["target", "encoder", "share"]).sort_index()
    beauty, sports = (found.loc[(f"amazon_{name}_2014", "amazon-small-1")] for name in ("beauty", "sports"))
    assert beauty["effect"].round(2).to_dict() == {0.01: -0.07, 0.05: -0.05, 1.0: -0.16}
    assert beauty.loc[0.05, ["low", "high"]].astype(float).round(2).tolist() == [-0.08, -0.02]
    assert beauty.loc[0.01, ["low", "high"]].astype(float).round(2).tolist() == [-0.1, -0.03]
    assert sports["effect"].round(2).to_dict() == {0.01: -0.08, 0.05: -0.01, 1.0: -0.23}
    assert sports.loc[0.01, ["low", "high"]].astype(float).round(2).tolist() == [-0.11, -0.05]
    films = found.loc[("movielens_1m", "amazon-small-1")]
    assert films["effect"].round(2).to_dict() == {0.01: -0.11, 0.05: -0.2}
    assert films.loc[0.01, ["low", "high"]].astype(float).round(2).tolist() == [-0.18, -0.04]
    assert films.loc[0.05, ["low", "high"]].astype(float).round(2).tolist() == [-0.26, -0.14]
    assert sports.loc[0.05, ["low", "high"]].astype(float).round(2).tolist() == [-0.05, 0.03]
    of_films = found.loc["movielens_1m"]["effect"].round(2)
    assert (of_films["sentence", 0.05], of_films["history_neighbours", 0.05]) == (-0.18, -0.7)
    lead = found.xs("words_and_neighbours", level="encoder").astype({"low": float, "high": float}).round(2)
    assert lead.loc["amazon_beauty_2014", ["effect", "low", "high"]].to_numpy().tolist() == [
        [0.13, 0.09, 0.17], [0.14, 0.09, 0.19], [0.06, 0.04, 0.08], [0.05, 0.01, 0.09],
    ]  # fmt: skip
    with_all = table[(table["target"] == "amazon_beauty_2014") & (table["share"] == 1)].groupby("encoder")
    every = with_all["test_ndcg@10"].mean().round(4)
    assert every[["words", "words_and_neighbours", "words_neighbours_and_ids"]].tolist() == [0.0461, 0.0453, 0.0458]
    firsts = with_all.first()["test_unseen_ndcg@10"].round(4)  # also on the page on serving
    assert firsts[["words", "words_and_neighbours", "words_neighbours_and_ids"]].tolist() == [0.0644, 0.0663, 0.0700]
    mean = table.groupby(["target", "share", "encoder"])["test_unseen_ndcg@10"].mean().unstack()
    sums = found.loc[("amazon_beauty_2014", "words_neighbours_and_ids", 1.0)]
    assert (sums["best"], round(sums["effect"], 2)) == ("words", 0.09)
    assert mean.loc["amazon_sports_2014", 1.0][["words_and_neighbours", "words"]].round(4).tolist() == [0.0366, 0.0357]
    assert lead.loc["amazon_sports_2014", ["effect", "low", "high"]].to_numpy()[:2].tolist() == [
        [0.11, 0.09, 0.13], [0.15, 0.08, 0.24],
    ]  # fmt: skip
    ready = found.loc[("amazon_beauty_2014", "amazon-small")].astype({"low": float, "high": float}).round(2)
    assert ready[["effect", "low", "high"]].to_numpy().tolist() == [
        [0.12, 0.1, 0.14], [-0.03, -0.05, 0.0], [-0.16, -0.26, -0.05],
    ]  # fmt: skip
    others = found.xs("amazon-small", level="encoder").astype({"low": float, "high": float}).round(2)
    assert others.loc["amazon_sports_2014", ["effect", "low", "high"]].to_numpy().tolist() == [
        [0.09, 0.05, 0.13], [0.15, 0.10, 0.21],
    ]  # fmt: skip
    assert others.loc["movielens_1m", ["pairs", "effect", "low", "high"]].to_numpy().tolist() == [
        [3, -0.07, -0.11, -0.02], [3, -0.20, -0.25, -0.14],
    ]  # fmt: skip
    assert lead.loc["movielens_1m", ["effect", "low", "high"]].to_numpy().tolist() == [
        [0.07, -0.03, 0.18], [0.04, 0.01, 0.07],
    ]  # fmt: skip
    apart = (mean["amazon-small"] / mean["words_and_neighbours"] - 1).dropna().round(2)
    assert apart["amazon_beauty_2014"].to_dict() == {0.01: -0.01, 0.05: -0.14, 0.2: -0.2}
    assert apart["movielens_1m"].to_dict() == {0.01: -0.13, 0.05: -0.23}
    assert apart["amazon_sports_2014"].abs().max() <= 0.02
    assert found.loc[("amazon_sports_2014", "history_neighbours", 0.05), "effect"].round(2) == 0.13
    alone = found.loc[("amazon_beauty_2014", "history_neighbours"), "effect"].round(2)
    assert alone.tolist()[:3] == [0.12, 0.06, -0.12]
    same = encoders.gains(table[table["encoder"].isin(["sentence", "amazon-small-1"]) | (table["share"] == 0)])
    same = same[same["encoder"] == "amazon-small-1"]
    assert same["best"].eq("sentence").all()
    assert same["effect"].round(2).tolist() == [-0.1, -0.05, -0.09, -0.08, -0.04, -0.09, -0.1, -0.03]


def test_what_the_book_says_of_cold_items() -> None:
    """What learns loses on cold targets and gains on warm ones, and no interval holds zero."""
    table = pd.read_csv(project_root() / "results" / "transfer" / "cold_sentences.csv", dtype={"commit": str})
    assert table.groupby("items")["users"].unique().map(list).to_dict() == {"cold": [2367], "warm": [19996]}
    names = table["method"].where(table["method"] != "from_scratch", table["encoder"])
    ready = table["encoder"] == "amazon-small"
    new = table.assign(name=names.mask(ready, names + "_ready"))
    new = new.pivot(index="name", columns="items", values=["test_unseen_ndcg@10", "difference", "low", "high"])
    found = {name: tuple(row) for name, row in new["test_unseen_ndcg@10"].round(4).iterrows()}
    assert found == {
        "text_neighbours": (0.0470, 0.0418), "zero_shot": (0.0434, 0.0367), "words": (0.0360, 0.0625),
        "sentence": (0.0293, 0.0567), "hybrid": (0.0298, 0.0611), "full": (0.0316, 0.0525),
        "history_neighbours": (0.0534, 0.0455), "zero_shot_ready": (0.0525, 0.0448), "full_ready": (0.0373, 0.0572),
        "words_and_neighbours": (0.0380, 0.0642),
    }  # fmt: skip
    back = new.loc["history_neighbours"].round(3)
    assert (back["low", "cold"], back["high", "cold"]) == (0.003, 0.010)
    for name in ("words_and_neighbours", "full_ready"):
        assert new.loc[name, ("high", "cold")] < 0 < new.loc[name, ("low", "warm")]
        lost = new.loc[name, ("difference", "cold")] / found["text_neighbours"][0]
        assert -0.22 < lost < -0.18
    learnt = new.loc[["words", "sentence", "hybrid", "full"]]
    assert (learnt["high", "cold"] < 0).all()
    assert (learnt["low", "warm"] > 0).all()
    assert learnt["difference", "cold"].round(3).tolist() == [-0.011, -0.018, -0.017, -0.015]
    assert learnt["difference", "warm"].round(3).tolist() == [0.021, 0.015, 0.019, 0.011]
    lost = learnt["difference", "cold"] / found["text_neighbours"][0]
    assert lost.between(-0.38, -0.23).all()
