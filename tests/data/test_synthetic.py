from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib.data.loading import load_dataset
from srtlib.data.synthetic import MAX_LENGTH, MIN_LENGTH, World, generate

SMALL = World(n_items=120, n_categories=4, n_brands=8, seed=3)


@pytest.fixture(scope="module")
def world() -> World:
    return World(n_items=1000, n_categories=8, n_brands=40, seed=1)


def test_probabilities_are_a_distribution_over_unseen_items(world: World) -> None:
    for history in ([], [5], [5, 9, 700], list(range(40))):
        p = world.next_item_probabilities(history)
        assert p.shape == (1000,)
        assert p.sum() == pytest.approx(1)
        assert (p >= 0).all()
        assert (p[history] == 0).all()


@pytest.mark.parametrize("history", [[], [7], [3, 99, 40], [11, 12, 13, 14, 15, 16]])
def test_drawn_items_follow_the_closed_form(history: list[int]) -> None:
    """The process proposes items and rejects seen ones; its frequencies must be the stated probabilities."""
    n, rng = 60_000, np.random.default_rng(0)
    proposed = SMALL._draw(np.tile(np.array(history, dtype=np.int64), (n, 1)).reshape(n, len(history)), rng)
    drawn = proposed[~np.isin(proposed, history)]
    p = SMALL.next_item_probabilities(history)
    expected = p * len(drawn)
    counts = np.bincount(drawn, minlength=120)
    often = expected > 5
    statistic = ((counts[often] - expected[often]) ** 2 / expected[often]).sum()
    freedom = often.sum() - 1
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)
    assert counts[p == 0].sum() == 0


def test_ceiling_by_brute_force() -> None:
    log = SMALL.sample(60, seed=5)
    index = {item: i for i, item in enumerate(SMALL.items["item_id"])}
    best = []
    for _, rows in log.groupby("user_id"):
        history = [index[i] for i in rows.sort_values("timestamp")["item_id"]][:-1]
        p = sorted(SMALL.next_item_probabilities(history), reverse=True)
        best.append(sum(p[r - 1] / np.log2(1 + r) for r in range(1, 6)))
    assert SMALL.ceiling(k=5, interactions=log) == pytest.approx(np.mean(best), rel=1e-9)


def ndcg(ranks: np.ndarray) -> np.ndarray:
    return np.where(ranks <= 5, 1 / np.log2(1 + ranks), 0)


def test_no_ranking_beats_the_ceiling_and_the_oracle_reaches_it(world: World) -> None:
    log = world.sample(3000, seed=9)
    histories, lengths = world._histories(log)
    rows = np.arange(len(lengths))
    targets = histories[rows, lengths - 1]
    p = world._probabilities(histories, lengths - 1)
    same_type = world.catalogue.type[None, :] == world.catalogue.type[histories[rows, lengths - 2]][:, None]
    scores = {
        "oracle": p,
        "last item's type": same_type + world.popularity,
        "popularity": np.tile(world.popularity, (len(rows), 1)),
    }
    found = {}
    for name, score in scores.items():
        ranks = 1 + (score > score[rows, targets][:, None]).sum(axis=1)
        found[name] = ndcg(ranks)
    ceiling = world.ceiling(k=5, interactions=log)
    noise = {name: 4 * values.std() / np.sqrt(len(values)) for name, values in found.items()}
    assert abs(found["oracle"].mean() - ceiling) < noise["oracle"]
    assert all(found[name].mean() < ceiling + noise[name] for name in found)
    assert found["oracle"].mean() > 1.5 * found["last item's type"].mean()
    assert found["last item's type"].mean() > found["popularity"].mean()


def test_the_interval_holds_the_ceiling_of_another_sample(world: World) -> None:
    low, high = world.ceiling_interval(n_users=4000, seed=0)
    assert low < world.ceiling(n_users=4000, seed=0) < high
    assert low - (high - low) < world.ceiling(n_users=4000, seed=1) < high + (high - low)


