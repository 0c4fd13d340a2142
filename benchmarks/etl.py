"""The data pipeline on raw files that this script writes: rows a second, peak memory, and the authors' way beside it.

    python benchmarks/etl.py rate       ratings to data sets: 5 and 20 million rows
    python benchmarks/etl.py theirs     plain Python over gzip partitions, and ours, on 5 million ratings
    python benchmarks/etl.py memory     80 million rows: the peak must be that of 5 and 20 million
    python benchmarks/etl.py metadata   lines of metadata as long as the real ones
    python benchmarks/etl.py titles     titles tokenised

Each replaces its rows of results/etl.jsonl. Raw files in the true format are kept in out/etl (80 million ratings:
3.3 GB). Every run is a process of its own with two threads and an empty data home. Ids are hashes, users and items
skewed as in the real files, with as many of them per rating.
"""

import csv
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path

import duckdb
import pandas as pd
from common import RESULTS, interleaved, record
from tokenizers import Tokenizer

from srtlib.data.amazon.sources import SIZES
from srtlib.data.amazon.steps import METADATA, RATINGS, Preparation
from srtlib.data.text import token_bags, train_tokenizer
from srtlib.paths import project_root

RAW = project_root() / "out" / "etl"
USERS, ITEMS = 43.4 / 233, 15.0 / 233  # users and items per rating of the real files
WORDS = 200_000  # different ones in the titles
METADATA_LINES = 200_000
PARTITIONS = 64


def write_raw(n: int, long_lines: bool = False) -> Path:
    """Raw files with n ratings; lines of metadata are 0.2 kB, or 2.3 kB (0.8 kB gzipped, like the real ones)."""
    folder = RAW / f"{n}{'-long' if long_lines else ''}"
    if (folder / METADATA).is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    n_users, n_items = int(n * USERS), METADATA_LINES if long_lines else int(n * ITEMS)
    with duckdb.connect(config={"memory_limit": "2GB", "threads": 2, "preserve_insertion_order": False}) as connection:
        item = "'B' || upper(substr(md5({0}::BIGINT::VARCHAR), 1, 9))"
        connection.execute(f"""
            COPY (SELECT {item.format(f"floor({1.02 * n_items} * random() ^ 3)")},
                         'A' || upper(substr(md5(floor({n_users} * random() ^ 1.9)::VARCHAR), 1, 13)),
                         (1 + floor(random() * 5)::INT)::VARCHAR || '.0',
                         (900000000 + 600000000 * random())::BIGINT // 86400 * 86400
                  FROM range({n})) TO '{quoted(folder / RATINGS)}' (HEADER false)""")
        word = f"'w' || floor({WORDS} * random() ^ 4)::INT"
        title = " || ' ' || ".join([word] * 11)
        text = "array_to_string(list_transform(range(r * 40, r * 40 + 36), lambda i: md5(i::VARCHAR)), ' ')"
        long = f"{text} AS description, repeat('with many words on and on ', 40) AS feature," if long_lines else ""
        connection.execute(f"""
            COPY (SELECT ['Home', 'Kitchen', {word}] AS category, {long} {word} AS brand,
                         {title} || CASE WHEN r % 6 = 0 THEN ' &amp; more' ELSE '' END AS title,
                         {item.format("r")} AS asin
                  FROM range({n_items}) AS t(r)) TO '{quoted(folder / METADATA)}.part'
            (FORMAT json, COMPRESSION gzip)""")
        Path(f"{folder / METADATA}.part").rename(folder / METADATA)
    return folder


def quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def ours(folder: Path, memory: str = "1GB") -> dict[str, float]:
    """Seconds of each step and peak memory, from a process of its own."""
    with tempfile.TemporaryDirectory(dir=RAW) as home:
        command = [sys.executable, __file__, "worker", str(folder), memory]
        out = subprocess.run(
            command, env={**os.environ, "SRT_HOME": home}, stdout=subprocess.PIPE, text=True, check=True
        )
        disk = sum(path.stat().st_size for path in Path(home).rglob("*") if path.is_file())
    return {**json.loads(out.stdout), "disk_bytes_per_rating": disk / int(folder.name.partition("-")[0])}


