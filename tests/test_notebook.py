"""Parameters of notebooks are checked; recorded benchmarks are tables."""

import json
from pathlib import Path

import pytest

from srtlib import notebook
from srtlib.notebook import check_parameters


def test_check_parameters_ignores_what_is_no_parameter() -> None:
    check_parameters({"size": "S", "_x": 1, "np": pytest, "In": [], "Out": {}, "f": print}, "size")
    with pytest.raises(ValueError, match="unknown parameter sede; expected one of size, seed"):
        check_parameters({"size": "S", "seed": 0, "sede": 3}, "size", "seed")


def test_benchmarks_are_read_with_their_conditions_apart(tmp_path: Path) -> None:
    about = {"machine": "a processor, 2 cores", "date": "2026-01-01"}
    rows = [{"d_model": d, "median": 1.5 * d, **about} for d in (64, 128)]
    (tmp_path / "speed.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert notebook.benchmark("speed", tmp_path).to_dict("list") == {"d_model": [64, 128], "median": [96.0, 192.0]}
    (row,) = notebook.conditions(["speed", "memory"], tmp_path).itertuples()
    assert (row.Index, row.machine) == ("speed", about["machine"])


def test_a_benchmark_that_was_not_run_says_how_to(tmp_path: Path) -> None:
    assert notebook.benchmark("memory", tmp_path).to_dict("list") == {
        "not measured yet": ["python benchmarks/memory.py records it"]
    }
    assert notebook.conditions(["memory"], tmp_path).empty