def test_a_seed_gives_the_same_world_and_users(world: World) -> None:
    again = World(n_items=1000, n_categories=8, n_brands=40, seed=1)
    pd.testing.assert_frame_equal(world.items, again.items)
    pd.testing.assert_frame_equal(world.sample(50, seed=2), again.sample(50, seed=2))
    assert not world.sample(50, seed=3).equals(world.sample(50, seed=2))
    assert not World(n_items=1000, n_categories=8, n_brands=40, seed=2).items.equals(world.items)


def test_domains_share_words_but_no_items(world: World) -> None:
    other = World(n_items=1000, n_categories=8, n_brands=40, seed=1, domain="b")
    assert not set(world.items["item_id"]) & set(other.items["item_id"])
    assert not set(world.items["title"]) & set(other.items["title"])
    words = [set(" ".join(w.items["title"]).split()) for w in (world, other)]
    assert len(words[0] & words[1]) > 0.3 * len(words[0])


def test_items_and_sequences_are_as_described(world: World) -> None:
    items = world.items
    assert items["item_id"].is_unique
    assert items["title"].is_unique
    log = world.sample(2000, seed=0)
    lengths = log.groupby("user_id").size()
    assert lengths.min() >= MIN_LENGTH
    assert lengths.max() <= MAX_LENGTH
    assert 7 < lengths.mean() < 11
    assert not log.duplicated(["user_id", "item_id"]).any()
    assert not log.duplicated(["user_id", "timestamp"]).any()
    popularity = np.sort(world.popularity)[::-1]
    assert popularity[:100].sum() > 0.25  # a tenth of the items draw more than a quarter


def test_titles_stay_unique_where_the_words_run_out() -> None:
    titles = World(n_items=20_000, n_categories=1, n_brands=1).items["title"]
    assert titles.is_unique
    assert titles.str.contains(" mk2$").any()
    with pytest.raises(ValueError, match=r"n_items=2000000.* need more than the 343000 words"):
        _ = World(n_items=2_000_000).items


def test_generated_folders_are_data_sets(tmp_path: Path) -> None:
    data = load_dataset(generate(tmp_path / "world", SMALL, n_users=30))
    assert (data.n_users, data.n_items) == (30, 120)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_items": 3}, "n_items must be at least 10, got 3"),
        ({"domain": "c"}, "domain must be 'a' or 'b', got 'c'"),
    ],
)
def test_bad_worlds_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        World(**arguments)


def test_bad_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="item indices from 0 to 119"):
        SMALL.next_item_probabilities([120])
    with pytest.raises(ValueError, match="k must be between 1 and"):
        SMALL.ceiling(k=0)
    with pytest.raises(ValueError, match="n_users must be at least 1"):
        SMALL.sample(0, seed=0)


def test_vectors_tell_what_titles_share_in_both_domains() -> None:
    """The more attributes two items have in common, of one domain or two, the closer they are; the same ones: equal."""
    worlds = [World(n_items=400, n_categories=4, n_brands=8, seed=3, domain=domain) for domain in "ab"]
    vectors = np.concatenate([world.vectors(256) for world in worlds])
    names = ("category", "type", "brand", "style", "material")
    attributes = np.concatenate([np.stack([getattr(w.catalogue, name) for name in names], axis=1) for w in worlds])
    alike = (attributes[:, None] == attributes[None]).sum(axis=2)
    cosine = vectors @ vectors.T
    across = np.s_[:400, 400:]
    for part in (np.s_[:400, :400], across):
        means = [cosine[part][alike[part] == n].mean() for n in range(5)]
        np.testing.assert_allclose(means, np.arange(5) / 5, atol=0.05)
        np.testing.assert_allclose(cosine[part][alike[part] == 5], 1, atol=1e-5)
    assert (alike[across] == 5).any()
    assert not np.allclose(worlds[0].vectors(), World(n_items=400, n_categories=4, n_brands=8, seed=4).vectors())
