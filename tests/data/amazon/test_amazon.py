"""The pipeline from raw files in their true format to data sets, against the same steps by hand."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from srtlib.data.amazon.sources import PUBLISHED, prepare
from srtlib.data.loading import load_dataset

SIZES = {"100": 100, "300": 300, "1K": 1_000}
SMALL = {"threads": 1, "memory": "500MB", "sizes": SIZES}
EVERYDAY = ("items", "transfer", "users", "samples")  # steps, less the net and the vocabulary


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("prepared")
        patch.setenv("SRT_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def raw(home: Path, write_raw: Any, world: dict[str, Any]) -> Path:
    return write_raw(home / "raw", **world)


@pytest.fixture(scope="module")
def counts(raw: Path) -> pd.Series:
    """set, statistic -> value of a whole preparation."""
    return prepare(raw, **SMALL).set_index(["set", "statistic"])["value"].map(float)


def by_hand(world: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """user -> ratings that may be sampled, by the paper's steps."""
    known = {item["asin"] for item in world["metadata"]}
    seen = {review["reviewerID"] for found in world["reviews"].values() for review in found}
    rated: dict[str, list[tuple[str, str]]] = {}
    for item, user, _, time in world["ratings"]:
        if item in known:
            rated.setdefault(user, []).append((item, time))
    return {user: rows for user, rows in rated.items() if len(rows) >= 5 and user not in seen}


def test_samples_are_the_papers_steps_by_hand(home: Path, world: dict[str, Any], counts: pd.Series) -> None:
    pool = by_hand(world)
    order = sorted(pool, key=lambda user: hashlib.md5(f"0:{user}".encode()).hexdigest())
    for part, size in SIZES.items():
        total, users = 0, []
        for user in order:
            if (total := total + len(pool[user])) > size:
                break
            users.append(user)
        table = pd.read_parquet(home / f"amazon-{part}" / "interactions.parquet")
        found = {
            user: Counter(zip(rows["item_id"], rows["timestamp"].astype(str), strict=True))
            for user, rows in table.groupby("user_id")
        }
        assert found == {user: Counter(pool[user]) for user in users}
        items = pd.read_parquet(home / f"amazon-{part}" / "items.parquet")
        assert items["item_id"].tolist() == sorted(set(table["item_id"]))


def test_funnel_adds_up_and_agrees_with_a_count_by_hand(world: dict[str, Any], counts: pd.Series) -> None:
    funnel, pool = counts["pipeline"], by_hand(world)
    assert funnel["ratings"] == len(world["ratings"])
    dropped = ["ratings_unusable", "ratings_without_metadata", "ratings_of_cold_users", "ratings_of_transfer_users"]
    assert funnel["ratings_kept"] == funnel["ratings"] - sum(funnel[name] for name in dropped)
    assert all(funnel[name] > 0 for name in dropped[1:])
    assert funnel["ratings_kept"] == sum(map(len, pool.values()))
    assert funnel["users_kept"] == len(pool)
    assert funnel["items"] == 280


def test_authors_counts_stand_beside_ours(raw: Path, counts: pd.Series) -> None:
    table = prepare(raw, **SMALL).set_index(["set", "statistic"])  # everything is finished
    assert table.loc[("pipeline", "ratings_kept"), "published"] == 170_702_331
    funnel = {name: count for (part, name), count in PUBLISHED.items() if part == "pipeline"}
    dropped = ["ratings_without_metadata", "ratings_of_cold_users", "ratings_of_transfer_users"]
    assert funnel["ratings_kept"] == funnel["ratings"] - sum(funnel[name] for name in dropped)
    assert set(funnel) <= set(counts["pipeline"].index)


def test_data_sets_load_and_sampling_is_that_of_the_library(home: Path, raw: Path, counts: pd.Series) -> None:
    everything = load_dataset(home / "amazon-1K")
    for part in ("100", "300"):
        ours, theirs = load_dataset(f"amazon-{part}"), everything.sample_users(n_interactions=SIZES[part])
        assert ours.fingerprint == theirs.fingerprint
        assert counts[f"amazon-{part}", "users"] == ours.n_users
        assert counts[f"amazon-{part}", "items"] == ours.n_items
        assert counts[f"amazon-{part}", "training_targets"] == ours.n_targets


def test_rows_are_sorted_by_time_and_ties_are_not_by_item(home: Path, counts: pd.Series) -> None:
    table = pd.read_parquet(home / "amazon-1K" / "interactions.parquet")
    assert table[["user_id", "timestamp"]].equals(table[["user_id", "timestamp"]].sort_values(["user_id", "timestamp"]))
    tied = table[table.duplicated(["user_id", "timestamp"], keep=False)]
    ascending = [rows["item_id"].is_monotonic_increasing for _, rows in tied.groupby(["user_id", "timestamp"])]
    assert 0.2 < sum(ascending) / len(ascending) < 0.75


