"""The official splits of Amazon Reviews 2023: what the library trains, validates and tests on is what the files say."""

import gzip
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from srtlib.cli.entry import main
from srtlib.data.amazon.categories import prepare
from srtlib.data.amazon.official import CUTS, MOMENTS
from srtlib.data.dataset import PARTS as HELD_OUT
from srtlib.data.dataset import Dataset
from srtlib.data.loading import load_dataset
from srtlib.protocols import parse_cuts

C = "All_Beauty"
HEAD = "user_id,parent_asin,rating,timestamp"
PARTS = ("train", "valid", "test")
SMALL: dict[str, Any] = {"threads": 1, "memory": "500MB"}
Parts = dict[str, pd.DataFrame]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def log() -> pd.DataFrame:
    """Ratings of 40 users, many at one time, in an order that is neither time's nor the items'; some at the very
    moments of the cuts."""
    rng = np.random.default_rng(3)
    rows = [(f"AE{u}", f"B{i:02d}") for u in range(40) for i in rng.permutation(25)[: rng.integers(5, 12)]]
    table = pd.DataFrame(rows, columns=["user_id", "item_id"])
    times = MOMENTS[0] + rng.integers(-4, 8, len(rows)) * (MOMENTS[1] - MOMENTS[0]) // 4
    return table.assign(rating=rng.integers(1, 6, len(rows)).astype(float), timestamp=times)


def last_out(table: pd.DataFrame) -> Parts:
    """As the publishers write it: by time, ties as they stand."""
    ordered = table.sort_values(["user_id", "timestamp"], kind="stable")
    left = ordered.groupby("user_id").cumcount(ascending=False)
    return {"train": ordered[left > 1], "valid": ordered[left == 1], "test": ordered[left == 0]}


def timestamp(table: pd.DataFrame) -> Parts:
    part = np.digitize(table["timestamp"], MOMENTS)
    return {name: table[part == place] for place, name in enumerate(PARTS)}


SPLITS = {"last_out": last_out, "timestamp": timestamp}


def write(raw: Path, split: str, parts: Parts, kind: str = ".csv.gz", head: bool = True, history: bool = False) -> Path:
    folder = raw / "benchmark/5core" / (f"{split}_w_his" if history else split)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        rows = [",".join(map(str, row)) for row in part.itertuples(index=False)]
        if history:
            rows = [f"{row},{'B01 B02' if n % 3 else ''}" for n, row in enumerate(rows)]
        lines = [f"{HEAD},history" if history else HEAD] * head + rows
        text = "".join(f"{line}\n" for line in lines).encode()
        (folder / f"{C}.{name}{kind}").write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
    items = [{"parent_asin": f"B{i:02d}", "title": f"Cream {i}", "store": None, "categories": []} for i in range(25)]
    meta = raw / f"raw/meta_categories/meta_{C}.jsonl.gz"
    meta.parent.mkdir(parents=True, exist_ok=True)
    meta.write_bytes(gzip.compress("\n".join(map(json.dumps, items)).encode()))
    return raw


def load(split: str) -> Dataset:
    return load_dataset(f"amazon-2023-{C}-{split}", cuts=CUTS if split == "timestamp" else None)


def as_divided(data: Dataset) -> dict[str, list[tuple[str, str]]]:
    """Part -> the user and the item of each interaction in it, sorted."""
    ids = data.catalogue["item_id"].to_numpy()
    ends = [data.offsets[:-1], data.history_ends("valid"), data.history_ends("test"), data.offsets[1:]]
    return {
        name: sorted(
            (user, ids[item])
            for user, first, last in zip(data.user_ids, ends[place], ends[place + 1], strict=True)
            for item in data.items[first:last]
        )
        for place, name in enumerate(PARTS)
    }


def as_given(parts: Parts) -> dict[str, list[tuple[str, str]]]:
    return {name: sorted(zip(part["user_id"], part["item_id"], strict=True)) for name, part in parts.items()}


@pytest.mark.parametrize(
    "form", [{}, {"kind": ".csv"}, {"head": False}, {"history": True}, {"history": True, "head": False}]
)
@pytest.mark.parametrize("split", SPLITS)
def test_training_validation_and_test_are_the_official_ones(tmp_path: Path, split: str, form: dict[str, Any]) -> None:
    parts = SPLITS[split](log())
    counts = prepare([C], write(tmp_path, split, parts, **form), split, **SMALL).set_index("statistic")["value"]
    assert as_divided(load(split)) == as_given(parts)
    assert {name: counts[f"ratings_{name}"] for name in PARTS} == {name: len(part) for name, part in parts.items()}
    assert counts["ratings"] == counts["interactions"] == len(log())
    assert set(prepare([C], tmp_path, split, **SMALL)["set"]) == {f"amazon-2023-{C}-{split}"}


