"""Filters against the whole ranking, read from the top with each rule applied by hand."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from srtlib.data.dataset import Dataset
from srtlib.model.folder import items_table
from srtlib.model.making import new_model
from srtlib.model.srt import SRT
from srtlib.params import ModelParams
from srtlib.serving import recommender as recommend
from srtlib.serving.recommender import Recommender

HISTORIES = {"ann": ["i3"], "bob": ["i5", "i9", "i5", "i30"], "cy": [f"i{n}" for n in range(25)], "new": []}
PATHS = ["Pens > Red", "Pens > Blue", "Ink", "", "Inks"]


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> SRT:
    return new_model(ModelParams(d_model=8, n_layers=1, max_len=10, vocab_size=200), dataset, seed=1)


@pytest.fixture(params=["exact", "FAISS"])
def recommender(request: pytest.FixtureRequest, model: SRT, dataset: Dataset, monkeypatch: Any) -> Recommender:
    """Titles are all different, so that no two scores are equal; FAISS looks into few of its lists."""
    if request.param == "FAISS":
        pytest.importorskip("faiss", reason="the extra srtlib[faiss] is not installed")
        monkeypatch.setattr(recommend, "APPROXIMATE_FROM", 40)
    items = items_table(dataset, dataset)
    items["title"] = [
        f"{title} {'red blue green pen ink paper'.split()[n % 6] * (n + 1)}" for n, title in enumerate(items["title"])
    ]
    items["categories"] = [PATHS[n % 5] for n in range(40)]
    items["count"] = items["count"].where(items.index % 7 > 0, 0)
    made = Recommender(model, items, approximate=request.param == "FAISS")
    if made.index is not None:
        made.index.index.nprobe = 30  # of 25 lists: all
    return made


def by_hand(whole: pd.DataFrame, items: pd.DataFrame, k: int, allowed: set[str], most: int | None) -> list[str]:
    """The first k of a ranking that obey the rules."""
    paths = dict(zip(items["item_id"], items["categories"], strict=True))
    taken: Counter[str] = Counter()
    offers = []
    for item in whole["item_id"]:
        path = paths[item]
        if item not in allowed or (most is not None and path and taken[path] >= most):
            continue
        taken[path] += 1
        offers.append(item)
    return offers[:k]


@pytest.mark.filterwarnings("ignore:no item is known of 1 users")
@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("most", [None, 1, 2])
@pytest.mark.parametrize("k", [1, 7, 40])
@pytest.mark.parametrize(
    ("rules", "allows"),
    [
        ({}, lambda n: True),
        ({"candidates": ["i1", "i7", "i30", "i12"]}, lambda n: n in (1, 7, 30, 12)),
        ({"candidates": np.arange(40) % 3 == 0}, lambda n: n % 3 == 0),
        ({"exclude": ["i2", "i3", "i4"]}, lambda n: n not in (2, 3, 4)),
        ({"categories": ["Pens"]}, lambda n: n % 5 < 2),
        ({"categories": ["Pens > Red", "Ink"], "exclude": ["i5"]}, lambda n: n % 5 in (0, 2) and n != 5),
    ],
)
def test_offers_are_the_first_of_the_ranking_that_obey(
    recommender: Recommender, rules: Any, allows: Any, k: int, most: int | None, exclude_seen: bool
) -> None:
    whole = recommender.recommend(HISTORIES, 40, exclude_seen)
    found = recommender.recommend(HISTORIES, k, exclude_seen, max_per_category=most, **rules)
    allowed = {f"i{n}" for n in range(40) if allows(n)}
    for user in HISTORIES:
        expected = by_hand(whole[whole["user"] == user], recommender.items, k, allowed, most)
        offers = found[found["user"] == user]
        assert offers["item_id"].tolist() == expected
        assert offers["rank"].tolist() == list(range(1, len(expected) + 1))
    scores = whole.set_index(["user", "item_id"])["score"]
    pairs = pd.MultiIndex.from_frame(found[["user", "item_id"]])
    np.testing.assert_allclose(found["score"], scores.reindex(pairs), rtol=1e-5, atol=1e-6)


def test_an_index_that_looks_into_one_list_finds_all_that_a_filter_leaves(
    model: SRT, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss", reason="the extra srtlib[faiss] is not installed")
    monkeypatch.setattr(recommend, "APPROXIMATE_FROM", 40)
    made = Recommender(model, items_table(dataset, dataset), approximate=True)
    assert made.index is not None
    made.index.index.nprobe = 1
    offers = made.recommend({"ann": ["i1"]}, k=20, exclude=["i2", "i3"])
    assert set(offers["item_id"]).isdisjoint({"i1", "i2", "i3"})
    assert len(offers) == 20


@pytest.mark.parametrize("recommender", ["exact"], indirect=True)
@pytest.mark.parametrize("form", [np.array, list, tuple, pd.Series, pd.array])
def test_candidates_may_be_truth_values_in_any_list(recommender: Recommender, form: Any) -> None:
    expected = recommender.recommend({"ann": ["i1"]}, 3, candidates=["i5", "i7", "i11"])
    offers = recommender.recommend({"ann": ["i1"]}, 3, candidates=form([n in (5, 7, 11) for n in range(40)]))
    pd.testing.assert_frame_equal(offers, expected)


@pytest.mark.parametrize("recommender", ["exact"], indirect=True)
@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"candidates": "i1"}, "candidates is 'i1'; expected a list of item ids"),
        ({"exclude": [None]}, "exclude has None among its items; expected a list of item ids"),
        ({"candidates": []}, "candidates, exclude and categories leave no item to offer"),
        ({"candidates": ["i1"], "exclude": ["i1"]}, "candidates, exclude and categories leave no item to offer"),
        (
            {"candidates": np.ones(39, bool)},
            r"candidates has shape \(39,\); expected \(40,\), one truth value per item",
        ),
        ({"candidates": [True] * 39}, r"candidates has shape \(39,\); expected \(40,\), one truth value per item"),
        ({"candidates": pd.array([True] * 39 + [None])}, "candidates lacks some truth values; expected one per item"),
        ({"exclude": [True] * 40}, "exclude has True among its items; expected a list of item ids"),
        ({"categories": ["Pen"]}, "no item is of category 'Pen'; expected a path such as"),
        ({"categories": "Pens"}, "categories is 'Pens'; expected a list of paths of categories"),
        ({"max_per_category": 0}, "max_per_category is 0; expected at least 1"),
        ({"max_per_category": 1.5}, "max_per_category is 1.5; expected a whole number"),
        ({"exclude": ["i1", "x"], "strict": True}, "exclude: 1 of 2 ids are outside the catalogue, 'x' first"),
    ],
)
def test_bad_rules_are_named(recommender: Recommender, rules: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        recommender.recommend({"ann": ["i1"]}, 3, **rules)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("recommender", ["exact"], indirect=True)
def test_unknown_ids_are_passed_over(recommender: Recommender) -> None:
    expected = recommender.recommend({"ann": ["i1"]}, 3, exclude=["i2"])
    message = r"exclude: 1 of 2 ids are outside the catalogue, 'x' first \(its ids are such as 'i0'\); they are passed"
    with pytest.warns(UserWarning, match=message):
        offers = recommender.recommend({"ann": ["i1"]}, 3, exclude=["i2", "x"])
    pd.testing.assert_frame_equal(offers, expected)
