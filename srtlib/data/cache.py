"""Folders that can be made again (cached tables, tokenizers, bags, vectors): none is trusted unhashed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from srtlib.paths import home, make_folder, write_text

MANIFEST = "sha256.json"  # in every such folder: the hash of each of its files


def cached_folder(kind: str, key: str, fill: Callable[[Path], object]) -> Path:
    """The folder <data home>/cache/<kind>/<key> with what `fill` writes into it.

    It is made where it is not there, and made again where any of its files is not what was written.

    Args:
        kind: of what is cached, a name.
        key: of what it was made from: a hash.
        fill: writes the files into an empty folder.
    """
    return made_once(home() / "cache" / kind / key, fill)


def made_once(folder: Path, fill: Callable[[Path], object]) -> Path:
    """`cached_folder` of any path.

    Args:
        folder: that is to be there.
        fill: writes the files into an empty folder, which then takes that name.

    Returns:
        The folder.
    """

    def fill_and_seal(aside: Path) -> None:
        fill(aside)
        write_text(aside / MANIFEST, json.dumps(hashes(aside)))

    if folder.is_dir() and not is_sealed(folder):
        aside = folder.with_name(f".{folder.name}.{os.getpid()}")
        with suppress(FileNotFoundError):  # another process may have seen the damage first
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    return make_folder(folder, fill_and_seal)


def is_sealed(folder: Path) -> bool:
    """Whether a folder holds exactly the files that were written into it."""
    try:
        return bool(json.loads((folder / MANIFEST).read_bytes()) == hashes(folder))
    except (OSError, ValueError, RecursionError):
        return False


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder, by name, the manifest's aside."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
