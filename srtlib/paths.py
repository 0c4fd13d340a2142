"""Where things live: parameters, prepared data, runs; and folders that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs


def checkout() -> Path | None:
    """The checkout that srtlib is imported from, whatever the current directory is; None where it is installed."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "params").is_dir() else None


def project_root() -> Path:
    """The folder that holds params/ and results/: the checkout, else what an installed srtlib brings of them.

    >>> (project_root() / "params" / "S.yaml").is_file()
    True
    """
    return checkout() or Path(__file__).resolve().parent / "_shipped"


def home() -> Path:
    """The folder of prepared data and caches: the environment variable SRT_HOME, else data/ in a checkout, else the
    user's cache folder of the platform."""
    if given := os.environ.get("SRT_HOME"):
        return Path(given)
    root = checkout()
    return root / "data" if root else platformdirs.user_cache_path("srtlib", appauthor=False)


def runs_root() -> Path:
    """The default store of runs: the environment variable SRT_RUNS, else out/runs in a checkout, else ./out/runs."""
    return Path(os.environ.get("SRT_RUNS") or (checkout() or Path.cwd()) / "out" / "runs")


def dataset_folders() -> list[Path]:
    """Folders whose sub-folders are data sets known by name: SRT_DATA (if set), then home()."""
    given = os.environ.get("SRT_DATA")
    return ([Path(given)] if given else []) + [home()]


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text, in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole: aside, flushed to disk, then renamed over the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def make_folder(path: Path, fill: Callable[[Path], object]) -> Path:
    """Return `path`, made by `fill(aside)` and a rename if it was not there: never half-written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     made = make_folder(Path(tmp) / "a", lambda p: (p / "x").write_text("1"))
    ...     (made / "x").read_text()
    '1'
    """
    if path.is_dir():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        fill(aside)
        try:
            aside.rename(path)
        except OSError:
            if not path.is_dir():  # another process may have made the same folder first
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return path
