"""Raw files of Amazon Product Data in their true format, small."""

import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Rating = tuple[str, str, str, str]  # item, user, rating, timestamp
Write = Callable[..., Path]


def packed(lines: Iterable[str]) -> bytes:
    return gzip.compress("".join(f"{line}\n" for line in lines).encode())


@pytest.fixture(scope="session")
def write_raw() -> Write:
    """Write raw files into a folder; what is not given is left out. Rows and dicts, lines, or the bytes themselves."""

    def write(
        folder: Path,
        ratings: Iterable[Rating] | bytes,
        metadata: Iterable[Mapping[str, Any] | str] | bytes,
        reviews: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
        metadata_2014: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        rows = ratings if isinstance(ratings, bytes) else "".join(",".join(row) + "\n" for row in ratings).encode()
        (folder / "all_csv_files.csv").write_bytes(rows)
        if not isinstance(metadata, bytes):
            metadata = packed(line if isinstance(line, str) else json.dumps(line) for line in metadata)
        (folder / "All_Amazon_Meta.json.gz").write_bytes(metadata)
        for domain, found in (reviews or {}).items():
            (folder / f"reviews_{domain}_5.json.gz").write_bytes(packed(map(json.dumps, found)))
        for domain, found in (metadata_2014 or {}).items():
            (folder / f"meta_{domain}.json.gz").write_bytes(packed(map(repr, found)))
        return folder

    return write


@pytest.fixture(scope="session")
def world() -> dict[str, Any]:
    """What a small raw folder holds: 400 users with 1 to 12 ratings of 300 items, 20 of them without metadata."""
    rng = np.random.default_rng(0)
    items = [f"B{i:09d}" for i in range(300)]
    ratings = [
        (items[rng.integers(300)], f"A{user}", f"{rng.integers(1, 6)}.0", str(1_300_000_000 + 86_400 * rng.integers(9)))
        for user in range(400)
        for _ in range(rng.choice([1, 2, 4, 5, 6, 12]))
    ]
    metadata = [
        {"asin": item, "title": f"Thing {i}", "brand": "Acme", "category": ["A", "B"]} for i, item in enumerate(items)
    ]
    domains = {"Beauty": range(20), "Sports_and_Outdoors": range(10, 40)}
    reviews = {
        domain: [
            {
                "reviewerID": f"A{user}",
                "asin": items[rng.integers(300)],
                "overall": 5.0,
                "unixReviewTime": 1_300_000_000 + day,
            }
            for user in users
            for day in range(5)
        ]
        for domain, users in domains.items()
    }
    old = [{"asin": item, "title": f"It's {item}", "categories": [["X", "Y"], ["Z"]]} for item in items[5:]]
    return {
        "ratings": [ratings[i] for i in rng.permutation(len(ratings))],
        "metadata": metadata[:280],
        "reviews": reviews,
        "metadata_2014": dict.fromkeys(domains, old),
    }
