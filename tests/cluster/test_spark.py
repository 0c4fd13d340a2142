"""The data pipeline on Spark makes what it makes on DuckDB, row by row, from one million ratings."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pyspark", reason="PySpark is not installed: make test-cluster")
from srtlib.data.amazon import categories
from srtlib.data.amazon.sources import prepare
from srtlib.data.engines.spark import has_java

if not has_java():
    pytest.skip("Spark needs Java 17 or 21, and none is found", allow_module_level=True)

RATINGS, USERS, ITEMS = 1_000_000, 180_000, 60_000
SIZES = {"20K": 20_000, "200K": 200_000}
STEPS = ("items", "transfer", "users", "samples")


def write_raw(folder: Path) -> Path:
    """A million ratings with the real files' quirks, metadata, and the reviews of a transfer set."""
    rng = np.random.default_rng(0)
    user = (USERS * rng.random(RATINGS) ** 2).astype(int)
    item = (ITEMS * rng.random(RATINGS) ** 3).astype(int)
    table = pd.DataFrame(
        {
            "item": np.char.add("B", item.astype(str)),
            "user": np.char.add("A", user.astype(str)),
            "rating": np.where(rng.random(RATINGS) < 0.5, "5.0", "4"),
            "time": 1_000_000_000 + 86_400 * rng.integers(3_000, size=RATINGS),
        }
    )
    folder.mkdir()
    rows = table.to_csv(header=False, index=False).encode()
    (folder / "all_csv_files.csv").write_bytes(rows + b"B1,A\xff,5.0,1\nB1,A1\nB1,A1,5.0,1,2\nB1,A1,5.0,soon\n")
    titles = ["Pen &amp; ink \u00e9", "", "getTime()", "Plain  desk", '\u65e5\u672c "x"']
    items = [
        {
            "asin": f"B{i}",
            "title": f"{titles[i % 5]}",
            "brand": [None, "Acme"][i % 2],
            "category": [["A", "c" * 50, "B"], "x"][i % 2],
        }
        for i in (*range(ITEMS - 500), *range(1_000))
    ]
    lines = [*map(json.dumps, items), "not json"]
    (folder / "All_Amazon_Meta.json.gz").write_bytes(gzip.compress(gzip.compress("\n".join(lines).encode())))
    reviews = [
        {"reviewerID": f"A{u}", "asin": f"B{i}", "overall": 5.0, "unixReviewTime": 1_000_000_000}
        for u in range(0, 9_000, 3)
        for i in range(5)
    ]
    (folder / "reviews_Beauty_5.json.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, reviews)).encode()))
    old = [{"asin": f"B{i}", "title": f"It's {i}", "categories": [["X", "Y"]]} for i in range(4)]
    (folder / "meta_Beauty.json.gz").write_bytes(gzip.compress("\n".join(map(repr, old)).encode()))
    return folder


@pytest.mark.filterwarnings("ignore:no reviews_Sports", "ignore:all_csv_files.csv", "ignore:All_Amazon_Meta.json.gz")
def test_both_engines_make_the_same_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")  # Java would compile longer than the test runs
    odd = tmp_path / "odd[1] {a} q? it's"  # paths mean themselves, on Spark too
    (tmp_path / "odd1 a qx it's" / "raw").mkdir(parents=True)
    odd.mkdir()
    raw = write_raw(odd / "raw")
    counts = {}
    for engine in ("duckdb", "spark"):
        monkeypatch.setenv("SRT_HOME", str(odd / engine))
        counts[engine] = prepare(raw, STEPS, sizes=SIZES, engine=engine, memory="1GB", threads=2)
    pd.testing.assert_frame_equal(counts["duckdb"], counts["spark"])
    assert counts["duckdb"].set_index("statistic").loc["ratings", "value"] == RATINGS + 4
    for part in ("20K", "200K", "beauty"):
        for table in ("interactions", "items"):
            found = [pd.read_parquet(odd / engine / f"amazon-{part}" / f"{table}.parquet") for engine in counts]
            assert len(found[0]) > 0
            pd.testing.assert_frame_equal(*found)
    users = [pd.read_parquet(odd / engine / "amazon" / "users" / "users.parquet") for engine in counts]
    pd.testing.assert_frame_equal(*(table.sort_values("user_id", ignore_index=True) for table in users))


@pytest.mark.filterwarnings("ignore:Books.jsonl.gz", "ignore:Software.csv")
def test_both_engines_make_the_same_5_cores_of_2023(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
    rng = np.random.default_rng(0)
    users, items = (3_000 * rng.random(20_000) ** 2).astype(int), (900 * rng.random(20_000) ** 2).astype(int)
    rows = [
        (f"A{u}", f"B{i}", [5.0, 4][u % 2], 10**12 + 7 * (n // 9))
        for n, (u, i) in enumerate(zip(users, items, strict=True))
    ]
    reviews = [dict(zip(("user_id", "parent_asin", "rating", "timestamp"), row, strict=True)) for row in rows]
    reviews[3]["sort_timestamp"] = reviews[3].pop("timestamp")
    lines = [*map(json.dumps, reviews), "not json", json.dumps({**reviews[0], "user_id": ""})]
    (tmp_path / "Books.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    table = [
        "user_id,parent_asin,rating,timestamp",
        *(",".join(map(str, row)) for row in rows),
        "A1,B1,5.0",
        "a,b,4,nan",
    ]
    (tmp_path / "Software.csv").write_text("\n".join(table))
    items = [{"parent_asin": f"B{i}", "title": f"It &amp; {i}", "store": [None, "Acme"][i % 2], "categories": []}
             for i in range(0, 900, 2)]  # fmt: skip
    for category in ("Books", "Software"):
        (tmp_path / f"meta_{category}.jsonl").write_text("\n".join(map(json.dumps, items)))
    counts = {}
    for engine in ("duckdb", "spark"):
        monkeypatch.setenv("SRT_HOME", str(tmp_path / engine))
        counts[engine] = categories.prepare(["Books", "Software"], tmp_path, engine=engine, memory="1GB", threads=2)
    pd.testing.assert_frame_equal(counts["duckdb"], counts["spark"])
    assert counts["duckdb"].set_index("statistic").loc["ratings_unusable", "value"].tolist() == [2, 2]
    for category in ("Books", "Software"):
        for stem in ("interactions", "items"):
            found = [pd.read_parquet(tmp_path / e / f"amazon-2023-{category}" / f"{stem}.parquet") for e in counts]
            assert len(found[0]) > 0
            pd.testing.assert_frame_equal(*found)