def worker(folder: Path, memory: str) -> None:
    from srtlib.data.engines.engine import connect

    job = Preparation("amazon", folder, SIZES, 0, None)
    job.work.mkdir(parents=True)
    seconds = {}
    with connect("duckdb", job.scratch, memory, 2) as engine:
        for step in ("items", "transfer", "users", "samples"):
            began = time.perf_counter()
            getattr(job, step)(engine)
            seconds[f"{step}_s"] = time.perf_counter() - began
    seconds["ratings_s"] = seconds["transfer_s"] + seconds["users_s"] + seconds["samples_s"]
    print(json.dumps({**seconds, "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))


def theirs(folder: Path) -> float:
    """Seconds of the authors' approach, in our words, to the same five data sets: plain Python over gzip partitions."""
    began = time.perf_counter()
    with gzip.open(folder / METADATA, "rt") as lines:
        catalogue = {row["asin"]: row for row in map(json.loads, lines) if row["title"].strip()}
    with tempfile.TemporaryDirectory(dir=RAW) as scratch:
        parts = [Path(scratch) / f"{i}.jsonl.gz" for i in range(PARTITIONS)]
        with (folder / RATINGS).open(newline="") as stream:
            ratings = csv.DictReader(stream, ["item", "user", "rating", "timestamp"])
            write_parts(parts, (row for row in ratings if row["item"] in catalogue))
        kept = [path.with_suffix(".kept") for path in parts]
        lengths: dict[str, int] = {}
        for path, target in zip(parts, kept, strict=True):
            histories: dict[str, list[dict[str, str]]] = {}
            for row in read_rows(path):
                histories.setdefault(row["user"], []).append(row)
            histories = {user: rows for user, rows in histories.items() if len(rows) >= 5}
            lengths |= {user: len(rows) for user, rows in histories.items()}
            rows = (row for rows in histories.values() for row in sorted(rows, key=lambda row: float(row["timestamp"])))
            write_rows(target, rows)
        users = sorted(lengths)
        random.Random(0).shuffle(users)
        for part, size in SIZES.items():
            reached = list(accumulate(lengths[user] for user in users))
            sample = set(users[: bisect_left(reached, size) + 1])
            data_set = Path(scratch) / f"{part}.jsonl.gz"
            write_rows(data_set, (row for path in kept for row in read_rows(path) if row["user"] in sample))
            used = {row["item"] for row in read_rows(data_set)}
            write_rows(Path(scratch) / f"{part}.items.gz", (catalogue[item] for item in used))
    return time.perf_counter() - began


def write_parts(paths: list[Path], rows: Iterable[dict[str, str]]) -> None:
    with ExitStack() as opened:
        parts = [opened.enter_context(gzip.open(path, "wt", compresslevel=6)) for path in paths]
        for row in rows:
            parts[hash(row["user"]) % len(parts)].write(json.dumps(row) + "\n")


def write_rows(path: Path, rows: Iterable[object]) -> None:
    with gzip.open(path, "wt", compresslevel=6) as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt") as lines:
        yield from map(json.loads, lines)


def runs(folder: Path, repeats: int, **about: object) -> dict[str, object]:
    """The run whose ratings took the median time."""
    found = sorted((ours(folder) for _ in range(repeats)), key=lambda run: run["ratings_s"])
    n = int(folder.name.partition("-")[0])
    median = found[len(found) // 2]
    rates = {"ratings_per_s": n / median["ratings_s"], "slowest_ratings_per_s": n / found[-1]["ratings_s"]}
    return {"what": "ours", "ratings": n, "repeats": repeats, **about, **rates, **median}


def rate() -> list[dict[str, object]]:
    return [runs(write_raw(n), 3, memory="1GB") for n in (5_000_000, 20_000_000)]


def memory() -> list[dict[str, object]]:
    return [runs(write_raw(80_000_000), 1, memory="1GB")]


def beside_theirs() -> list[dict[str, object]]:
    n = 5_000_000
    folder = write_raw(n)

    def seconds() -> float:
        steps = ours(folder)
        return steps["items_s"] + steps["ratings_s"]

    calls: dict[str, Callable[[], float]] = {"theirs, re-implemented": lambda: theirs(folder), "ours": seconds}
    found = interleaved(calls, repeats=3)
    theirs_s = found["theirs, re-implemented"]["median"]
    return [
        {
            "what": what,
            "ratings": n,
            "unit": "s, metadata included, five data sets",
            "ratings_per_s": n / row["median"],
            "times_theirs": theirs_s / row["median"],
            **row,
        }
        for what, row in found.items()
    ]


def metadata() -> list[dict[str, object]]:
    folder = write_raw(1_000_000, long_lines=True)
    size = (folder / METADATA).stat().st_size
    seconds = sorted(ours(folder)["items_s"] for _ in range(3))[1]
    return [{"what": "metadata lines/s", "gzipped_bytes": size / METADATA_LINES, "rate": METADATA_LINES / seconds}]


def titles() -> list[dict[str, object]]:
    """On the titles of the real sets at hand (few, so nearly every word is new) and on half a million made ones."""
    paths = sorted(Path(os.environ["SRT_DATA"]).glob("amazon*/items.parquet"))
    real = pd.concat([pd.read_parquet(path)["title"] for path in paths]).fillna("").reset_index(drop=True)
    lines = pd.read_json(write_raw(20_000_000) / METADATA, lines=True, nrows=500_000)
    rows = []
    for what, column in (("titles of the real sets", real), ("made titles", lines["title"])):
        catalogue = pd.DataFrame({"title": column})
        tokenizer = train_tokenizer(column.head(100_000), 30_000)

        def seconds(catalogue: pd.DataFrame = catalogue, tokenizer: Tokenizer = tokenizer) -> float:
            began = time.perf_counter()
            token_bags(catalogue, tokenizer, {"title": 40})
            return time.perf_counter() - began

        found = interleaved({what: seconds}, repeats=3)[what]
        rows.append({"what": what, "titles": len(column), "rate": len(column) / found["median"], "unit": "s", **found})
    return rows


def main() -> None:
    if sys.argv[1] == "worker":
        worker(Path(sys.argv[2]), sys.argv[3])
        return
    sections = {"rate": rate, "theirs": beside_theirs, "memory": memory, "metadata": metadata, "titles": titles}
    rows = [{"section": sys.argv[1], **row} for row in sections[sys.argv[1]]()]
    path = RESULTS / "etl.jsonl"
    before = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    record("etl", rows)
    kept = [line for line in before if json.loads(line)["section"] != sys.argv[1]]
    path.write_text("\n".join([*kept, path.read_text(encoding="utf-8").rstrip("\n")]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
