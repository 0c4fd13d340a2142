"""The study of sources: one learns from one catalogue at a time, by titles alone, and each training is done once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib.data.dataset import Dataset
from srtlib.data.loading import build_dataset
from srtlib.data.sentences import item_texts, sentence_vectors
from srtlib.params import Architecture
from srtlib.paths import project_root
from srtlib.studies import sources


@pytest.fixture
def two(
    dataset: Dataset, tables: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Dataset]:
    """The small data set is the target; the other has ten of its users, and titles of its own."""
    pytest.importorskip("sentence_transformers")
    log, items = tables
    number = log["user_id"].str[1:].astype(int)
    users = np.where(number < 10, "u", "x") + number.astype(str)
    other = build_dataset(
        log.assign(user_id=users, item_id="o" + log["item_id"]),
        items.assign(item_id="o" + items["item_id"], title="green " + items["title"]),
        "other",
    )
    loaded = {"small": dataset, "other": other}
    monkeypatch.setattr(sources, "load_dataset", loaded.__getitem__)
    monkeypatch.setattr(sources, "ARCHITECTURE", Architecture(d_model=8))
    monkeypatch.setattr(
        sources, "SETTINGS", {**sources.SETTINGS, "n_negatives": 16, "learning_rate": 0.01, "whiten_dim": 16}
    )
    return loaded


def test_a_row_per_source_and_seed_and_none_is_trained_twice(
    two: dict[str, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    first = sources.record(path, ["other"], "small", tmp_path / "runs", seeds=2)
    assert first[["source", "method", "seed"]].to_numpy().tolist() == [
        ["", "text_neighbours", 0], ["other", "untrained", 0], ["other", "zero_shot", 0], ["other", "zero_shot", 1],
    ]  # fmt: skip
    trained = first[first["method"] == "zero_shot"]
    assert trained["users_removed"].tolist() == [10, 10]
    assert trained["source_users"].tolist() == [50, 50]
    assert trained["test_unseen_ndcg@10"].nunique() == 2
    written = pd.read_csv(path, dtype={"commit": str}, keep_default_na=False, na_values=[""])
    pd.testing.assert_frame_equal(written.drop(columns="source"), first.drop(columns="source"), check_dtype=False)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("srtlib.training.trainer.Trainer.step", never)
    again = sources.record(path, ["other"], "small", tmp_path / "runs", seeds=2)
    pd.testing.assert_frame_equal(again, first)


def test_the_distance_is_that_of_the_mean_titles(two: dict[str, Dataset], tmp_path: Path) -> None:
    found = sources.record(tmp_path / "table.csv", ["other"], "small", tmp_path / "runs")["distance"].iloc[-1]
    means = [sentence_vectors(list(data.catalogue["title"])).sum(axis=0) for data in two.values()]
    a, b = (mean / np.sqrt((mean**2).sum()) for mean in means)
    assert found == pytest.approx(((a - b) ** 2).sum() / 2, abs=1e-5)


def test_untrained_on_the_same_catalogue_it_is_the_neighbours(
    two: dict[str, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = two["small"]
    monkeypatch.setitem(two, "twin", replace(small, name="twin", user_ids=np.char.add("t", small.user_ids.astype(str))))
    monkeypatch.setattr(sources, "ARCHITECTURE", Architecture(d_model=256))
    monkeypatch.setattr(sources, "SETTINGS", {"epochs": 1, "n_negatives": 16})
    table = sources.record(tmp_path / "table.csv", ["twin"], "small", tmp_path / "runs").set_index("method")
    assert table.loc["untrained", "distance"] == pytest.approx(0, abs=1e-6)
    for column in ("test_ndcg@10", "test_unseen_ndcg@10"):
        assert table.loc["untrained", column] == pytest.approx(table.loc["text_neighbours", column], abs=1e-9)


def test_items_are_read_by_their_titles_alone(dataset: Dataset) -> None:
    titles = sources.titles_of(dataset)
    assert (dataset.text_fields, titles.text_fields) == (("title", "brand"), ("title",))
    assert item_texts(titles.catalogue) == list(dataset.catalogue["title"])


def test_the_most_bought_items_alone_are_left(dataset: Dataset) -> None:
    left = sources.most_bought(dataset, 10)
    counts = np.zeros(dataset.n_items, dtype=int)
    for start, end in zip(dataset.offsets[:-1], dataset.offsets[1:], strict=True):
        np.add.at(counts, dataset.items[start : end - 2], 1)
    kept = set(left.items.tolist())
    assert len(kept) == 10
    assert min(counts[list(kept)]) >= max(counts[list(set(range(dataset.n_items)) - kept)])


def test_what_the_book_says_of_the_recorded_sources() -> None:
    table = pd.read_csv(project_root() / "results" / "transfer" / "sources.csv")
    assert table.loc[table["method"] == "text_neighbours", "test_unseen_ndcg@10"].round(4).tolist() == [0.0409]
    found = table.pivot(index="source", columns="method", values="test_unseen_ndcg@10")
    lost = 1 - found["zero_shot"] / found["untrained"]
    assert (lost.min().round(2), lost.max().round(2)) == (0.09, 0.16)
    assert (lost.idxmin(), lost.idxmax()) == ("amazon_books_2014_1m", "amazon_health_2014")
    by_distance = table.dropna(subset="distance").groupby("source")["distance"].first().sort_values().index
    assert (by_distance[0], by_distance[-1]) == ("amazon_health_2014", "amazon_video_games_2018")
    assert found.loc[by_distance[[0, -1]], "untrained"].round(4).tolist() == [0.0368, 0.0339]
    assert found.loc[[by_distance[0], by_distance[-1], "amazon_books_2014_1m"], "zero_shot"].round(4).tolist() == [
        0.0309, 0.0287, 0.0317,
    ]  # fmt: skip
