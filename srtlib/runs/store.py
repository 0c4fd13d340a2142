"""The store of runs: a folder in which every run is a directory named after the hash of its configuration.

::

    <root>/<run_id>/config.json     the whole configuration; the same configuration is the same run
                    metrics.jsonl   one JSON object per logged row, appended and synced
                    summary.json    written once, when the run finished or failed; with the SHA-256 of all three

>>> import tempfile
>>> config = {"dataset": {"name": "tiny"}, "model": {"d_model": 8}, "train": {"epochs": 1}, "seed": 0}
>>> root = Path(tempfile.mkdtemp())
>>> with Run.open(root, config) as run:
...     run.log({"step": 10, "epoch": 1, "valid_ndcg@5": 0.02})
...     run.finish({"valid": {"ndcg@5": 0.02}, "params": {"total": 96}})
>>> finished(root) == {run_id(config)}
True
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from filelock import FileLock, Timeout

from srtlib.paths import write_text

FILES = ("config.json", "metrics.jsonl")


class RunLockedError(RuntimeError):
    """Another process has the run open."""


def run_id(config: dict[str, Any]) -> str:
    """Identity of a configuration: 12 hex digits of the SHA-256 of its canonical JSON (sorted keys).

    >>> run_id({"a": 1, "b": 2}) == run_id({"b": 2, "a": 1})
    True
    """
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class Run:
    """One training run in a store, open for writing under an exclusive lock. Use `Run.open`."""

    def __init__(self, path: Path, config: dict[str, Any], lock: FileLock) -> None:
        self.path = path
        self.id = path.name
        self.config = config
        self._lock = lock

    @classmethod
    def open(cls, root: Path | str, config: dict[str, Any], wait: bool = False) -> Run:
        """Create the run of `config` in the store `root`, or reopen it.

        Args:
            root: the store's folder, made if it is not there.
            config: the whole configuration of the run.
            wait: if another process has the run open, say so and wait until it has not.

        Raises RunLockedError if it is open already: in this process, or in another that is not waited for.
        """
        path = Path(root) / run_id(config)
        path.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
        if lock.is_locked:
            raise RunLockedError(f"run {path} is open in this process already; close it first")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise RunLockedError(f"run {path} is open in another process; wait for it or end it") from None
            warnings.warn(f"run {path} is open in another process; waiting for it", stacklevel=2)
            lock.acquire(poll_interval=0.2)
        if not (path / "config.json").exists():
            write_text(path / "config.json", json.dumps(config, indent=2, sort_keys=True, allow_nan=False))
        return cls(path, config, lock)

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` or `fail` recorded; empty before."""
        return read_summary(self.path)

    @property
    def status(self) -> str:
        """One of "new" (nothing logged), "running" (rows, no summary yet), "finished" and "failed"."""
        return self.summary.get("status") or ("running" if self._metrics.exists() else "new")

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def rows(self) -> list[dict[str, Any]]:
        """The logged rows in order. A last line that a kill cut short is left out."""
        return read_rows(self.path)

    def log(self, row: dict[str, Any]) -> None:
        """Append one row (numbers, strings; numpy and torch scalars too) and bring it to the disk.

        A failed run that logs again is running again; a finished run raises RuntimeError.
        """
        line = _dumps(row) + "\n"
        self._reopen()
        with self._metrics.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size and not _ends_with_newline(file, size):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def truncate(self, step: int) -> None:
        """Drop the rows after `step`: training goes on from an older checkpoint."""
        kept = [row for row in self.rows() if row["step"] <= step]
        self._reopen()
        write_text(self._metrics, "".join(_dumps(row) + "\n" for row in kept))

    def finish(self, summary: dict[str, Any]) -> None:
        """Record the outcome; the run counts as finished from here on."""
        plain = json.loads(_dumps({**summary, "status": "finished"}))
        whole = plain | {"sha256": _digests(self.path, plain)}
        write_text(self.path / "summary.json", _dumps(whole, indent=2))

    def fail(self, error: str) -> None:
        """Record why the run ended (the text of the traceback); it may be opened and continued later."""
        write_text(self.path / "summary.json", _dumps({"status": "failed", "error": error}, indent=2))

    def _reopen(self) -> None:
        if self.status == "finished":
            raise RuntimeError(f"run {self.path} is finished; its metrics cannot change any more")
        (self.path / "summary.json").unlink(missing_ok=True)


