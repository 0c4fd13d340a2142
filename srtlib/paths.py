"""Where things live: the project's root, the folder of prepared data, and folders that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def project_root() -> Path:
    """The checkout that holds srtlib and params/, whatever the current directory is.

    >>> (project_root() / "srtlib").is_dir()
    True
    """
    return Path(__file__).resolve().parent.parent


def home() -> Path:
    """The folder of prepared data and caches: the environment variable SRT_HOME, else data/ at the root."""
    return Path(os.environ.get("SRT_HOME") or project_root() / "data")


def runs_root() -> Path:
    """The default store of runs, out/runs at the root."""
    return project_root() / "out" / "runs"


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
