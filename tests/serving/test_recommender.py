import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from srtlib.data.dataset import Dataset
from srtlib.data.loading import build_dataset
from srtlib.model.folder import items_table, read_items
from srtlib.model.making import new_model
from srtlib.model.packing import Layout
from srtlib.model.srt import SRT
from srtlib.params import ModelParams, Recipe
from srtlib.runs.store import read_summary
from srtlib.serving import recommender as recommend
from srtlib.serving.recommender import Recommender
from srtlib.training.trainer import train

Tables = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> SRT:
    return new_model(ModelParams(d_model=8, n_layers=2, n_heads=2, max_len=10, vocab_size=200), dataset, seed=1)


@pytest.fixture
def recommender(model: SRT, dataset: Dataset) -> Recommender:
    return Recommender(model, items_table(dataset, dataset))


def scores_of(model: SRT, vectors: Tensor, history: list[int]) -> Tensor:
    """Scores of the whole catalogue after one history, alone and without packing."""
    last = torch.tensor(history[-model.params.max_len :])
    with torch.no_grad():
        return model(vectors[last], Layout.buckets([(1, len(last))], torch.arange(len(last))))[-1] @ vectors.T


HISTORIES = {"ann": [3], "bob": [5, 9, 5, 30], "cy": list(range(25)), "dee": [7, 8]}


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_recommendations_are_the_best_scores(recommender: Recommender, dataset: Dataset, exclude_seen: bool) -> None:
    model = recommender.model
    vectors = model.encode_catalogue(model.features(dataset), dataset.n_items)
    histories = {user: [f"i{item}" for item in items] for user, items in HISTORIES.items()}
    offers = recommender.recommend(histories, k=20, exclude_seen=exclude_seen)
    assert list(offers.columns) == ["user", "rank", "item_id", "title", "score"]
    assert offers["user"].unique().tolist() == list(HISTORIES)
    for user, offer in offers.groupby("user"):
        scores = scores_of(model, vectors, HISTORIES[str(user)])
        if exclude_seen:
            scores[HISTORIES[str(user)]] = -torch.inf
        best = scores.topk(int(min(20, torch.isfinite(scores).sum())))
        assert offer["rank"].tolist() == list(range(1, len(best.values) + 1))
        np.testing.assert_allclose(offer["score"], best.values, rtol=1e-5, atol=1e-6)
        indices = [int(item[1:]) for item in offer["item_id"]]
        np.testing.assert_allclose(scores[indices], offer["score"], rtol=1e-5, atol=1e-6)
        assert offer["title"].tolist() == dataset.catalogue["title"][indices].tolist()
    assert len(offers) == (20 + 20 + 15 + 20 if exclude_seen else 80)


def test_a_table_of_interactions_says_the_same_as_lists(recommender: Recommender) -> None:
    log = pd.DataFrame({"user_id": list("abab"), "item_id": ["i1", "i2", "i3", "i4"], "timestamp": [2, 5, 1, 6]})
    expected = recommender.recommend({"a": ["i3", "i1"], "b": ["i2", "i4"]})
    pd.testing.assert_frame_equal(recommender.recommend(log), expected)
    in_order = recommender.recommend(log.iloc[[2, 0, 1, 3]].drop(columns="timestamp"))
    pd.testing.assert_frame_equal(in_order, expected)


def test_added_items_count_as_if_they_had_been_there(model: SRT, dataset: Dataset) -> None:
    items = items_table(dataset, dataset)
    whole, grown = Recommender(model, items), Recommender(model, items[:30])
    grown.add_items(items[30:])
    histories = {"ann": ["i35", "i2"], "bob": ["i0"]}
    a, b = (one.recommend(histories, k=15) for one in (whole, grown))
    pd.testing.assert_frame_equal(a, b)
    pd.testing.assert_frame_equal(whole.similar(["i39", "i1"], k=5), grown.similar(["i39", "i1"], k=5))
    with pytest.raises(ValueError, match="1 items are in the catalogue already, 'i7' first"):
        grown.add_items(pd.DataFrame({"item_id": ["new", "i7"], "title": ["Pen", "Ink"]}))
    assert len(grown.items) == len(grown.vectors) == 40


