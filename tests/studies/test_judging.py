"""Judgements against loops over users, and the bootstrap against theory."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.data.splitting import target_groups
from srtlib.evaluation import Judgement, evaluate, judge
from srtlib.model.making import new_model
from srtlib.model.packing import Layout
from srtlib.model.srt import SRT
from srtlib.params import ModelParams
from srtlib.studies import judging


@pytest.fixture(scope="module")
def models(dataset: Dataset) -> dict[str, SRT]:
    params = ModelParams(d_model=8, n_layers=1, max_len=10, vocab_size=200)
    return {f"seed {seed}": new_model(params, dataset, seed=seed).eval() for seed in range(2)}


def offers_by_hand(model: SRT, dataset: Dataset, split: Any, k: int, new: bool) -> list[list[int]]:
    vectors = model.encode_catalogue(model.features(dataset), dataset.n_items)
    offers = []
    for start, end in zip(dataset.offsets, dataset.history_ends(split), strict=False):
        history = torch.from_numpy(np.array(dataset.items[start:end])).long()
        last = history[-model.params.max_len :]
        with torch.no_grad():
            output = model(vectors[last], Layout.buckets([(1, len(last))], torch.arange(len(last))))[-1]
        scores = vectors @ output
        if new:
            scores[history] = -torch.inf
        offers.append([i for i in scores.argsort(descending=True)[:k].tolist() if scores[i] > -torch.inf])
    return offers


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_model_is_assessed_in_both_rankings(models: dict[str, SRT], dataset: Dataset, split: Any) -> None:
    model, ks = models["seed 0"], (3, 38)
    table = judging.assess(model, dataset, split, ks=ks).set_index("ranking")
    assert table["users"].tolist() == [60, 60]
    for ranking, new in (("all items", False), ("new items", True)):
        row = table.loc[ranking]
        for name, value in evaluate(model, dataset, split, ks=ks, exclude_seen=new).items():
            assert row[name] == value
        for k in ks:
            offers = [item for offer in offers_by_hand(model, dataset, split, k, new) for item in offer]
            assert row[f"popularity@{k}"] == pytest.approx(dataset.train_counts[offers].mean(), rel=0.02)
            assert row[f"coverage@{k}"] == pytest.approx(len(set(offers)) / 40, abs=0.03)  # equal titles tie


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_split_by_time_has_a_row_for_each_group_of_targets(timed: Dataset, split: Any) -> None:
    params = ModelParams(d_model=8, n_layers=1, max_len=10, vocab_size=200)
    models = {f"seed {seed}": new_model(params, timed, seed=seed).eval() for seed in range(2)}
    table = judging.assess(models["seed 0"], timed, split, ks=(5,)).set_index(["ranking", "targets"])
    groups = target_groups(timed, timed, split)
    judged = timed.with_target(split)
    for ranking, new in (("all items", False), ("new items", True)):
        ranks = judge(models["seed 0"], timed, split, exclude_seen=new).ranks
        masks = {"all": np.full(judged.n_users, True), **{name: mask for name, mask in groups.items() if mask.any()}}
        assert table.loc[ranking].index.tolist() == list(masks)
        for name, mask in masks.items():
            row = table.loc[(ranking, name)]
            assert row["users"] == mask.sum()
            assert row["hr@5"] == pytest.approx((ranks[mask] <= 5).mean())
        offers = offers_by_hand(models["seed 0"], judged, split, 5, new)
        items = [item for offer in offers for item in offer]
        assert table.loc[(ranking, "all"), "popularity@5"] == pytest.approx(timed.train_counts[items].mean(), rel=0.02)
    compared = judging.compare(models, timed, split, ks=(5,), n_resamples=50)
    assert compared["seed 0"].iloc[0] == pytest.approx(table.loc[("all items", "all"), "ndcg@5"])
    by = judging.by_group(models, timed, split)
    assert by.groupby(["model", "ranking", "by"])["users"].sum().unique().tolist() == [judged.n_users]


def test_differences_are_of_the_same_users(models: dict[str, SRT], dataset: Dataset) -> None:
    table = judging.compare(models, dataset, ks=(5,), n_resamples=200).set_index(["ranking", "metric"])
    for ranking, new in (("all items", False), ("new items", True)):
        values = [evaluate(model, dataset, ks=(5,), exclude_seen=new) for model in models.values()]
        for name in values[0]:
            row = table.loc[(ranking, name)]
            assert [row["seed 0"], row["seed 1"]] == pytest.approx([value[name] for value in values])
            assert row["difference"] == pytest.approx(values[1][name] - values[0][name])
            assert row["low"] <= row["difference"] <= row["high"]
    with pytest.raises(ValueError, match="1 models are named; expected two"):
        judging.compare({"one": models["seed 0"]}, dataset)
    with pytest.raises(ValueError, match="n_resamples is 1; expected a whole number, at least 2"):
        judging.compare(models, dataset, n_resamples=1)
    with pytest.raises(ValueError, match="level is 1; expected"):
        judging.compare(models, dataset, level=1)
    with pytest.raises(ValueError, match=r"ks are \[0\]; expected whole numbers, 1 at least"):
        judging.assess(models["seed 0"], dataset, ks=[0])


def test_the_interval_is_that_of_paired_differences(
    models: dict[str, SRT], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users differ much and the models little: the standard error is that of the differences, not of the means."""
    rng = np.random.default_rng(0)
    base = rng.integers(1, 11, 5000).astype(float)
    worse = np.where(rng.random(5000) < 0.1, base + 1, base)
    found = iter([Judgement(ranks, ranks) for ranks in (base, worse, base, worse)])
    monkeypatch.setattr(judging, "judge", lambda *_: next(found))
    row = judging.compare(models, dataset, ks=(10,), n_resamples=4000).set_index("metric").loc["loss"].iloc[0]
    error = (worse - base).std() / np.sqrt(5000)
    assert [row["low"], row["high"]] == pytest.approx(
        [row["difference"] - 1.96 * error, row["difference"] + 1.96 * error], rel=0.03
    )
    assert row["p"] == 0


