from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib.data.dataset import Dataset, concatenate
from srtlib.data.loading import build_dataset, load_dataset

Tables = tuple[pd.DataFrame, pd.DataFrame]


def write(folder: Path, tables: Tables, suffix: str = "parquet") -> Path:
    folder.mkdir(exist_ok=True)
    for table, stem in zip(tables, ("interactions", "items"), strict=True):
        path = folder / f"{stem}.{suffix}"
        table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
    return folder


def sequences(data: Dataset) -> dict[str, list[str]]:
    ids = data.catalogue["item_id"].to_numpy()
    return {
        u: ids[data.items[a:b]].tolist()
        for u, a, b in zip(data.user_ids, data.offsets[:-1], data.offsets[1:], strict=True)
    }


def test_sequences_are_sorted_by_time(tables: Tables, dataset: Dataset) -> None:
    expected = {user: rows.sort_values("timestamp")["item_id"].tolist() for user, rows in tables[0].groupby("user_id")}
    assert sequences(dataset) == expected


def test_counts_and_split(tables: Tables, dataset: Dataset) -> None:
    log = tables[0]
    assert (dataset.n_users, dataset.n_items, dataset.n_interactions) == (60, 40, len(log))
    assert dataset.n_targets == len(log) - 180
    last_two = {u: s[-2:] for u, s in sequences(dataset).items()}
    ids = dataset.catalogue["item_id"].to_numpy()
    assert ids[dataset.targets("valid")].tolist() == [last_two[u][0] for u in dataset.user_ids]
    assert ids[dataset.targets("test")].tolist() == [last_two[u][1] for u in dataset.user_ids]
    train = [item for s in sequences(dataset).values() for item in s[:-2]]
    assert dataset.train_counts.tolist() == [train.count(i) for i in ids]
    with pytest.raises(ValueError, match="expected valid or test"):
        dataset.targets("dev")


def test_samples_are_nested_and_reproducible(dataset: Dataset) -> None:
    small, large = dataset.sample_users(n_interactions=200), dataset.sample_users(n_interactions=500)
    assert set(small.user_ids) < set(large.user_ids) < set(dataset.user_ids)
    assert 100 < small.n_interactions <= 200
    assert sequences(small).items() <= sequences(dataset).items()
    assert small.n_items == len({i for s in sequences(small).values() for i in s})
    assert dataset.sample_users(n_interactions=200).fingerprint == small.fingerprint
    assert dataset.sample_users(n_interactions=200, seed=1).fingerprint != small.fingerprint
    assert dataset.sample_users(n_interactions=10**9) is dataset
    assert dataset.sample_users(n_users=7).n_users == 7


def test_sampling_ignores_the_order_of_rows(tables: Tables, dataset: Dataset) -> None:
    shuffled = build_dataset(tables[0].sample(frac=1, random_state=1), tables[1], "shuffled")
    assert shuffled.fingerprint == dataset.fingerprint


def test_panel_keeps_the_catalogue(dataset: Dataset) -> None:
    panel = dataset.panel(10)
    assert panel.n_users == 10
    assert panel.n_items == dataset.n_items


def test_without_users(dataset: Dataset) -> None:
    part = dataset.sample_users(n_users=20)
    rest = dataset.without_users(part)
    assert rest.n_users == 40
    assert not set(rest.user_ids) & set(part.user_ids)


def test_without_items_keeps_the_catalogue_and_the_order(dataset: Dataset) -> None:
    gone = np.array([0, 3, 7, 20, 21, 22, 23, 24, 25, 26, 27])
    rest = dataset.without_items(gone)
    ids = set(dataset.catalogue["item_id"].iloc[gone])
    thinned = {user: [i for i in items if i not in ids] for user, items in sequences(dataset).items()}
    assert sequences(rest) == {user: items for user, items in thinned.items() if len(items) >= 3}
    assert rest.n_items == dataset.n_items
    assert rest.train_counts[gone].sum() == 0


def test_concatenation_unites_catalogues_and_keeps_sequences(dataset: Dataset) -> None:
    log = pd.DataFrame(
        {"user_id": ["u0", "u0", "u0", "new"] * 3, "item_id": ["i0", "i1", "z"] * 4, "timestamp": range(12)}
    )
    same_as_i0 = dataset.catalogue.set_index("item_id").loc["i0", "title"]
    items = pd.DataFrame({"item_id": ["i0", "i1", "z"], "title": [same_as_i0, "quite another", "zebra"]})
    second = build_dataset(log, items, "second")
    both = concatenate([dataset, second])
    assert both.n_users == dataset.n_users + second.n_users
    assert both.n_interactions == dataset.n_interactions + second.n_interactions
    assert both.n_items == dataset.n_items + 2  # i0 is one item; i1 stands for two
    ids = both.catalogue["item_id"].to_numpy()
    titles = both.catalogue["title"].to_numpy()
    assert {"small/i1", "second/i1", "z"} <= set(ids)
    assert "i1" not in ids
    for part, offset in ((dataset, 0), (second, dataset.n_users)):
        for u in range(part.n_users):
            own = part.catalogue["title"].to_numpy()[part.items[part.offsets[u] : part.offsets[u + 1]]]
            assert titles[both.items[both.offsets[offset + u] : both.offsets[offset + u + 1]]].tolist() == own.tolist()
    assert concatenate([dataset]).fingerprint == dataset.fingerprint
    assert both.without_users(second).n_users == dataset.n_users - int("u0" in dataset.user_ids)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_folder_is_enough(tmp_path: Path, tables: Tables, dataset: Dataset, suffix: str) -> None:
    loaded = load_dataset(write(tmp_path / "own", tables, suffix))
    again = load_dataset(tmp_path / "own")  # from the cache
    assert loaded.fingerprint == again.fingerprint == dataset.fingerprint
    assert loaded.name == "own"


