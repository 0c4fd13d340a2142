"""The planner page's laws: its script is what the recorded runs give today, and a file of one's own holds as much."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from srtlib.laws import pages
from srtlib.laws.machines import MACHINES, UTILISATION
from srtlib.laws.planner import Planner
from srtlib.paths import project_root

ROOT = project_root()


def script(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("window.PLANNER = ")
    return json.loads(text.removeprefix("window.PLANNER = ").rstrip(";\n"))


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key, part in value.items() for leaf in (key, *leaves(part))]
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]


def test_the_page_shows_the_laws_of_the_recorded_runs(tmp_path: Path) -> None:
    """Otherwise: make planner. Resamples may differ in the sixth digit where another processor fitted them."""
    runpy.run_path(str(ROOT / "book" / "_ext" / "planner.py"))["write"](tmp_path / "data.js")
    now, stored = (leaves(script(path)) for path in (tmp_path / "data.js", ROOT / "book/_static/planner/data.js"))
    assert [v for v in now if not isinstance(v, float)] == [v for v in stored if not isinstance(v, float)]
    numbers = [np.array([v for v in values if isinstance(v, float)]) for values in (now, stored)]
    np.testing.assert_allclose(*numbers, rtol=1e-4, err_msg="book/_static/planner/data.js is stale: make planner")


def test_the_page_shows_the_study_of_the_pool_first() -> None:
    first, *others = script(ROOT / "book/_static/planner/data.js")["models"]
    assert first["runs"] == 56
    assert first["items"] == 187_538
    assert [model["runs"] for model in others] == [16, 119, 119]
    assert others[-1]["compute"]["samples"] == []  # published laws have no intervals


def test_a_file_of_laws_holds_every_resample(curves: pd.DataFrame, finished: pd.DataFrame, tmp_path: Path) -> None:
    planner = Planner.fit(finished, curves, n_resamples=7)
    pages.write_laws(tmp_path / "laws.json", planner, "ours")
    found = json.loads((tmp_path / "laws.json").read_text())
    assert found["format"] == pages.FORMAT
    assert found["name"] == "ours"
    assert found["compute"]["params"] == planner.by_compute.law.params
    np.testing.assert_allclose(found["data"]["samples"], planner.by_data.law.samples, rtol=1e-8)
    np.testing.assert_allclose(found["unique"]["samples"], planner.by_compute.unique.samples, rtol=1e-8)


def test_utilisation_is_what_was_measured() -> None:
    runs = pd.read_csv(ROOT / "results/pool/runs.csv")
    wide = runs[
        (runs["d_model"] == 256) & runs["device"].str.contains("H100") & runs["grid"].isin(["scaling", "corners"])
    ]
    share = (wide["flops"] / wide["wall_s"]).median() / MACHINES["H100"].peak
    assert share == pytest.approx(MACHINES["H100"].utilisation, rel=0.1)
    lines = (ROOT / "benchmarks/results/throughput.jsonl").read_text().splitlines()
    step = next(row for row in map(json.loads, lines) if row["d_model"] == 128 and row["n_layers"] == 2)
    rate = step["flops_per_step"] * step["median"] / step["targets_per_step"]
    core = MACHINES["CPU core"]
    assert step["matmul_flops_per_s"] == pytest.approx(core.peak, rel=0.01)
    assert rate / step["matmul_flops_per_s"] == pytest.approx(core.utilisation, rel=0.02)
    assert set(UTILISATION) == set(MACHINES)
