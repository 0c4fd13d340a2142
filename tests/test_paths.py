"""Where things live, in a checkout and where srtlib is installed."""

from pathlib import Path

import platformdirs
import pytest

from srtlib import paths


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory, and none of the environment variables."""
    for name in ("SRT_HOME", "SRT_RUNS", "SRT_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_in_a_checkout_everything_is_at_its_root(bare: Path) -> None:
    root = Path(__file__).parent.parent
    assert paths.project_root() == paths.checkout() == root
    assert (paths.home(), paths.runs_root()) == (root / "data", root / "out" / "runs")


def test_where_it_is_installed(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "__file__", str(bare / "site-packages" / "srtlib" / "paths.py"))
    assert paths.checkout() is None
    assert paths.project_root() == bare / "site-packages" / "srtlib" / "_shipped"
    assert paths.home() == Path(platformdirs.user_cache_dir("srtlib", appauthor=False))
    assert paths.runs_root() == bare / "out" / "runs"
    assert paths.dataset_folders() == [paths.home(), paths.project_root() / "datasets"]


def test_variables_of_the_environment_override(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SRT_HOME", "SRT_RUNS", "SRT_DATA"):
        monkeypatch.setenv(name, str(bare / name))
    assert (paths.home(), paths.runs_root()) == (bare / "SRT_HOME", bare / "SRT_RUNS")
    assert paths.dataset_folders()[:2] == [bare / "SRT_DATA", bare / "SRT_HOME"]


def test_what_fails_leaves_no_folder_that_it_made(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()

    def fail(aside: Path) -> None:
        (aside / "half").write_text("")
        raise OSError("the net is gone")

    for place in (tmp_path / "a" / "b" / "c", tmp_path / "kept" / "d" / "e", tmp_path / "kept" / "f"):
        with pytest.raises(OSError, match="the net is gone"):
            paths.make_folder(place, fail)
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]
    assert paths.make_folder(tmp_path / "a" / "b", lambda _: None).is_dir()