def test_known_by_name_in_srt_data(tmp_path: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mine", tables)
    monkeypatch.setenv("SRT_DATA", str(tmp_path))
    assert load_dataset("mine").n_users == 60
    with pytest.raises(FileNotFoundError, match=r"'yours' is not there.*synthetic.*mine.*interactions.parquet"):
        load_dataset("yours")


def test_ties_are_not_broken_by_item_id() -> None:
    log = pd.DataFrame({"user_id": "u", "item_id": [f"{i:02d}" for i in range(20)], "timestamp": 0})
    items = pd.DataFrame({"item_id": log["item_id"], "title": "x"})
    orders = [build_dataset(log, items, "ties", seed=s).items.tolist() for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def changed(tables: Tables, which: int, **columns: object) -> Tables:
    parts = [table.copy() for table in tables]
    parts[which] = parts[which].assign(**columns)
    return parts[0], parts[1]


def test_bad_tables_are_refused(tables: Tables) -> None:
    log, items = tables
    cases = [
        ((log.drop(columns="timestamp"), items), "interactions: no column timestamp"),
        ((log, items.drop(columns="title")), "items: no column title"),
        ((log.head(0), items), "interactions: the table is empty"),
        ((log, items.head(0)), "items: the table is empty"),
        (
            changed(tables, 0, user_id=log["user_id"].mask(log.index == 3)),
            r"interactions: row 4: user_id is missing \(1 of",
        ),
        (
            changed(tables, 1, item_id=items["item_id"].mask(items.index == 3)),
            r"items: row 4: item_id is missing \(1 of",
        ),
        ((log, pd.concat([items, items.head(1)])), "repeat an item_id, 'i0'"),
        (changed(tables, 0, timestamp="yesterday"), "row 1: timestamp 'yesterday' is not a number or a date"),
        ((log, items.head(10)), "expected at most half"),
        ((log.groupby("user_id").head(2), items), "no user has 3 interactions"),
    ]
    for bad, message in cases:
        with pytest.raises(ValueError, match=message):
            build_dataset(*bad, name="bad")


def test_numbers_in_text_columns_are_numbers(tables: Tables, dataset: Dataset) -> None:
    log, items = changed(tables, 0, timestamp=tables[0]["timestamp"].astype(str))
    assert build_dataset(log, items, "text").fingerprint == dataset.fingerprint


@pytest.mark.parametrize("nothing", ["", " ", None])
def test_items_without_text_are_counted_from_a_tenth_on(tables: Tables, nothing: str | None) -> None:
    """A model that reads text knows nothing of them; a few do no harm (and here no warning, which would fail)."""
    log, items = tables[0], tables[1][["item_id", "title"]]
    tenth = len(items) // 10
    few, more = (items.assign(title=[nothing] * n + items["title"].tolist()[n:]) for n in (tenth, tenth + 1))
    build_dataset(log, few, name="few")
    build_dataset(log, more.assign(brand="Acme"), name="branded")
    with pytest.warns(UserWarning, match=f"more: {tenth + 1} of {len(items)} items have no title, brand, categories: "):
        build_dataset(log, more, name="more")


def test_unknown_items_are_dropped_and_short_users_skipped(tables: Tables) -> None:
    log, items = tables
    extra = pd.DataFrame({"user_id": ["new"] * 2 + ["u0"], "item_id": ["i1", "i2", "?"], "timestamp": [1, 2, 99]})
    with pytest.warns(UserWarning, match="dropped 1 interactions whose item has no row in items, '\\?' first"):
        data = build_dataset(pd.concat([log, extra]), items, "extra")
    assert data.dropped == {"interactions_without_item": 1, "users_too_short": 1}
    assert data.n_interactions == len(log)


def test_a_file_that_is_no_table(tmp_path: Path, tables: Tables) -> None:
    folder = write(tmp_path / "broken", tables)
    (folder / "items.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match=r"items.parquet cannot be read as Parquet"):
        load_dataset(folder)
    (folder / "items.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"no items.parquet or items.csv"):
        load_dataset(folder)


def test_vectors_follow_their_items(dataset: Dataset) -> None:
    given = dataset.with_vectors(np.arange(40, dtype=float)[:, None])
    part = given.sample_users(n_users=2)
    assert part.vectors is not None
    assert [f"i{int(v)}" for v in part.vectors[:, 0]] == part.catalogue["item_id"].tolist()
    with pytest.raises(ValueError, match=r"expected \(40, F\)"):
        dataset.with_vectors(np.zeros((39, 2)))
