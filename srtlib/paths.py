"""Where things live: parameters, prepared data, runs; and folders that appear whole or not at all."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    """Folders whose sub-folders are data sets known by name: SRT_DATA (if set), home(), what ships with it."""
    given = os.environ.get("SRT_DATA")
    return [*([Path(given)] if given else []), home(), project_root() / "datasets"]


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text, in UTF-8.

    Args:
        path: of the file.
        text: all of it.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole: aside, flushed to disk, then renamed over the old one.

    Args:
        path: of the file; its folder is made if need be.
        data: all of it.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected the name of a file")
    with whole_file(path) as aside:
        aside.write_bytes(data)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place when the block ends well, and goes when it does not.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     with whole_file(Path(tmp) / "a") as aside:
    ...         written = aside.write_text("1")
    ...     (Path(tmp) / "a").read_text()
    '1'
    """
    with _aside(path, lambda aside: os.close(os.open(aside, os.O_CREAT | os.O_EXCL, 0o666))) as aside:
        yield aside
        with aside.open("rb+") as stream:
            os.fsync(stream.fileno())
        aside.replace(path)


def make_folder(path: Path, fill: Callable[[Path], object]) -> Path:
    """Return `path`, made by `fill(aside)` and a rename if it was not there: never half-written.

    Args:
        path: of the folder; those above it are made if need be, and go again where `fill` fails.
        fill: writes the content into an empty folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as tmp:
    ...     made = make_folder(Path(tmp) / "a", lambda p: (p / "x").write_text("1"))
    ...     (made / "x").read_text()
    '1'
    """
    if path.is_dir():
        return path
    with _parents_of(path), _aside(path, Path.mkdir) as aside:
        fill(aside)
        try:
            aside.rename(path)
        except OSError:
            if not path.is_dir():  # another process may have made the same folder first
                raise
    return path


@contextmanager
def _parents_of(path: Path) -> Iterator[None]:
    """The folders above `path`; those that were not there go again, if they are empty, where something fails."""
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # another process may have put something there
            for folder in made:
                folder.rmdir()
        raise


@contextmanager
def _aside(path: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """A new file or folder beside `path`, removed at the end; those that a kill left there are removed first.

    Who writes to one holds a lock on it, which ends with the process, on whatever machine it is. So nothing is removed
    that anybody still writes to; where the file system has no such locks, nothing is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    left = re.compile(rf"\.{re.escape(path.name)}\.([0-9a-f]{{8}}|[0-9]+)")
    for old in path.parent.iterdir():
        if left.fullmatch(old.name):
            with _locked(old) as is_free:
                if is_free:
                    _remove(old)
    while True:
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        make(aside)
        with _locked(aside, wait=True):
            if not aside.exists():  # another process took it for left, before it was locked
                continue
            try:
                yield aside
            finally:
                _remove(aside)
            return


@contextmanager
def _locked(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a file's or folder's lock, if it can be had (at once, or by waiting); yields whether."""
    try:
        import fcntl  # Windows has none

        handle = os.open(path, os.O_RDONLY)
    except (ImportError, OSError):
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_locked = True
    except OSError:
        is_locked = False
    try:
        yield is_locked
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
