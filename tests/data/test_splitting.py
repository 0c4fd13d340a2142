"""A split by time against pandas, and what it leaves alone."""

import numpy as np
import pandas as pd
import pytest

from srtlib.data.dataset import PARTS, Dataset, concatenate
from srtlib.data.loading import build_dataset, load_dataset
from srtlib.data.splitting import target_groups
from srtlib.params import ModelParams, Recipe, TrainParams
from srtlib.protocols import Cuts, parse_cuts
from srtlib.runs.store import run_id
from srtlib.training.identity import config_of

Tables = tuple[pd.DataFrame, pd.DataFrame]
DATES = parse_cuts(["2001-10-05", "2001-10-16"])
every_cut = pytest.mark.parametrize("cuts", [Cuts(0.5, 0.8, True), Cuts(0.03, 0.97, True), DATES], ids=str)


def by_hand(log: pd.DataFrame, cuts: Cuts) -> dict[str, pd.DataFrame]:
    """Part -> its rows, in order of time; no two interactions of a user have one time here."""
    times = sorted(log["timestamp"])
    first, second = (
        times[int(np.ceil(q * (len(times) - 1)))] if cuts.are_shares else q for q in (cuts.first, cuts.second)
    )
    log = log.sort_values(["user_id", "timestamp"])
    at = log["timestamp"]
    return {
        "train": log[at < first],
        "valid": log[(at >= first) & (at < second)],
        "test": log[at >= second],
    }


def expected_targets(log: pd.DataFrame, cuts: Cuts, part: str) -> dict[str, tuple[list[str], str]]:
    """User -> history and target: the first of the part, where something came before it."""
    found = {}
    for user, rows in by_hand(log, cuts)[part].groupby("user_id"):
        own = log[log["user_id"] == user].sort_values("timestamp")
        history = own["item_id"][own["timestamp"] < rows["timestamp"].iloc[0]].tolist()
        if history:
            found[str(user)] = history, rows["item_id"].iloc[0]
    return found


def histories_and_targets(data: Dataset, part: str) -> dict[str, tuple[list[str], str]]:
    ids = data.catalogue["item_id"].to_numpy()
    rows = zip(data.user_ids, data.offsets, data.history_ends(part), data.targets(part), strict=False)  # type: ignore[arg-type]
    return {user: (ids[data.items[start:end]].tolist(), ids[target]) for user, start, end, target in rows}


@every_cut
def test_parts_equal_those_that_pandas_makes(timed_tables: Tables, cuts: Cuts) -> None:
    log, items = timed_tables
    data = build_dataset(log, items, "timed", cuts=cuts)
    parts = by_hand(log, cuts)
    assert data.n_interactions == len(log)
    assert data.n_items == len(items)
    assert data.n_targets == (parts["train"].groupby("user_id").size() - 1).sum()
    counts = parts["train"]["item_id"].value_counts()
    assert data.train_counts.tolist() == counts.reindex(data.catalogue["item_id"], fill_value=0).tolist()
    for part in PARTS:
        expected = expected_targets(log, cuts, part)
        assert set(data.user_ids[data.has_target(part)]) == set(expected)
        assert set(data.user_ids[data.held_out(part)]) == set(parts[part]["user_id"])
        judged = data.with_target(part)
        assert histories_and_targets(judged, part) == expected
        assert judged.n_items == data.n_items


@every_cut
def test_what_training_has_not_seen_is_told_apart(timed_tables: Tables, cuts: Cuts) -> None:
    log, items = timed_tables
    data = build_dataset(log, items, "timed", cuts=cuts)
    train = by_hand(log, cuts)["train"]
    for part in PARTS:
        expected = expected_targets(log, cuts, part)
        new_users = [user not in set(train["user_id"]) for user in expected]
        new_items = [target not in set(train["item_id"]) for _, target in expected.values()]
        groups = target_groups(data, data, part)
        assert groups["cold_users"].tolist() == new_users
        assert groups["cold_items"].tolist() == new_items
        assert groups["warm"].tolist() == [not (a or b) for a, b in zip(new_users, new_items, strict=True)]


def test_a_sample_has_seen_less(timed: Dataset) -> None:
    sample = timed.sample_users(n_users=10)
    known = set(sample.user_ids[sample.train_ends > sample.offsets[:-1]])
    cold = target_groups(sample, timed, "test")["cold_users"]
    assert cold.tolist() == [user not in known for user in timed.with_target("test").user_ids]
    assert cold.sum() > target_groups(timed, timed, "test")["cold_users"].sum()


def test_parts_of_a_data_set_keep_their_cuts(timed_tables: Tables, timed: Dataset) -> None:
    log, _ = timed_tables
    gone = np.array([0, 3, 7, 20, 21, 22])
    taken = log["item_id"].isin(timed.catalogue["item_id"].iloc[gone])
    thinner = timed.without_items(gone)
    kept = log[~taken & log["user_id"].isin(thinner.user_ids)]
    moments = [
        times.max() for times in (by_hand(log, Cuts(0.5, 0.8, True))[p]["timestamp"] for p in ("train", "valid"))
    ]
    cuts = Cuts(moments[0] + 1, moments[1] + 1, False)
    for part in PARTS:
        assert histories_and_targets(thinner.with_target(part), part) == expected_targets(kept, cuts, part)
        whole = histories_and_targets(timed.with_target(part), part)
        for other in (timed.sample_users(n_users=30), timed.panel(20), timed.without_users(timed.panel(20))):
            found = histories_and_targets(other.with_target(part), part)
            assert found == {user: whole[user] for user in other.user_ids if user in whole}


