"""Amazon Reviews 2023: small files in the true form become the 5-core that a count by hand finds."""

import gzip
import json
import threading
from collections.abc import Iterable, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from srtlib.cli.entry import main
from srtlib.data.amazon.categories import CATEGORIES, HOSTS, prepare
from srtlib.data.loading import load_dataset
from srtlib.data.movielens import core

C = "All_Beauty"
HEAD = "user_id,parent_asin,rating,timestamp"
SMALL = {"threads": 1, "memory": "500MB"}
NOON = 1_588_000_000_000  # milliseconds

Row = tuple[str, str, float, int]  # user, item, rating, time


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Ratings whose 5-core takes several rounds to reach, with repeats and ties in time."""
    rng = np.random.default_rng(0)
    users, items = (200 * rng.random(1_300) ** 1.5).astype(int), (60 * rng.random(1_300) ** 1.5).astype(int)
    times = NOON + rng.integers(0, 40, 1_300)
    return [
        (f"AE{u}", f"B{i:03d}", float(rng.integers(1, 6)), int(t)) for u, i, t in zip(users, items, times, strict=True)
    ]


def review(user: str, item: str, rating: float, time: int, named: str = "timestamp") -> dict[str, Any]:
    """A review as it is published."""
    texts = {"title": "Nice", "text": 'So "good", <br />really', "images": []}
    helpful = {"helpful_vote": 0, "verified_purchase": True}
    return {"rating": rating, **texts, "asin": f"X{item}", "parent_asin": item, "user_id": user, named: time, **helpful}


def product(item: str, **changed: Any) -> dict[str, Any]:
    """Metadata as it is published."""
    return {
        "main_category": "All Beauty", "title": f"Cream &amp; {item}", "average_rating": 4.8, "rating_number": 10,
        "features": [], "description": [], "price": None, "images": [{"thumb": "https://a/b.jpg", "hi_res": None}],
        "videos": [], "store": "Howard &amp; Co", "categories": [], "details": {"UPC": "6", "Package": {"a": 1}},
        "parent_asin": item, "bought_together": None, "subtitle": None, "author": None, **changed,
    }  # fmt: skip


def write(path: Path, lines: Iterable[str | Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def csv(rows: Iterable[Row]) -> list[str]:
    return [",".join(map(str, row)) for row in rows]


def write_raw(raw: Path, rows: list[Row], **files: Iterable[str | Mapping[str, Any]]) -> Path:
    """The reviews and the metadata of a category; others of them are given by the name of their folder."""
    items = sorted({item for _, item, _, _ in rows})
    write(raw / f"raw/review_categories/{C}.jsonl.gz", files.get("reviews", [review(*row) for row in rows]))
    write(raw / f"raw/meta_categories/meta_{C}.jsonl.gz", files.get("metadata", map(product, items)))
    return raw


def by_hand(rows: list[Row]) -> pd.DataFrame:
    """The 5-core of each user's earliest rating of each item, by pandas."""
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    first = table.sort_values(["timestamp", "rating"]).drop_duplicates(["user_id", "item_id"])
    return core(first, 5)


def as_set(table: pd.DataFrame) -> set[Any]:
    return set(table[["user_id", "item_id", "rating", "timestamp"]].itertuples(index=False, name=None))


