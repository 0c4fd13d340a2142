"""Each peculiarity of the real files, in a small file that has it."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from srtlib.data.amazon.sources import prepare

USERS = [(f"B{i:03d}", f"A{u}", "4.0", str(1_300_000_000 + i)) for u in range(300) for i in range(5)]
ITEMS = [{"asin": f"B{i:03d}", "title": f"Thing {i}", "brand": "Acme", "category": ["A", "B"]} for i in range(1_500)]
ALL = {"1K": 10_000}

pytestmark = pytest.mark.filterwarnings("ignore:no reviews_Beauty", "ignore:the ratings of users who may be sampled")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_raw: Any) -> Any:
    """Prepare from ratings and metadata; returns items by item_id, interactions, and counts of the pipeline."""
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))

    def call(
        ratings: Any = USERS, metadata: Any = ITEMS, **options: Any
    ) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
        raw = write_raw(tmp_path / "raw", ratings, metadata)
        steps = ("items", "transfer", "users", "samples")
        table = prepare(raw, steps, sizes=ALL, threads=1, memory="500MB", **options)
        counts = table[table["set"] == "pipeline"].set_index("statistic")["value"].map(float)
        items = pd.read_parquet(tmp_path / "home" / "amazon" / "items" / "items.parquet").set_index("item_id")
        return items, pd.read_parquet(tmp_path / "home" / "amazon-1K" / "interactions.parquet"), counts

    return call


# The ratings: a CSV without a header


def test_columns_are_item_user_rating_timestamp(run: Any) -> None:
    _, table, counts = run()
    assert counts["ratings"] == len(table) == 1_500
    expected = {(user, item, int(time), float(rating)) for item, user, rating, time in USERS}
    found = table[["user_id", "item_id", "timestamp", "rating"]].itertuples(index=False, name=None)
    assert set(found) == expected


def test_swapped_columns_are_noticed(run: Any) -> None:
    with pytest.raises(ValueError, match=r"none of 1,500 ratings is left \(1,500 name an item without metadata\)"):
        run([(user, item, rating, time) for item, user, rating, time in USERS])


def test_ratings_and_times_may_be_whole_or_decimal(run: Any) -> None:
    odd = [(i, u, ("5", "5.0", "1.5")[n % 3], t + ("", ".0")[n % 2]) for n, (i, u, _, t) in enumerate(USERS)]
    _, table, counts = run(odd)
    assert counts["ratings_kept"] == 1_500
    assert set(table["rating"]) == {5.0, 1.5}
    assert set(table["timestamp"]) == {1_300_000_000 + i for i in range(5)}


def test_windows_line_ends(run: Any) -> None:
    crlf = "".join(",".join(row) + "\r\n" for row in USERS).encode()
    lines = gzip.compress("".join(json.dumps(item) + "\r\n" for item in ITEMS).encode())
    items, table, counts = run(crlf, lines)
    assert (len(items), len(table), counts["ratings_unusable"]) == (1_500, 1_500, 0)
    assert table["timestamp"].max() == 1_300_000_004


@pytest.mark.parametrize(
    "bad",
    [
        b"B001,A7\xff,5.0,1300000000",
        b"B001,A7",
        b"B001,A7,5.0,1,2",
        b"B001,A7,5.0,today",
        b"B001,A7,5.0,nan",
        b"B001,A7,good,1",
    ],
)
def test_an_unusable_rating_is_counted_and_left_out(run: Any, bad: bytes) -> None:
    good = "".join(",".join(row) + "\n" for row in USERS).encode()
    with pytest.warns(UserWarning, match="1 of 1,501 lines are not rows of item, user, rating, timestamp"):
        _, table, counts = run(good + bad + b"\n")
    assert (counts["ratings"], counts["ratings_unusable"], len(table)) == (1_501, 1, 1_500)


def test_too_many_unusable_ratings_are_refused_and_shown(run: Any) -> None:
    good = "".join(",".join(row) + "\n" for row in USERS).encode()
    with pytest.raises(ValueError, match=r"20 of 1,520 lines are not rows .*'B001,A0'; 'B001,A1'.*at most 0.1%"):
        run(good + b"".join(b"B001,A%d\n" % i for i in range(20)))


# The metadata: gzipped JSON lines


def test_titles_that_are_blank_or_page_script_are_dropped(run: Any) -> None:
    script = "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();"
    bad = [{"asin": "X1", "title": ""}, {"asin": "X2", "title": "  "}, {"asin": "X3"}, {"asin": "X4", "title": None}]
    items, _, counts = run(metadata=[*ITEMS, *bad, {"asin": "X5", "title": script}])
    assert len(items) == counts["metadata_kept"] == 1_500
    assert (counts["metadata_lines"], counts["metadata_without_title"]) == (1_505, 5)


def test_html_entities_are_resolved(run: Any) -> None:
    items, *_ = run(
        metadata=[
            *ITEMS,
            {"asin": "X", "title": "Salt &amp; Pepper&#39;s  &eacute;", "brand": "A&amp;B", "category": ["C &amp; D"]},
        ]
    )
    assert items.loc["X"].tolist() == ["Salt & Pepper's é", "A&B", "C & D"]


def test_the_last_row_of_an_asin_wins(run: Any) -> None:
    rows = [{"asin": "X", "title": title} for title in ("first", "second", "third", "getTime")]
    items, _, counts = run(metadata=[rows[0], *ITEMS, *rows[1:]])
    assert items.loc["X", "title"] == "third"
    assert counts["metadata_repeated"] == 2


def test_categories(run: Any) -> None:
    long = "c" * 40
    rows = {
        "absent": {},
        "null": {"category": None},
        "text": {"category": "Books"},
        "map": {"category": {"a": 1}},
        "none": {"category": []},
    }
    rows |= {"long": {"category": [long, "A", long[1:], "B", "C"]}}
    items, *_ = run(metadata=[*ITEMS, *({"asin": name, "title": "t", **row} for name, row in rows.items())])
    assert items.loc[["absent", "null", "text", "map", "none"], "categories"].tolist() == [""] * 5
    assert items.loc["long", "categories"] == f"A > {long[1:]} > B"


def test_brand_may_be_absent(run: Any) -> None:
    rows = [
        {"asin": "X", "title": "t"},
        {"asin": "Y", "title": "t", "brand": None},
        {"asin": "Z", "title": "t", "brand": "\n by \n Me"},
    ]
    items, *_ = run(metadata=[*ITEMS, *rows])
    assert items.loc[["X", "Y", "Z"], "brand"].tolist() == ["", "", "by Me"]


@pytest.mark.parametrize("times", [0, 1, 2])
def test_gzip_inside_gzip(run: Any, times: int) -> None:
    data = "".join(json.dumps(item) + "\n" for item in ITEMS).encode()
    for _ in range(times):
        data = gzip.compress(data)
    items, *_ = run(metadata=data)
    assert len(items) == 1_500


def test_a_truncated_gzip_is_an_error_and_leaves_nothing(run: Any, tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps(item) + "\n" for item in ITEMS).encode())
    for cut in (whole[: len(whole) // 2], whole[:-4], gzip.compress(whole[: len(whole) // 2])):
        with pytest.raises(
            ValueError, match=r"All_Amazon_Meta.json.gz is damaged or cut short.*expected a whole gzip file"
        ) as error:
            run(metadata=cut)
        assert "\n" not in str(error.value)
        assert [path.name for path in (tmp_path / "home" / "amazon").iterdir()] == [".lock"]


def test_lines_that_are_not_json_are_counted_shown_and_left_out(run: Any) -> None:
    bad = ["<html>", '{"asin": "X", "title": "cut', "[1, 2]", '{"title": "no asin"}']
    plenty = [*ITEMS, *({"asin": f"C{i}", "title": "t"} for i in range(3_000))]
    with pytest.warns(UserWarning, match=r"4 of 4,504 lines are not JSON objects with an asin: '<html>'; .*; left out"):
        items, _, counts = run(metadata=[*plenty[:9], *bad, *plenty[9:]])
    assert len(items) == 4_500
    assert counts["metadata_not_json"] == 4


def test_too_many_lines_that_are_not_json_are_refused(run: Any) -> None:
    with pytest.raises(ValueError, match=r"12 of 1,512 lines are not JSON .*expected at most 0.1%") as error:
        run(metadata=[*ITEMS, *["oops"] * 12])
    assert str(error.value).count("oops") == 10


def test_bytes_that_are_not_utf8(run: Any) -> None:
    line = json.dumps({"asin": "X", "title": "Caf?"}).encode().replace(b"?", b"\xe9") + b"\n"
    items, *_ = run(metadata=gzip.compress("".join(json.dumps(item) + "\n" for item in ITEMS).encode() + line))
    assert items.loc["X", "title"] == "Caf\ufffd"
    assert len(items) == 1_501


def test_text_of_all_the_world(run: Any) -> None:
    title = '日本語 — Ünïcode 🎁 "quoted" \\ back'
    items, *_ = run(metadata=[*ITEMS, {"asin": "X", "title": title}])
    assert items.loc["X", "title"] == title


def test_without_the_files_of_2014_it_is_said(run: Any) -> None:
    with pytest.warns(UserWarning, match="transfer sets without reviews and metadata are left out"):
        run()
