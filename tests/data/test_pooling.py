"""A pool is its parts one after the other, with nobody merged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib.data.dataset import part_of_id
from srtlib.data.loading import load_dataset
from srtlib.data.pooling import pool_datasets, pool_statistics
from srtlib.protocols import parse_cuts

PARTS = ["toys", "books"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two data sets that share the ids of users and items, and one title."""
    monkeypatch.setenv("SRT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    for part, title in zip(PARTS, ("Red Pen", "red pen "), strict=True):
        (tmp_path / "data" / part).mkdir(parents=True)
        log = pd.DataFrame({"user_id": list("uuuuvvv"), "item_id": list("abcdabc"), "timestamp": range(7)})
        items = pd.DataFrame({"item_id": list("abcd"), "title": [title, *(f"{part} {i}" for i in "bcd")]})
        log.to_parquet(tmp_path / "data" / part / "interactions.parquet")
        (items if part == "toys" else items.assign(brand="Acme")).to_parquet(tmp_path / "data" / part / "items.parquet")
    return tmp_path / "data"


def test_every_sequence_of_every_part_is_there_under_its_own_name(data: Path) -> None:
    pool = load_dataset(pool_datasets("pool", PARTS))
    assert (pool.n_users, pool.n_items, pool.n_interactions) == (4, 8, 14)
    for part in PARTS:
        own = load_dataset(part)
        for user, start, end in zip(own.user_ids, own.offsets[:-1], own.offsets[1:], strict=True):
            (place,) = np.flatnonzero(pool.user_ids == f"{part}/{user}")
            items = pool.items[pool.offsets[place] : pool.offsets[place + 1]]
            theirs = [f"{part}/{item}" for item in own.catalogue["item_id"].iloc[own.items[start:end]]]
            assert pool.catalogue["item_id"].iloc[items].tolist() == theirs
    assert pool.catalogue["brand"].tolist() == [""] * 4 + ["Acme"] * 4
    assert (pool.parts, load_dataset("toys").parts) == (("toys", "books"), ())
    assert sorted(pool.user_parts) == ["books"] * 2 + ["toys"] * 2
    assert part_of_id(pool.catalogue["item_id"]).tolist() == ["toys"] * 4 + ["books"] * 4


def test_statistics_count_the_titles_that_parts_share(data: Path) -> None:
    pool_datasets("pool", PARTS)
    table = pool_statistics("pool")
    assert table["part"].tolist() == ["toys", "books", "all"]
    assert table.set_index("part").loc["all"].to_dict() == {
        "users": 4, "items": 8, "interactions": 14, "shared_titles": 2,
    }  # fmt: skip


def test_a_pool_is_made_once_and_never_over_another(data: Path) -> None:
    folder = pool_datasets("pool", PARTS)
    before = (folder / "items.parquet").stat().st_mtime_ns
    assert pool_datasets("pool", PARTS) == folder
    assert (folder / "items.parquet").stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match="of other content"):
        pool_datasets("pool", PARTS[::-1])
    for parts in (["toys"], ["toys", "toys"]):
        with pytest.raises(ValueError, match="two or more different data sets"):
            pool_datasets("other", parts)
    with pytest.raises(FileNotFoundError, match="absent"):
        pool_datasets("other", ["toys", "absent"])


@pytest.mark.parametrize("text", [b"", b"[]", b"[" * 100_000, b'{"toys": 3}', None])
@pytest.mark.parametrize("name", ["pooled.json", "items.parquet", "interactions.parquet", "imported.json"])
def test_damage_of_a_pool_is_named(data: Path, name: str, text: bytes | None) -> None:
    path = pool_datasets("pool", PARTS) / name
    content = path.read_bytes()
    path.write_bytes(bytes([*content[:-9], content[-9] ^ 1, *content[-8:]]) if text is None else text)
    with pytest.raises(ValueError, match=rf"{name} is (not what|damaged)") as refused:
        load_dataset("pool")
    assert "\n" not in str(refused.value)


def test_seconds_and_milliseconds_are_cut_at_the_same_date(data: Path) -> None:
    days = 86_400 * np.array([0, 10, 20, 30, 1, 11, 21])
    for part, unit in zip(PARTS, (1, 1000), strict=True):
        path = data / part / "interactions.parquet"
        pd.read_parquet(path).assign(timestamp=(1_400_000_000 + days) * unit).to_parquet(path)
    pool = load_dataset(pool_datasets("mixed", PARTS), cuts=parse_cuts(["2014-05-20", "2014-05-30"]))
    assert pool.before is not None
    before = dict(zip(pool.user_ids.tolist(), pool.before.tolist(), strict=True))
    for user in "uv":
        assert before[f"toys/{user}"] == before[f"books/{user}"]
    assert before["toys/u"] == [1, 2]  # from 13 May on, every ten days