def tables(home: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    log, items = (pd.read_parquet(home / f"amazon-2023-{C}" / f"{stem}.parquet") for stem in ("interactions", "items"))
    return log, items.set_index("item_id")


def test_reviews_become_the_5_core_of_the_first_of_each(home: Path, tmp_path: Path, rows: list[Row]) -> None:
    counts = prepare([C], write_raw(tmp_path, rows), **SMALL)
    log, items = tables(home)
    expected = by_hand(rows)
    assert as_set(log) == as_set(expected)
    assert len(log) == len(expected) > 300
    assert log["timestamp"].min() >= NOON
    assert log[["user_id", "timestamp"]].equals(log[["user_id", "timestamp"]].sort_values(["user_id", "timestamp"]))
    assert items.index.tolist() == sorted(set(log["item_id"]))
    assert set(counts["set"]) == {f"amazon-2023-{C}"}
    found = counts.set_index("statistic")["value"]
    distinct = len({row[:2] for row in rows})
    assert found["ratings"] == len(rows)
    assert found["ratings_repeated"] == len(rows) - distinct > 0
    assert found["ratings_outside_core"] == distinct - len(log) > 0
    assert found["ratings_kept"] == found["interactions"] == len(log)


@pytest.mark.parametrize("place", [f"benchmark/5core/rating_only/{C}.csv.gz", f"{C}.csv.gz", f"{C}.csv"])
@pytest.mark.parametrize("head", [[HEAD], []])
def test_the_published_5_core_stays_as_it_is(
    home: Path, tmp_path: Path, rows: list[Row], place: str, head: list[str]
) -> None:
    expected = by_hand(rows)
    published = list(expected[["user_id", "item_id", "rating", "timestamp"]].itertuples(index=False, name=None))
    write_raw(tmp_path, rows, reviews=["not read"])
    write(tmp_path / place, [*head, *csv(published)])
    found = prepare([C], tmp_path, **SMALL).set_index("statistic")["value"]
    assert as_set(tables(home)[0]) == as_set(expected)
    assert (found["ratings"], found["ratings_repeated"], found["ratings_outside_core"]) == (len(expected), 0, 0)


def test_both_ways_give_the_same_data_set(tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints = set()
    for way in ("reviews", "core"):
        monkeypatch.setenv("SRT_HOME", str(tmp_path / way / "home"))
        raw = write_raw(tmp_path / way, rows)
        if way == "core":
            write(raw / f"{C}.csv.gz", [HEAD, *csv(by_hand(rows).itertuples(index=False, name=None))])
        prepare([C], raw, **SMALL)
        fingerprints.add(load_dataset(f"amazon-2023-{C}").fingerprint)
    assert len(fingerprints) == 1


def test_targets_are_those_of_the_published_split(tmp_path: Path) -> None:
    """`last_out`: of each user the last is the test, the last but one the validation."""
    rng = np.random.default_rng(1)
    rows = [
        (f"AE{u}", f"B{i:03d}", 5.0, NOON + 1_000 * u + t)
        for u in range(30)
        for t, i in enumerate(rng.permutation(12)[:8])
    ]
    kept = by_hand(rows).sort_values(["user_id", "timestamp"]).groupby("user_id")["item_id"]
    prepare([C], write_raw(tmp_path, rows), **SMALL)
    data = load_dataset(f"amazon-2023-{C}")
    names = data.catalogue["item_id"].to_numpy()
    for split, place in (("test", -1), ("valid", -2)):
        expected = kept.nth(place)
        assert names[data.targets(split)].tolist() == expected.tolist()


@pytest.mark.parametrize("named", ["sort_timestamp", "sortTimestamp"])
def test_the_time_had_other_names(home: Path, tmp_path: Path, rows: list[Row], named: str) -> None:
    reviews = [review(*row, named=named if n % 2 else "timestamp") for n, row in enumerate(rows)]
    prepare([C], write_raw(tmp_path, rows, reviews=reviews), **SMALL)
    assert as_set(tables(home)[0]) == as_set(by_hand(rows))


def test_metadata_as_it_is_found(home: Path, tmp_path: Path) -> None:
    rows = [(f"AE{u}", f"B{i}", 5.0, NOON + i) for u in range(5) for i in range(9)]
    changes: dict[str, dict[str, Any]] = {
        "B1": {"title": None, "store": None},
        "B2": {"categories": ["Beauty &amp; Care", "c" * 40, "Hair", "Masks", "more"]},
        "B3": {"categories": None, "store": "", "title": "  A\n  b "},
        "B4": {"author": {"name": "Ann"}, "store": "Ann (Author)", "details": {}, "price": "— 7"},
        "B5": {"title": "日本語 🎁"},
    }
    lines = [product(f"B{i}", **changes.get(f"B{i}", {})) for i in range(8)]  # nothing is known of B8
    lines = [product("B0", title="an earlier row"), *lines, product("Z", title="nobody's")]
    prepare([C], write_raw(tmp_path, rows, metadata=lines), **SMALL)
    _, items = tables(home)
    assert items.index.tolist() == [f"B{i}" for i in range(9)]
    assert items.loc["B0"].tolist() == ["Cream & B0", "Howard & Co", ""]
    assert items.loc["B1"].tolist() == ["", "", ""]
    assert items.loc["B2", "categories"] == "Beauty & Care > Hair > Masks"
    assert items.loc["B3"].tolist() == ["A b", "", ""]
    assert items.loc["B4", "brand"] == "Ann (Author)"
    assert items.loc["B5", "title"] == "日本語 🎁"
    assert items.loc["B8"].tolist() == ["", "", ""]


GOOD = review("AE1", "B001", 5.0, NOON)


@pytest.mark.parametrize(
    "bad",
    [
        "<html>",
        '{"rating": 5.0',
        "[]",
        {**GOOD, "parent_asin": None},
        {**GOOD, "parent_asin": ""},
        {**GOOD, "user_id": None},
        {**GOOD, "user_id": ""},
        {**GOOD, "rating": None},
        {**GOOD, "rating": "good"},
        {**GOOD, "timestamp": None},
        {key: value for key, value in GOOD.items() if key != "timestamp"},
    ],
)
def test_reviews_that_cannot_be_used_are_shown_and_left_out_or_refused(
    home: Path, tmp_path: Path, rows: list[Row], bad: Any
) -> None:
    reviews = [review(*row) for row in rows]
    with pytest.warns(UserWarning, match=r"1 of 1,301 lines are not JSON objects of a review: .*; left out"):
        prepare([C], write_raw(tmp_path, rows, reviews=[*reviews, bad]), **SMALL)
    assert as_set(tables(home)[0]) == as_set(by_hand(rows))
    (home / f"amazon-2023-{C}").rename(tmp_path / "moved away")
    write_raw(tmp_path / "many", rows, reviews=[*reviews, *[bad] * 9])
    with pytest.raises(ValueError, match=r"All_Beauty.jsonl.gz: 9 of 1,309 lines are not .*; expected at most 0.1%"):
        prepare([C], tmp_path / "many", **SMALL)
    assert not (home / f"amazon-2023-{C}").exists()


SHORT = ["AE1,B001,5.0", "AE1,B001,5.0,1,B2 B3", ",B001,5.0,1", "AE1,,5.0,1", "AE1,B001,5.0,"]
TIMELESS = [f"AE1,B001,5.0,{time}" for time in ("nan", "inf", "1e300", "soon")]


@pytest.mark.parametrize("bad", SHORT + TIMELESS)
def test_rows_that_are_none_are_shown(tmp_path: Path, rows: list[Row], bad: str) -> None:
    write_raw(tmp_path, rows)
    write(tmp_path / f"{C}.csv.gz", [HEAD, *csv(rows), bad])
    with pytest.warns(UserWarning, match=rf"1 of 1,301 lines are not rows of {HEAD}: '{bad}'; left out"):
        prepare([C], tmp_path, **SMALL)


def test_what_is_made_is_not_made_again_and_not_overwritten(home: Path, tmp_path: Path, rows: list[Row]) -> None:
    raw = write_raw(tmp_path, rows)
    before = prepare([C, C], raw, **SMALL)
    written = (home / f"amazon-2023-{C}" / "interactions.parquet").stat().st_mtime_ns
    pd.testing.assert_frame_equal(prepare([C], raw, **SMALL), before)
    assert (home / f"amazon-2023-{C}" / "interactions.parquet").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="was made from other files or with another seed"):
        prepare([C], raw, seed=1, **SMALL)
    assert [path.name for path in (home / "amazon-2023").iterdir()] == [".lock"]


def refuse(raw: Path, message: str, capsys: pytest.CaptureFixture[str], *more: str) -> None:
    assert main(["data", "prepare", "amazon-2023", "--raw", str(raw), "--threads", "1", *more]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_is_wrong_is_one_line_and_leaves_nothing(
    home: Path, tmp_path: Path, rows: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    one = ("--category", C)
    refuse(tmp_path, "source amazon-2023 needs category: --category", capsys)
    refuse(tmp_path, "category '../x' is not known; expected some of All_Beauty, ", capsys, "--category", "../x")
    refuse(tmp_path, f"has no benchmark/5core/rating_only/{C}.csv.gz or raw/review_categories/", capsys, *one)
    raw = write_raw(tmp_path / "raw", rows)
    meta = raw / f"raw/meta_categories/meta_{C}.jsonl.gz"
    packed = meta.read_bytes()
    meta.write_bytes(packed[:-9])
    refuse(raw, "is damaged or cut short", capsys, *one)
    write(meta, [product("another")])
    refuse(raw, f"no item of {C}.jsonl.gz has a title there", capsys, *one)
    meta.unlink()
    refuse(raw, f"has no raw/meta_categories/meta_{C}.jsonl.gz; expected the public files there", capsys, *one)
    refuse(write_raw(tmp_path / "few", rows[:40]), "none of 40 ratings is left; expected users and items", capsys, *one)
    assert not list(home.glob(f"*{C}*"))


def test_the_command_line_makes_several(
    home: Path, tmp_path: Path, rows: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_raw(tmp_path, rows)
    for path in list(raw.rglob(f"*{C}*")):
        path.with_name(path.name.replace(C, "Gift_Cards")).write_bytes(path.read_bytes())
    command = ["data", "prepare", "amazon-2023", "--raw", str(raw), "--threads", "1", "--json"]
    assert main([*command, "--category", C, "--category", "Gift_Cards"]) == 0
    sets = {row["set"] for row in json.loads(capsys.readouterr().out)}
    assert sets == {"amazon-2023-All_Beauty", "amazon-2023-Gift_Cards"}
    assert load_dataset("amazon-2023-Gift_Cards").n_users == load_dataset("amazon-2023-All_Beauty").n_users


def test_what_is_not_there_is_downloaded_from_the_mirror_where_the_first_fails(
    home: Path, tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(host.startswith("https://") for host in HOSTS)
    raw = write_raw(tmp_path / "mirror" / "amazon_2023", rows)
    write(raw / f"benchmark/5core/rating_only/{C}.csv.gz", [HEAD, *csv(rows)])
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "mirror"))) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("srtlib.data.amazon.categories.HOSTS", (f"{base}/absent", f"{base}/amazon_2023"))
        prepare([C], **SMALL)
        n_asked = len(asked)
        prepare([C], **SMALL)
        assert len(asked) == n_asked
        with pytest.raises(OSError, match=r"Gift_Cards.csv.gz could not be fetched .* or use --raw"):
            prepare(["Gift_Cards"], **SMALL)
        server.shutdown()
    files = [
        f"/amazon_2023/benchmark/5core/rating_only/{C}.csv.gz",
        f"/amazon_2023/raw/meta_categories/meta_{C}.jsonl.gz",
    ]
    assert [path for path in dict.fromkeys(asked) if path.startswith("/amazon") and C in path] == files
    assert as_set(tables(home)[0]) == as_set(by_hand(rows))


def test_categories_are_the_published_ones() -> None:
    assert len(CATEGORIES) == len(set(CATEGORIES)) == 34
    assert sorted(CATEGORIES) == CATEGORIES
