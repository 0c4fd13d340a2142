"""Notebooks as papermill runs them: a parameter that is wrong stops them before any work."""

from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from srtlib.paths import project_root

BOOK = project_root() / "book"


def begin(path: Path, given: dict[str, Any]) -> None:
    """Run the parameters, those that are given, and the cell that follows, as papermill would, without a kernel."""
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    (place,) = [i for i, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", [])]
    namespace: dict[str, Any] = {}
    exec(code[place].source, namespace)
    namespace.update(given)
    with pd.option_context("display.float_format", None):  # some set it
        exec(code[place + 1].source, namespace)


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_mistyped_parameter_stops_the_notebook_at_its_first_cell(path: Path) -> None:
    begin(path, {})
    with pytest.raises(ValueError, match="unknown parameter sizee; expected one of"):
        begin(path, {"sizee": "M"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sizee": "M"}, "unknown parameter sizee; expected one of"),
        ({"size": "Q"}, "size 'Q' is not known; expected one of S, M, L, XL"),
    ],
)
def test_papermill_shows_the_one_line(given: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(PapermillExecutionError, match=message):
        papermill.execute_notebook(
            BOOK / "scaling.ipynb", tmp_path / "out.ipynb", given, kernel_name="python3", progress_bar=False
        )