def test_similar_is_the_cosine_of_item_vectors(recommender: Recommender) -> None:
    found = recommender.similar(["i4", "i11"], k=3)
    vectors = recommender.vectors.double().numpy()
    unit = vectors / np.sqrt((vectors**2).sum(1, keepdims=True))
    for query, part in found.groupby("query", sort=False):
        cosine = unit @ unit[int(str(query)[1:])]
        cosine[int(str(query)[1:])] = -2
        np.testing.assert_allclose(part["score"], np.sort(cosine)[::-1][:3], atol=1e-5)
    assert found["query"].tolist() == ["i4"] * 3 + ["i11"] * 3
    with pytest.raises(ValueError, match="item 'zz' is not in the catalogue"):
        recommender.similar(["i4", "zz"])


# Bad input


def test_unknown_items_are_dropped_and_counted_or_refused(recommender: Recommender) -> None:
    message = r"2 of 4 interactions name items outside the catalogue, 'x' first \(its ids are such as 'i0'\); "
    with pytest.warns(UserWarning, match=message):
        offers = recommender.recommend({"ann": ["x", "i1", "y", "i2"]})
    assert offers.attrs == {"unknown_interactions": 2, "popularity_users": []}
    pd.testing.assert_frame_equal(offers, recommender.recommend({"ann": ["i1", "i2"]}))
    with pytest.raises(ValueError, match=message):
        recommender.recommend({"ann": ["x", "i1", "y", "i2"]}, strict=True)


def test_users_without_a_history_get_what_was_popular_in_training(recommender: Recommender, dataset: Dataset) -> None:
    log = pd.DataFrame({"user_id": ["new", "ann", "gone"], "item_id": [None, "i1", "x"]})
    with warnings.catch_warnings(record=True, action="always") as told:
        offers = recommender.recommend(log, k=4)
    assert [str(w.message) for w in told] == [
        "1 of 2 interactions name items outside the catalogue, 'x' first (its ids are such as 'i0'); they are dropped",
        "no item is known of 2 users, 'new' first; they get the most popular items",
    ]
    assert offers["user"].tolist() == ["new"] * 4 + ["ann"] * 4 + ["gone"] * 4
    assert offers.attrs["popularity_users"] == ["new", "gone"]
    expected = np.sort(dataset.train_counts)[::-1][:4]
    assert offers["score"][offers["user"] == "gone"].tolist() == expected.tolist()
    with pytest.warns(UserWarning, match="no item has a count, so they get none"):
        none = Recommender(recommender.model, dataset.catalogue).recommend({"new": []}, k=4)
    assert none.empty