def test_of_two_ratings_at_one_time_the_files_say_which_is_last(tmp_path: Path) -> None:
    """A hash decides where they do not say, and so differs from them somewhere."""
    parts = last_out(log())
    prepare([C], write(tmp_path, "last_out", parts), "last_out", **SMALL)
    data = load("last_out")
    ids = data.catalogue["item_id"].to_numpy()
    for part in HELD_OUT:
        assert ids[data.targets(part)].tolist() == parts[part].sort_values("user_id")["item_id"].tolist()
    table = pd.concat(parts.values())
    (tmp_path / f"{C}.csv").write_text("".join(f"{','.join(map(str, row))}\n" for row in table.itertuples(index=False)))
    prepare([C], tmp_path, **SMALL)
    assert as_divided(load_dataset(f"amazon-2023-{C}")) != as_given(parts)


def test_the_cuts_are_the_official_moments() -> None:
    written = parse_cuts("2021-08-11T00:56:54.042 2022-07-16T20:18:49.837".split())
    assert written == CUTS == parse_cuts(str(CUTS).split())


def swap(parts: Parts, one: str, other: str) -> Parts:
    """One user's first rating in each of two parts change places."""
    user = next(user for user in parts[one]["user_id"] if user in set(parts[other]["user_id"]))
    rows = {name: parts[name][parts[name]["user_id"] == user].index[:1] for name in (one, other)}
    return {
        **parts,
        one: pd.concat([parts[one].drop(rows[one]), parts[other].loc[rows[other]]]),
        other: pd.concat([parts[other].drop(rows[other]), parts[one].loc[rows[one]]]),
    }


@pytest.mark.parametrize(("split", "part"), [("last_out", "valid"), ("timestamp", "test"), ("timestamp", "valid")])
def test_files_that_contradict_their_split_are_refused(
    home: Path, tmp_path: Path, split: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = log()
    if split == "last_out":  # without ties, which may stand in any order
        table["timestamp"] = MOMENTS[0] + np.arange(len(table))
    write(tmp_path, split, swap(SPLITS[split](table), "train", part))
    refused = f"contradict the split {split} for 1 users, 'AE"
    assert main(["data", "prepare", "amazon-2023", "--category", C, "--split", split, "--raw", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert refused in error
    assert error.count("\n") == 1
    assert not (home / f"amazon-2023-{C}-{split}").exists()


def test_everybody_has_one_rating_in_validation_and_one_in_the_test(tmp_path: Path) -> None:
    parts = last_out(log())
    write(tmp_path, "last_out", {**parts, "valid": parts["valid"][:-1]})
    with pytest.raises(ValueError, match=r"contradict the split last_out for 1 users"):
        prepare([C], tmp_path, "last_out", **SMALL)


def test_rows_that_are_none_are_refused(tmp_path: Path) -> None:
    parts = timestamp(log())
    parts["valid"].loc[parts["valid"].index[0], "item_id"] = ""
    with pytest.raises(ValueError, match=rf"{C}.valid.csv.gz: 1 of \d+ lines are not rows of {HEAD}: 'AE\d+,,"):
        prepare([C], write(tmp_path, "timestamp", parts), "timestamp", **SMALL)


def test_what_is_asked_for_wrongly_or_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split 'random' is not known; expected one of last_out, timestamp"):
        prepare([C], tmp_path, "random", **SMALL)
    write(tmp_path, "last_out", last_out(log()))
    (tmp_path / f"benchmark/5core/last_out/{C}.valid.csv.gz").unlink()
    with pytest.raises(FileNotFoundError, match=rf"has no benchmark/5core/last_out/{C}.train.csv.gz, "):
        prepare([C], tmp_path, "last_out", **SMALL)


def test_a_split_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = timestamp(log())
    write(tmp_path / "host", "timestamp", parts)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "host"))) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("srtlib.data.amazon.categories.HOSTS", (host,))
        prepare([C], split="timestamp", **SMALL)
        server.shutdown()
    assert as_divided(load("timestamp")) == as_given(parts)