def test_transfer_sets_lose_no_item_and_their_users_are_not_in_the_samples(
    home: Path, world: dict[str, Any], counts: pd.Series
) -> None:
    sampled = set(pd.read_parquet(home / "amazon-1K" / "interactions.parquet")["user_id"])
    for part, domain in (("beauty", "Beauty"), ("sports", "Sports_and_Outdoors")):
        rows = world["reviews"][domain]
        table = pd.read_parquet(home / f"amazon-{part}" / "interactions.parquet")
        assert len(table) == len(rows)
        assert not set(table["user_id"]) & sampled
        items = pd.read_parquet(home / f"amazon-{part}" / "items.parquet").set_index("item_id")
        assert set(items.index) == {row["asin"] for row in rows}
        titled = items[items["title"] != ""]
        assert (titled["title"] == "It's " + titled.index).all()
        assert set(titled["categories"]) == {"X > Y"}
        assert set(items.index[items["title"] == ""]) <= {f"B{i:09d}" for i in range(5)}


# Steps, interruption, trials


def states(folder: Path) -> dict[str, int]:
    return {
        str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.suffix in (".parquet", ".json")
    }


def test_finished_steps_are_skipped(home: Path, raw: Path, counts: pd.Series) -> None:
    before = states(home)
    prepare(raw, **SMALL)
    assert states(home) == before


def test_an_interrupted_step_leaves_nothing_and_restarts(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: pd.Series
) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("srtlib.data.amazon.steps.describe", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(raw, EVERYDAY, **SMALL)
    assert not list(tmp_path.glob("*amazon-*"))
    assert not [path.name for path in (tmp_path / "amazon").iterdir() if path.name.startswith(".") and path.is_dir()]
    (tmp_path / "amazon" / ".users.0a1b2c3d").mkdir()  # what a killed process would leave
    finished = (tmp_path / "amazon" / "items" / "items.parquet").stat().st_mtime_ns
    table = prepare(raw, EVERYDAY, **SMALL).set_index(["set", "statistic"])["value"].map(float)
    assert not (tmp_path / "amazon" / ".users.0a1b2c3d").exists()
    assert (tmp_path / "amazon" / "items" / "items.parquet").stat().st_mtime_ns == finished
    assert table.equals(counts[table.index])


@pytest.mark.filterwarnings("ignore:no reviews_Beauty_5")
def test_steps_run_in_part_and_say_what_they_need(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="run the step items first"):
        prepare(raw, ["users"], **SMALL)
    prepare(raw, ["items"], **SMALL)
    with pytest.raises(FileNotFoundError, match="run the step users first"):
        prepare(raw, ["samples"], **SMALL)
    with pytest.raises(ValueError, match="step 'item' is not known; expected some of download, items"):
        prepare(raw, ["item"], **SMALL)
    with pytest.raises(FileNotFoundError, match=r"has no all_csv_files.csv"):
        prepare(tmp_path, ["transfer", "users"], **SMALL)


def test_another_seed_does_not_overwrite(raw: Path, counts: pd.Series) -> None:
    with pytest.raises(ValueError, match="was made from other files or with another seed"):
        prepare(raw, EVERYDAY, seed=1, **SMALL)


@pytest.mark.filterwarnings("ignore:the ratings of users who may be sampled")
def test_a_trial_reads_the_first_ratings_and_keeps_apart(
    home: Path, raw: Path, world: dict[str, Any], counts: pd.Series
) -> None:
    table = prepare(raw, EVERYDAY, only_few=1_000, **SMALL).set_index(["set", "statistic"])["value"].map(float)
    pool = by_hand({**world, "ratings": world["ratings"][:1_000]})
    assert table["pipeline", "ratings"] == 1_000
    assert table["pipeline", "ratings_kept"] == sum(map(len, pool.values()))
    assert (home / "amazon-few1000-100" / "interactions.parquet").is_file()
    assert counts["pipeline", "ratings"] > 1_000


def test_samples_larger_than_the_pool_have_all_of_it(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: pd.Series
) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path))
    with pytest.warns(UserWarning, match="2K, 3K have all of them"):
        table = prepare(raw, EVERYDAY, **{**SMALL, "sizes": {"1": 1, "2K": 2_000, "3K": 3_000}})
    found = table.set_index(["set", "statistic"])["value"].map(float)
    assert (
        found["amazon-2K", "interactions"] == found["amazon-3K", "interactions"] == counts["pipeline", "ratings_kept"]
    )
    assert found["amazon-1", "users"] == 1
