"""Parameters of notebooks are checked; recorded benchmarks are tables."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
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


@pytest.mark.parametrize("commit", ["5544499", "0012345", "1234e56"])
def test_conditions_are_as_they_were_written(tmp_path: Path, commit: str) -> None:
    (tmp_path / "speed.jsonl").write_text(
        json.dumps({"python": "3.10", "torch": "2.10", "commit": commit, "load": 2.5, "cuda": "12.10"})
    )
    (row,) = notebook.conditions(["speed"], tmp_path).itertuples()
    assert (row.python, row.torch, row.commit, row.load) == ("3.10", "2.10", commit, 2.5)
    assert notebook.benchmark("speed", tmp_path)["cuda"].tolist() == ["12.10"]


def test_a_load_without_decimals_is_written_as_the_others(tmp_path: Path) -> None:
    for name, load in (("speed", 2), ("memory", 2.25)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"load": load, "machine": "a"}))
    assert notebook.readable(notebook.conditions(["speed", "memory"], tmp_path))["load"].tolist() == ["2.00", "2.25"]


def test_a_kind_of_rows_has_its_own_columns_alone(tmp_path: Path) -> None:
    rows = [{"what": "check", "passed": True}, {"what": "speed", "compile": False, "steps": 3}]
    (tmp_path / "gpu.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (found,) = notebook.benchmark("gpu", tmp_path, what="speed").to_dict("records")
    assert found == {"compile": False, "steps": 3}
    assert len(notebook.benchmark("gpu", tmp_path)) == 2


def test_a_benchmark_that_was_not_run_says_how_to(tmp_path: Path) -> None:
    assert notebook.benchmark("memory", tmp_path).to_dict("list") == {
        "not measured yet": ["python benchmarks/memory.py records it"]
    }
    assert notebook.conditions(["memory"], tmp_path).empty


def test_a_readable_table_has_words_and_three_digits() -> None:
    table = pd.DataFrame(
        {
            "form": ["log_linear", "sigmoid"],
            "n_targets": [1_234_567, 8],
            "params_total": [10_769_408, 300],
            "flops": [5.317688e12, np.inf],
            "effect": [-0.24812, np.nan],
            "test_ndcg@5": [0.03, 0.000123456],
            "low": [-0.3, np.nan],
            "high": [-0.2, np.nan],
            "N": [1e6, 2e6],
            "N_low": [9e5, 1.0],
            "N_high": [2e6, np.inf],
            "reason": ["", ""],
        },
        index=[7, 3],
    )
    shown = notebook.readable(table, percent=["effect", "low", "high"])
    assert shown.columns.name == "form"
    assert shown.to_dict("index") == {
        "log-linear": {
            "training targets": "1,234,567", "parameters": "10.8M", "compute [FLOP]": "5.32 × 10¹²", "effect": "−24.8%",
            "test NDCG@5": "0.0300", "interval": "−30.0% to −20.0%", "N": "1M", "N, interval": "900K to 2M",
        },
        "sigmoid": {
            "training targets": "8", "parameters": "300", "compute [FLOP]": "no bound", "effect": "–",
            "test NDCG@5": "0.000123", "interval": "–", "N": "2M", "N, interval": "1 to no bound",
        },
    }  # fmt: skip


def test_words_keep_left_and_numbers_right() -> None:
    table = pd.DataFrame(
        {
            "form": ["power", "sigmoid"],
            "method": ["full", "zero_shot"],
            "effect": [-0.1, np.inf],
            "low": [0.1, 0.2],
            "high": [np.inf, 0.3],
            "at_bound": ["", "A, alpha"],
            "hours": [0.5, 2.0],
            "D": [1e3, 2e6],
            "passed": [True, False],
        }
    )
    shown = notebook.readable(table)
    classes = shown._repr_html_().partition('class="')[2].partition('"')[0].split()
    assert {shown.columns[int(name.split("-")[1]) - 2] for name in classes[1:]} == {"method", "at bound", "passed"}
    assert shown["at bound"].tolist() == ["", "A, α"]


def test_no_number_has_a_hyphen_for_a_minus() -> None:
    numbers = [-1e-9, -0.5, -3, -2e12, float("-inf"), np.nan]
    rows = pd.DataFrame({"x": range(6), "share": numbers, "n_layers": numbers, "N": numbers, "effect": numbers})
    shown = notebook.readable(rows, percent=["share", "effect"])
    assert "-" not in "".join(shown.to_numpy().ravel())
    assert shown["layers"].tolist() == ["−1.00 × 10⁻⁹", "−0.500", "−3.00", "−2.00 × 10¹²", "no bound", "–"]


def test_a_readable_pivot_table_names_both_of_its_sides() -> None:
    rows = pd.DataFrame({"n_layers": [1, 2, 2], "dropout": [0.1, 0.1, 0.25], "loss": [9.5, 9.25, 9.0]})
    shown = notebook.readable(rows.pivot_table("loss", "n_layers", "dropout"))
    assert (shown.index.name, shown.columns.name) == ("layers", "dropout")
    assert shown.to_dict("index") == {"1": {"0.1": "9.50", "0.25": "–"}, "2": {"0.1": "9.25", "0.25": "9.00"}}


def test_what_rows_share_is_said_once() -> None:
    table = pd.DataFrame({"system": ["a", "b"], "unit": ["s", "s"], "median": [1, 2]})
    said, kept = notebook.without_shared(table)
    assert said == "in every row: unit s"
    assert list(kept) == ["system", "median"]
    assert list(notebook.without_shared(table[:1])[1]) == list(table)
