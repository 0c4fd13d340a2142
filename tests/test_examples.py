"""The examples that CONTRIBUTING.md and the book show work as they stand: each is run as a user would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.py"))
LONGEST = 40  # lines, blank ones and imports too


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Raw files of the example of a data source."""
    watched = [f"{user},{(user + i) % 9},4.0,{i}" for user in range(12) for i in range(5)]
    (tmp_path / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *watched]))
    movies = [f"{movie},Film {movie} (1999),Drama|War" for movie in range(9)]
    (tmp_path / "movies.csv").write_text("\n".join(["movieId,title,genres", *movies]))
    return tmp_path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_is_short(path: Path, raw: Path, tmp_path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST
    known = {**os.environ, "SRT_HOME": str(tmp_path / "home"), "SRT_RUNS": str(tmp_path / "runs")}
    arguments = [str(raw)] if path.stem == "data_source" else []
    done = subprocess.run([sys.executable, str(path), *arguments], env=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