@pytest.mark.parametrize(
    ("histories", "k", "message"),
    [
        ({"a": ["i1"]}, 41, "k is 41; expected 1 to 40, the number of items in the catalogue"),
        ({"a": ["i1"]}, 0, "k is 0; expected 1 to 40"),
        ({"a": ["i1"]}, 2.0, "k is 2.0; expected a whole number"),
        ({"a": ["i1"]}, "3", "k is '3'; expected a whole number"),
        ({"a": ["i1"]}, True, "k is True; expected a whole number"),
        ({"a": ["i1"]}, None, "k is None; expected a whole number"),
        ({"a": "i1"}, 5, "the history of 'a' is 'i1'; expected a list of item ids"),
        ({"b": ["i1"], "a": None}, 5, "the history of 'a' is None; expected a list of item ids"),
        ({"a": 7}, 5, "the history of 'a' is 7; expected a list of item ids"),
        ({"a": {"i1", "i2"}}, 5, "the history of 'a' is .*; expected a list of item ids"),
        ({"a": ["i1", None]}, 5, "the history of 'a' has None among its items"),
        ({"a": ["i1", float("nan")]}, 5, "the history of 'a' has nan among its items"),
        ({"a": [["i1"], ["i2"]]}, 5, r"the history of 'a' has \['i1'\] among its items"),
        ({"a": np.array([["i1", "i2"]])}, 5, "the history of 'a' is .*; expected a list of item ids"),
        (["i1", "i2"], 5, r"histories are \['i1', 'i2'\]; expected user -> list of item ids, or a table"),
        ("i1", 5, "histories are 'i1'; expected user -> list"),
        (None, 5, "histories are None; expected user -> list"),
        ({}, 5, "histories: no user is named"),
        (pd.DataFrame({"user": ["a"], "item_id": ["i1"]}), 5, "histories: no column user_id; found user, item_id"),
        (pd.DataFrame({"user_id": [None], "item_id": ["i1"]}), 5, "histories: row 1: user_id is missing"),
        (
            pd.DataFrame({"user_id": ["a"], "item_id": ["i1"], "timestamp": ["May"]}),
            5,
            "histories: row 1: timestamp 'May' is not a number",
        ),
    ],
)
def test_bad_requests_are_named(recommender: Recommender, histories: Any, k: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        recommender.recommend(histories, k)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("items", ["i1", None, 5, {"i1": 1}, [None], []])
def test_a_query_that_is_no_list_is_named(recommender: Recommender, items: Any) -> None:
    with pytest.raises(ValueError, match=r"^the query (is|has) .*; expected"):
        recommender.similar(items)


def test_lists_of_any_kind_are_histories_and_numpy_counts(recommender: Recommender) -> None:
    expected = recommender.recommend({"ann": ["i1", "i2"]}, k=3)
    for one in (("i1", "i2"), np.array(["i1", "i2"]), pd.Series(["i1", "i2"]), pd.Index(["i1", "i2"])):
        pd.testing.assert_frame_equal(recommender.recommend({"ann": one}, np.int64(3)), expected)
    pd.testing.assert_frame_equal(recommender.recommend(pd.Series({"ann": ["i1", "i2"]}), np.uint8(3)), expected)


@pytest.mark.parametrize("count", [-1, float("nan"), float("inf"), 1.5, "many", None, 1e30, 2**63])
def test_a_count_that_is_none_is_named(recommender: Recommender, count: Any) -> None:
    items = recommender.items.astype({"count": object})
    items.loc[7, "count"] = count
    with pytest.raises(
        ValueError, match=r"^items: the count of 'i7' is [-+.\w]*; expected a whole number, 0 to 9,007,199,254,740,992$"
    ):
        Recommender(recommender.model, items)


@pytest.mark.parametrize("items", [None, "i1", ["i1"], {"item_id": ["a"], "title": ["b"]}])
def test_items_that_are_no_table_are_named(recommender: Recommender, items: Any) -> None:
    with pytest.raises(ValueError, match="expected a table of item_id, title"):
        recommender.add_items(items)


def test_scores_that_are_not_finite_are_refused(model: SRT, dataset: Dataset) -> None:
    """Whether the items, the histories or only their product are beyond what a float holds."""
    items = items_table(dataset, dataset)
    for part, value in (("encoder.project.weight", torch.nan), ("final_norm.weight", torch.inf)):
        broken = copy.deepcopy(model)
        broken.get_parameter(part).data.fill_(value)
        with pytest.raises(ValueError, match=r"not finite.* diverged"):
            Recommender(broken, items).recommend({"ann": ["i1", "i2"]}, k=3)
    large = copy.deepcopy(model)
    large.get_parameter("final_norm.weight").data.fill_(1e37)
    large.get_parameter("encoder.project.weight").data.mul_(1e6)
    with pytest.raises(ValueError, match="the scores of user 'ann' are not finite"):
        Recommender(large, items).recommend({"ann": ["i1", "i2"]}, k=3)


# The folder


def test_a_finished_run_leaves_a_folder_that_recommends(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    model, summary = train(recipe, dataset, tmp_path)
    (folder,) = tmp_path.glob("*/model")
    names = ["README.md", "SHA256SUMS", "config.json", "items.parquet", "model.safetensors", "tokenizer.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    (catalogue,) = (tmp_path / "catalogues").iterdir()  # other runs of the store share it
    assert catalogue.samefile(folder / "items.parquet")
    loaded = Recommender.load(folder)
    assert loaded.items["count"].tolist() == dataset.train_counts.tolist()
    expected = Recommender(model, items_table(dataset, dataset)).recommend({"ann": ["i1", "i2"]})
    pd.testing.assert_frame_equal(loaded.recommend({"ann": ["i1", "i2"]}), expected)
    card = (folder / "README.md").read_text(encoding="utf-8")
    values = (summary[part]["ndcg@5"] for part in ("valid", "test", "test_unseen"))
    assert "| metric | valid, all items | test, all items | test, new items |" in card
    assert "| NDCG@5 | {:.4f} | {:.4f} | {:.4f} |".format(*values) in card
    facts = (dataset.fingerprint, f"{summary['flops']:.3e} FLOPs", summary["commit"], "licence of the data")
    assert [fact for fact in facts if fact not in card] == []
    assert read_summary(folder.parent) == summary


def test_counts_come_from_the_sample_and_items_from_the_panel(dataset: Dataset) -> None:
    sample = dataset.sample_users(n_users=5)
    table = items_table(dataset, sample)
    counts = dict(zip(sample.catalogue["item_id"], sample.train_counts, strict=True))
    assert table["count"].tolist() == [counts.get(item, 0) for item in dataset.catalogue["item_id"]]


def test_round_trip_with_added_items(recommender: Recommender, tmp_path: Path) -> None:
    recommender.add_items(pd.DataFrame({"item_id": ["new"], "title": ["Red pen"]}))
    recommender.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    expected = recommender.recommend({"ann": ["new", "i1"]}, k=20)
    pd.testing.assert_frame_equal(loaded.recommend({"ann": ["new", "i1"]}, k=20), expected)


def test_another_catalogue_keeps_the_counts_of_known_items(recommender: Recommender, tmp_path: Path) -> None:
    recommender.save(tmp_path)
    other = pd.DataFrame({"item_id": ["i3", "new"], "title": ["Blue pen", "Ink"]})
    loaded = Recommender.load(tmp_path, other)
    assert loaded.items["count"].tolist() == [recommender.items["count"][3], 0]
    with pytest.raises(ValueError, match="items: no column item_id; found id, title"):
        Recommender.load(tmp_path, other.rename(columns={"item_id": "id"}))


def test_fixed_vectors_travel_with_the_items(tables: Tables, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    data = build_dataset(*tables, name="small").with_vectors(vectors)
    model = new_model(ModelParams(d_model=8, n_layers=1, encoder="fixed_vectors", vector_dim=6), data)
    recommender = Recommender(model, items_table(data, data))
    recommender.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    assert torch.equal(loaded.vectors, model.encode_catalogue(torch.from_numpy(vectors), 40))
    for bad in ([np.nan] * 6, "six", None):
        with pytest.raises(ValueError, match="items: the vector of 'new' is no list of finite numbers"):
            loaded.add_items(pd.DataFrame({"item_id": ["new"], "title": ["Ink"], "vector": [bad]}))
    with pytest.raises(ValueError, match="items has no item vectors of width 6"):
        loaded.add_items(pd.DataFrame({"item_id": ["new"], "title": ["Ink"]}))


def test_approximate_search_recommends_nearly_the_same(
    model: SRT, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss", reason="the extra srtlib[faiss] is not installed")
    items = items_table(dataset, dataset)
    assert Recommender(model, items, approximate=True).index is None  # too few to gain from it
    monkeypatch.setattr(recommend, "APPROXIMATE_FROM", 40)
    approximate, exact = Recommender(model, items, approximate=True), Recommender(model, items)
    histories = {"ann": ["i1", "i2"], "bob": ["i3"]}

    def same(a: pd.DataFrame, b: pd.DataFrame) -> None:  # titles of the same words have the same score, in either order
        pd.testing.assert_frame_equal(*(t[["user", "rank", "score"]] for t in (a, b)), rtol=1e-5)

    assert approximate.recall(histories) == exact.recall(histories) == 1.0  # 40 items: every list is looked into
    same(approximate.recommend(histories), exact.recommend(histories))
    new = pd.DataFrame({"item_id": ["new"], "title": ["Red pen"]})
    approximate.add_items(new)
    exact.add_items(new)
    same(approximate.recommend(histories), exact.recommend(histories))


def test_a_folder_without_items_says_so(recommender: Recommender, tmp_path: Path) -> None:
    recommender.model.save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no items.parquet: its training did not finish"):
        Recommender.load(tmp_path)
    (tmp_path / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"items.parquet cannot be read"):
        read_items(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = Recommender.load(tmp_path, recommender.items)
        assert len(loaded.recommend({"ann": ["i1"]}, k=3)) == 3


@pytest.mark.parametrize("folder", [None, 3, b"model"])
def test_a_folder_that_is_no_path_is_named(folder: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^the model is .*; expected the path of its folder, or the name of a released one$"
    ):
        Recommender.load(folder)


@pytest.mark.parametrize("device", ["cuda:99", "abacus", "meta", 77])
def test_a_device_that_is_not_there_is_named(recommender: Recommender, tmp_path: Path, device: Any) -> None:
    recommender.save(tmp_path)
    with pytest.raises(ValueError, match=rf"^device {device!r} is not there: torch finds .*; expected cpu"):
        Recommender.load(tmp_path, device=device)


def test_a_column_that_is_there_twice_is_named(recommender: Recommender, tmp_path: Path) -> None:
    recommender.save(tmp_path)
    items = pd.DataFrame([["a", "b", "Ink"]], columns=["item_id", "item_id", "title"])
    twice = "column 'item_id' is there twice; expected one of each name"
    with pytest.raises(ValueError, match=f"^items: {twice}$"):
        recommender.add_items(items)
    with pytest.raises(ValueError, match=f"^items: {twice}$"):
        Recommender.load(tmp_path, items)
    with pytest.raises(ValueError, match=f"^histories: {twice}$"):
        recommender.recommend(items.rename(columns={"title": "user_id"}), 2)