def test_equal_models_do_not_differ(models: dict[str, SRT], dataset: Dataset) -> None:
    same = {"one": models["seed 0"], "two": models["seed 0"]}
    assert judging.compare(same, dataset, n_resamples=20)[
        ["difference", "low", "high", "p"]
    ].drop_duplicates().to_numpy().tolist() == [[0, 0, 0, 1]]


def test_groups_are_made_of_users(models: dict[str, SRT], dataset: Dataset) -> None:
    table = judging.by_group(models, dataset, k=5, edges=(0, 3, 9, 20))
    ranks = judge(models["seed 1"], dataset, "test", exclude_seen=True).ranks
    lengths = np.diff(dataset.offsets) - 1
    counts = np.zeros(40)
    for start, end in zip(dataset.offsets, dataset.offsets[1:], strict=False):
        for item in dataset.items[start : end - 2]:
            counts[item] += 1
    sizes = {"history": lengths, "popularity": counts[dataset.items[dataset.offsets[1:] - 1]]}
    for by, size in sizes.items():
        part = table[(table["model"] == "seed 1") & (table["ranking"] == "new items") & (table["by"] == by)]
        assert part["users"].sum() == 60
        for row in part.itertuples():
            inside = ranks[(size >= row.least) & ~(size > row.most)]
            assert row.users == len(inside)
            assert row.ndcg == pytest.approx(np.mean([1 / np.log2(1 + r) if r <= 5 else 0 for r in inside]))
            assert row.low <= row.ndcg <= row.high
    assert isinstance(table, pd.DataFrame)


def test_differences_of_groups_are_of_the_same_users(models: dict[str, SRT], dataset: Dataset) -> None:
    """The first is the mean of two seeds; the interval is that of the users' differences."""
    one, other = models.values()
    table = judging.difference_by_group([one, other], [other], dataset, k=5, edges=(0, 3, 9, 20))
    apart = judging.by_group(models, dataset, k=5, edges=(0, 3, 9, 20))
    of_model = {name: rows.reset_index(drop=True) for name, rows in apart.groupby("model")}
    assert table[["ranking", "by", "least", "users"]].equals(of_model["seed 0"][["ranking", "by", "least", "users"]])
    both = (of_model["seed 0"]["ndcg"] + of_model["seed 1"]["ndcg"]) / 2
    assert table["first"].to_numpy() == pytest.approx(both.to_numpy())
    assert table["second"].to_numpy() == pytest.approx(of_model["seed 1"]["ndcg"].to_numpy())
    assert table["difference"].to_numpy() == pytest.approx((table["second"] - table["first"]).to_numpy())
    values = [
        np.array([1 / np.log2(1 + rank) if rank <= 5 else 0.0 for rank in judge(model, dataset, "test").ranks])
        for model in (one, other)
    ]
    longest = np.diff(dataset.offsets) - 1 >= 20
    of_users = ((values[1] - values[0]) / 2)[longest]
    row = table[(table["ranking"] == "all items") & (table["by"] == "history") & (table["least"] == 20)].iloc[0]
    half = 1.96 * of_users.std() / np.sqrt(longest.sum())
    assert [row["low"], row["high"]] == pytest.approx([of_users.mean() - half, of_users.mean() + half], rel=1e-3)
