"""What `pytest --nbval` is worth: a notebook that is fed wrong numbers fails, without an error being raised."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from srtlib.paths import project_root

ROOT = project_root()
HALVED = """
from srtlib.runs import effects
original = effects.effects_of_variations
def halved(*args, **kwargs):
    found = original(*args, **kwargs)
    return found.assign(effect=found["effect"] / 2)
effects.effects_of_variations = halved
"""


def ignored(cell: nbformat.NotebookNode) -> bool:
    return "nbval-ignore-output" in cell.metadata.get("tags", [])


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """The page on the recipe, with what is stored of it, up to the first table that is compared."""
    whole = nbformat.read(ROOT / "book" / "recipe.ipynb", as_version=4)
    compared = (
        i for i, cell in enumerate(whole.cells) if "text/html" in str(cell.get("outputs")) and not ignored(cell)
    )
    whole.cells = whole.cells[: next(compared) + 1]
    nbformat.write(whole, tmp_path / "recipe.ipynb")
    return tmp_path / "recipe.ipynb"


@pytest.mark.parametrize(("at_start", "failed"), [("", 0), (HALVED, 1)], ids=["as it is", "halved"])
def test_a_function_that_returns_other_numbers_fails_the_notebook(
    at_start: str, failed: int, notebook: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(at_start)  # Python imports it first, in the notebook's kernel too
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", str(ROOT))])
    rules = f"--nbval-sanitize-with={ROOT / 'tests' / 'notebooks' / 'nbval.cfg'}"  # conftest.py is of another folder
    command = [sys.executable, "-m", "pytest", "--nbval", rules, str(notebook), "-c", str(ROOT / "pyproject.toml")]
    known = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True)
    assert sum(map(int, re.findall(r"(\d+) failed", done.stdout))) == failed, done.stdout
    assert done.returncode == min(failed, 1), done.stdout + done.stderr
