"""Damaged files of runs: named in one line, never read as other numbers, never in the way of the other runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from srtlib import runs
from srtlib.runs.store import Run

from .test_store import CONFIG, write_run

FILES = ("config.json", "metrics.jsonl", "summary.json")
MUTATIONS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "cut by one": lambda data: data.rstrip()[:-1],
    "a list": lambda data: b"[1, 2]\n",
    "a number": lambda data: b"7\n",
    "null": lambda data: b"null\n",
    "binary": lambda data: b"\xff\xfe\x00" + data,
    "another number": lambda data: data.replace(b"0.04", b"0.94").replace(b'"d_model": 8', b'"d_model": 9'),
    "wrong type": lambda data: data.replace(b"{", b'["x", {', 1).rstrip() + b"]\n",
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_damaged_run_is_named_and_left_out(tmp_path: Path, file: str, mutation: str) -> None:
    good, bad = write_run(tmp_path, seed=3), write_run(tmp_path, seed=4)
    path = tmp_path / bad / file
    path.write_bytes(MUTATIONS[mutation](path.read_bytes()))
    for read in (runs.table, runs.curves):
        with pytest.warns(UserWarning, match=f"a damaged run is left out: .*{bad}.*{file}") as warned:
            frame = read(tmp_path)
        assert len(warned) == 1
        assert "\n" not in str(warned[0].message)
        assert set(frame["run_id"]) == {good}
    with pytest.warns(UserWarning, match=bad):
        assert runs.finished(tmp_path) == {good}


def test_every_flipped_byte_of_a_finished_run_is_noticed_or_harmless(tmp_path: Path) -> None:
    run_id = write_run(tmp_path)
    expected = runs.table(tmp_path), runs.curves(tmp_path)
    for file in FILES:
        path = tmp_path / run_id / file
        whole = path.read_bytes()
        for place in range(0, len(whole), 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            try:
                with pytest.warns(UserWarning, match="a damaged run is left out"):
                    assert runs.finished(tmp_path) == set()
            except pytest.fail.Exception:  # no warning: then every number is what it was
                for frame, read in zip(expected, (runs.table, runs.curves), strict=True):
                    pd.testing.assert_frame_equal(read(tmp_path)[frame.columns], frame)
        path.write_bytes(whole)


def test_runs_recorded_without_digests_still_read(tmp_path: Path) -> None:
    run_id = write_run(tmp_path)
    expected = runs.table(tmp_path)
    path = tmp_path / run_id / "summary.json"
    summary = json.loads(path.read_text())
    assert set(summary.pop("sha256")) == set(FILES)
    path.write_text(json.dumps(summary))
    pd.testing.assert_frame_equal(runs.table(tmp_path), expected)
    path.write_text(json.dumps(summary | {"params": [100]}))
    with pytest.warns(UserWarning, match=r"summary\.json: params is no JSON object"):
        assert runs.table(tmp_path).empty


def test_a_run_that_goes_on_with_a_damaged_line_says_which(tmp_path: Path) -> None:
    with Run.open(tmp_path, CONFIG) as run:
        run.log({"step": 1})
        run.log({"step": 2})
        file = run.path / "metrics.jsonl"
        file.write_bytes(file.read_bytes().replace(b'{"step": 1}', b'{"step" 1}'))
        with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1 is no JSON object"):
            run.rows()


@pytest.mark.parametrize("suffix", ["csv", "parquet", "csv.gz"])
@pytest.mark.parametrize("data", [b"", b"\x00\xff\x00", b"PAR1junk", b'a,"b\n1,2'])
def test_a_damaged_table_is_named(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"runs.{suffix}"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"runs\.\S+ (is no table of runs|has no column)") as error:
        runs.table(path)
    assert "\n" not in str(error.value)
