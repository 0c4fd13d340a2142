"""Notebooks as papermill runs them: a parameter that does not exist stops them before any work."""

from pathlib import Path

import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from srtlib.paths import project_root

NOTEBOOKS = sorted((project_root() / "book").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_mistyped_parameter_stops_the_notebook(path: Path, tmp_path: Path) -> None:
    with pytest.raises(PapermillExecutionError, match="unknown parameter sizee; expected one of"):
        papermill.execute_notebook(
            path, tmp_path / "out.ipynb", {"sizee": "M"}, kernel_name="python3", progress_bar=False
        )


def test_an_unknown_size_is_named(tmp_path: Path) -> None:
    path = project_root() / "book" / "scaling.ipynb"
    with pytest.raises(PapermillExecutionError, match="size 'Q' is not known; expected one of S, M, L, XL"):
        papermill.execute_notebook(
            path, tmp_path / "out.ipynb", {"size": "Q"}, kernel_name="python3", progress_bar=False
        )