def test_a_panel_is_of_those_who_are_judged(timed: Dataset) -> None:
    judged = set(timed.user_ids[timed.has_target("valid") | timed.has_target("test")])
    assert len(judged) < timed.n_users
    assert set(timed.panel(timed.n_users).user_ids) == judged
    assert set(timed.panel(10).user_ids) < set(timed.panel(20).user_ids) < judged


def test_a_folder_is_split_once_for_each_pair_of_cuts(timed_folder: str, timed: Dataset) -> None:
    for _ in range(2):  # the second time from the cache
        loaded = load_dataset(timed_folder, cuts=timed.cuts)
        assert loaded.fingerprint == timed.fingerprint
        assert loaded.cuts == timed.cuts
    whole, later = load_dataset(timed_folder), load_dataset(timed_folder, cuts=DATES)
    assert whole.cuts is None
    assert len({data.fingerprint for data in (whole, later, loaded)}) == 3
    assert whole.text_fingerprint == loaded.text_fingerprint


def test_leave_one_out_is_the_run_that_it_was(dataset: Dataset, timed: Dataset) -> None:
    """Hashes as they were before there were cuts."""
    recipe = Recipe(name="tiny", model=ModelParams(), train=TrainParams())
    assert (dataset.fingerprint, dataset.panel(10).fingerprint) == ("3f50ccfd673e59e6", "f8a7884e1c13b929")
    assert run_id(config_of(dataset, recipe)) == "710f6d873772"
    assert config_of(timed, recipe)["dataset"]["cuts"] == "0.5 0.8"


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_places_are_no_times(timed_tables: Tables, start: int, share: float) -> None:
    """Not even where they are those of some parts of a pool alone."""
    log, items = timed_tables
    users = log["user_id"].unique()[: int(60 * share)]
    places = log.groupby("user_id")["timestamp"].rank(method="first").astype(int) - 1 + start
    mixed = log.assign(timestamp=log["timestamp"].mask(log["user_id"].isin(users), places))
    with pytest.raises(ValueError, match=rf"^own: the times of {len(users)} of 60 users are places.*needs real times$"):
        build_dataset(mixed, items, "own", cuts=Cuts(0.8, 0.9, True))


@pytest.mark.parametrize(
    ("cuts", "empty"),
    [
        (["1990-01-01", "2001-10-16"], "train on"),
        (["2001-10-05", "2001-10-05T00:00:01"], "validate on"),
        (["2001-10-05", "2030-01-01"], "test on"),
        ([0.5, 0.5001], "validate on"),
        ([1e-9, 0.5], "train on"),
    ],
)
def test_nothing_may_be_left_empty(timed_tables: Tables, cuts: list[object], empty: str) -> None:
    with pytest.raises(ValueError, match=rf"^own: cuts .* leave nothing to {empty}; its times run from 1\d+ to 1\d+$"):
        build_dataset(*timed_tables, "own", cuts=parse_cuts(cuts))


def test_targets_are_asked_of_those_who_have_one(timed: Dataset) -> None:
    with pytest.raises(ValueError, match="not every user of timed has a test target"):
        timed.targets("test")
    some = timed.with_target("valid")
    alone = some.without_users(some.with_target("test"))
    with pytest.raises(ValueError, match="timed: no user has a test target with a history before it"):
        alone.with_target("test")


def test_sets_that_are_split_by_time_are_not_one(timed: Dataset, dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="timed is split by time; expected data sets that are not"):
        concatenate([dataset, timed])


def test_nineteen_digits_are_kept(timed_tables: Tables) -> None:
    """Nanoseconds, which no float64 tells apart."""
    log, items = timed_tables
    base = log["timestamp"].rank(method="first").astype("int64") + 1_300_000_000_000_000_000
    data = build_dataset(log.assign(timestamp=base), items, "fine", cuts=Cuts(0.5, 0.8, True))
    assert data.before is not None
    n = len(log) - 1
    assert data.before.sum(0).tolist() == [int(np.ceil(0.5 * n)), int(np.ceil(0.8 * n))]


@pytest.mark.parametrize("per_second", [1_000, 1_000_000, 1_000_000_000])
def test_dates_cut_times_in_whatever_unit_since_1970(timed_tables: Tables, per_second: int) -> None:
    log, items = timed_tables
    finer = log.assign(timestamp=log["timestamp"].astype("int64") * per_second)
    found, expected = (build_dataset(table, items, "timed", cuts=DATES).before for table in (finer, log))
    assert expected is not None
    assert found is not None
    assert found.tolist() == expected.tolist()


def test_a_cut_within_a_second_is_exact(timed_tables: Tables) -> None:
    """Among milliseconds one by one around it."""
    _, items = timed_tables
    moment = 1_658_002_729_837
    times = np.append(moment - 30, np.arange(moment - 19, moment + 20))
    log = pd.DataFrame({"user_id": "u", "item_id": items["item_id"].to_numpy(), "timestamp": times})
    for later in range(1, 20):
        cuts = Cuts((moment - 3) / 1000, (moment + later) / 1000, False)
        data = build_dataset(log, items, "fine", cuts=cuts)
        assert data.before is not None
        assert data.before.tolist() == [[17, 20 + later]]
