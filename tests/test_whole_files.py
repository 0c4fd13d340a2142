"""Files and folders appear whole or not at all, are anybody's whom the umask lets, and leave nothing behind."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from srtlib.paths import make_folder, whole_file, write_bytes, write_text

WRITER = """
import sys
from pathlib import Path
from srtlib.paths import make_folder, whole_file

def wait(aside):
    (aside / "half").write_text("half") if aside.is_dir() else aside.write_text("half")
    print("inside", flush=True)
    sys.stdin.readline()

kind, path = sys.argv[1], Path(sys.argv[2])
if kind == "folder":
    make_folder(path, wait)
else:
    with whole_file(path) as aside:
        wait(aside)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def writer(kind: str, path: Path, started: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """A process in the middle of writing."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", WRITER, kind, str(path)], stdin=pipe, stdout=pipe, text=True)
    started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    return process


def write(kind: str, path: Path) -> None:
    if kind == "folder":
        make_folder(path, lambda aside: (aside / "whole").write_text("whole"))
    else:
        write_text(path, "whole")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_kill_left_is_swept_up_when_it_is_written_next(
    kind: str, tmp_path: Path, start: list[subprocess.Popen[str]]
) -> None:
    path = tmp_path / "it's[1].json"
    killed = writer(kind, path, start)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list(tmp_path.iterdir())) == 1
    write(kind, path)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_another_process_is_writing_stays(kind: str, tmp_path: Path, start: list[subprocess.Popen[str]]) -> None:
    path = tmp_path / "one"
    other = writer(kind, path, start)
    (half,) = tmp_path.iterdir()
    write(kind, path)
    assert {found.name for found in tmp_path.iterdir()} == {half.name, "one"}
    other.communicate("go on\n")
    assert other.returncode == 0
    assert [found.name for found in tmp_path.iterdir()] == ["one"]
    if kind == "file":
        assert path.read_text() == "half"  # the last one wins
    else:
        assert (path / "whole").is_file()  # the first one wins


def test_only_what_was_left_of_this_very_name_is_swept_up(tmp_path: Path) -> None:
    others = [".a.lock", ".a.json.12345678", ".ab.12345678", "a.12345678", ".a.part", ".a", ".a.b.c"]
    for name in others:
        (tmp_path / name).write_text("another's")
    (tmp_path / ".a.4711").write_text("left by an older version")
    write_text(tmp_path / "a", "1")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "a"])


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_what_is_written_follows_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        make_folder(tmp_path / "folder", lambda aside: write_bytes(aside / "file", b"1"))
        write_bytes(tmp_path / "file", b"1")
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        tmp_path / "folder": 0o777 & ~umask,
        tmp_path / "folder" / "file": 0o666 & ~umask,
        tmp_path / "file": 0o666 & ~umask,
    }


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_one_and_nothing_else(error: type[BaseException], tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")

    def fail(aside: Path) -> None:
        (aside / "half").write_text("half")
        raise error

    def overwrite() -> None:
        with whole_file(tmp_path / "file") as aside:
            aside.write_text("half")
            raise error

    with pytest.raises(error):
        overwrite()
    with pytest.raises(error):
        make_folder(tmp_path / "folder", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_is_not_overwritten_by_a_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=f"^{tmp_path} is a folder; expected the name of a file$"):
        write_text(tmp_path, "text")
    assert not list(tmp_path.iterdir())
