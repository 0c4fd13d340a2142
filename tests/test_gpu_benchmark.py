"""benchmarks/gpu.py must run where there is little: it is carried to machines with a GPU."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from srtlib import runs
from srtlib.paths import project_root

A_STEP = """
import gpu, torch
step = gpu.Step(gpu.Data(1000), torch.device("cpu"), 16)
epoch = step.sequences.epoch("all", 512, torch.Generator().manual_seed(0))
print(f"batch {gpu.Settings().batch}, FLOPs of a step:", step.run(epoch.batch(0)))
"""
SCRIPT = project_root() / "benchmarks" / "gpu.py"


def closure(names: list[str]) -> set[str]:
    """Distributions that `names` need, themselves included."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        wanted = map(Requirement, importlib.metadata.requires(name) or [])
        todo += [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def test_it_needs_torch_numpy_and_little_more(tmp_path: Path) -> None:
    """With a folder of links to what it says it needs and what that needs, and nothing else on the path."""
    for name in closure(["torch", "numpy", "lazy-loader", "platformdirs"]):
        for file in importlib.metadata.files(name) or []:
            top = file.parts[0]
            source = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            if top not in ("..", "__pycache__") and not (tmp_path / top).exists():
                (tmp_path / top).symlink_to(source)
    assert not (tmp_path / "pydantic").exists()
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(SCRIPT.parent)!r}]\n{A_STEP}"
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("batch 16384, FLOPs of a step: ")
    assert int(done.stdout.split()[-1]) > 1e6


@pytest.mark.skipif(
    not (Path(os.environ.get("SRT_DATA", "")) / "published_runs" / "mlruns.sqlite.bz2").is_file(),
    reason="SRT_DATA has no published_runs/mlruns.sqlite.bz2",
)
def test_its_grid_is_the_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    gpu = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu", gpu)
    spec.loader.exec_module(gpu)
    table = runs.table("published")
    assert len(table) == 119
    assert set(table["epochs"]) == {gpu.EPOCHS}
    assert table.groupby(["d_model", "n_layers"])["n_targets"].sum().to_dict() == gpu.GRID