def is_open(path: Path) -> bool:
    """Whether some process has the run in the folder `path` open."""
    if not path.is_dir():
        return False
    lock = _lock(path)
    try:
        with lock.acquire(timeout=0):
            return lock.lock_counter > 1
    except Timeout:
        return True


def _lock(path: Path) -> FileLock:
    """The run's lock, one object in a process."""
    return FileLock(path.resolve() / ".lock", timeout=-1, thread_local=False, is_singleton=True)


def finished(root: Path | str) -> set[str]:
    """Ids of the finished runs of a store (of none, if the folder is not there yet); damaged ones do not count."""
    return {run.id for run in finished_runs(Path(root))}


class Recorded(NamedTuple):
    """What a finished run left on disk."""

    id: str
    config: dict[str, Any]
    summary: dict[str, Any]
    rows: list[dict[str, Any]]


def finished_runs(root: Path) -> Iterator[Recorded]:
    """The finished runs of a store. One whose files are damaged is named in a warning and left out."""
    for config in sorted(root.glob("*/config.json")):
        try:
            if read_summary(config.parent).get("status") == "finished":
                yield _read(config.parent)
        except (ValueError, OSError) as error:
            warnings.warn(f"a damaged run is left out: {error}; delete its folder to run it again", stacklevel=2)


def _read(path: Path) -> Recorded:
    config, summary, rows = _json_object(path / "config.json"), read_summary(path), read_rows(path)
    parts = (
        (config, "config.json", ("dataset", "model", "train", "transfer", "panel")),
        (summary, "summary.json", ("params",)),
    )
    for values, name, sections in parts:
        for section in sections:
            if not isinstance(values.get(section, {}), dict):
                raise ValueError(f"{path / name}: {section} is no JSON object")
    return Recorded(path.name, config, summary, rows)


def read_summary(path: Path) -> dict[str, Any]:
    """The summary of the run in the folder `path`; empty while it has none.

    Raises ValueError where it is damaged, or where it says that the run's other files were others when it was written.
    """
    if not (path / "summary.json").exists():
        return {}
    summary = _json_object(path / "summary.json")
    if not isinstance(summary.get("status"), str):
        raise ValueError(f"{path / 'summary.json'} has no status: expected what `Run.finish` or `Run.fail` wrote")
    recorded = summary.pop("sha256", None)
    if recorded is not None:
        for name, digest in _digests(path, summary).items():
            if not isinstance(recorded, dict) or recorded.get(name) != digest:
                raise ValueError(f"{path / name} is not what it was when the run ended (its SHA-256 differs)")
    return summary


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The logged rows of the run in the folder `path`; a last line that a kill cut short is left out.

    Raises ValueError that names the line that is no JSON object.
    """
    file = path / "metrics.jsonl"
    if not file.exists():
        return []
    data = file.read_bytes()
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    return [_object(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]


def _digests(path: Path, summary: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of a run's files; of the summary, without itself."""
    files = {name: (path / name).read_bytes() if (path / name).exists() else b"" for name in FILES}
    files["summary.json"] = json.dumps(summary, sort_keys=True).encode()
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _json_object(path: Path) -> dict[str, Any]:
    return _object(path.read_bytes(), str(path))


def _object(data: bytes, place: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):  # of text that is no JSON, or no UTF-8
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{place} is {'no' if data else 'empty, expected a'} JSON object")
    return value


def _ends_with_newline(file: Any, size: int) -> bool:
    file.seek(size - 1)
    return file.read(1) == b"\n"


def _dumps(value: dict[str, Any], indent: int | None = None) -> str:
    """JSON in which numpy's and torch's scalars are plain numbers."""
    return json.dumps(value, indent=indent, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"cannot record {value!r} in a run: expected numbers, text, lists and dicts of these")
