"""Models pulled by name, from the address of the released ones or from the Hugging Face hub, and pushed there.

A pulled folder appears whole or not at all, in models/ of the data home; every file is checked, none is executed.
A model's name never uses the network by itself. The hub needs the extra `hub`.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from srtlib.data.cache import sha256
from srtlib.data.download import download_file
from srtlib.model.folder import CARD, SEALED, SUMS, check_complete
from srtlib.model.released import model_folder, place_of, released_pins
from srtlib.paths import make_folder

ADDRESS = "SRT_MODELS"  # the environment variable
ON_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", flags=re.ASCII)
FILES = [CARD, SUMS, *SEALED]  # what is pulled and pushed


def pull_model(name: str, address: str | None = None) -> Path:
    """Fetch a model, whose name is then taken wherever a model's folder is; one that is here is checked and kept.

    Args:
        name: of a released model, or `org/name` of the hub.
        address: of the folder of released models, each of them in a folder below it, such as
            https://example.org/models; default: the environment variable SRT_MODELS.

    Returns:
        The model's folder.

    Raises ValueError for a name or an address that is none, for a folder that is there and differs, and for one of the
    hub that is damaged; FileNotFoundError for one of the hub that is no complete model; OSError where the net does not
    deliver what was asked for, or something else; ImportError without the extra.

    >>> pull_model("amazon-small").name
    'amazon-small'
    """
    folder = place_of(name)
    if name in released_pins():
        return _pull_released(name, folder, address or os.environ.get(ADDRESS))
    if not ON_HUB.fullmatch(name):
        known = ", ".join(released_pins())
        raise ValueError(f"{name!r} is no released model ({known}), and no name on the hub, such as org/name")
    if address:
        raise ValueError(f"{name} is on the hub; an address is that of released models")
    if not folder.is_dir():
        return _pull_from_hub(name, folder)
    check_complete(folder)
    return folder


def push_model(folder: Path | str, repository: str) -> str:
    """Put a model on the hub, in one commit; a repository that is not there yet is made, private.

    The catalogue goes with it, where the folder has one. Who may write is known from `hf auth login`, or HF_TOKEN.

    Args:
        folder: of a complete model with its card, or a name.
        repository: `org/name`.

    Returns:
        The repository's address.

    Raises FileNotFoundError for a folder that is not complete, ValueError for one that is damaged and for a name that
    is none, OSError where the hub refuses, ImportError without the extra.
    """
    folder = model_folder(folder)
    if not ON_HUB.fullmatch(repository):
        raise ValueError(f"{repository!r} is no name on the hub; expected one such as org/name")
    check_complete(folder)
    if not (folder / CARD).is_file():
        raise FileNotFoundError(f"{folder} has no {CARD}, the model card, without which nobody knows what it is")
    with _hub(repository) as hub:
        api = hub.HfApi()
        address = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=FILES,
            delete_patterns=FILES,  # of a model that was there before and had others
            commit_message="A model of srtlib",
        )
    return str(address)


def _pull_released(name: str, folder: Path, address: str | None) -> Path:
    pins = released_pins()[name]
    if folder.is_dir():
        for file, pin in pins.items():
            if not (folder / file).is_file() or sha256(folder / file) != pin.sha256:
                raise ValueError(f"{folder} is there, and its {file} is not the released one; remove the folder first")
        return folder
    if not re.match("https?://", address or ""):
        raise ValueError(f"the address of released models is {address!r}; expected --from https://... or {ADDRESS}")

    def fill(aside: Path) -> None:
        for file, pin in pins.items():
            download_file([f"{str(address).rstrip('/')}/{name}/{file}"], aside / file, pin.sha256, pin.bytes)

    return make_folder(folder, fill)


def _pull_from_hub(repository: str, folder: Path) -> Path:
    def fill(aside: Path) -> None:
        with _hub(repository) as hub:
            hub.snapshot_download(repository, local_dir=aside, allow_patterns=FILES)
        shutil.rmtree(aside / ".cache", ignore_errors=True)  # the hub's own notes
        try:
            check_complete(aside)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(str(error).replace(str(aside), f"{repository} on the hub")) from None

    return make_folder(folder, fill)


@contextmanager
def _hub(repository: str) -> Iterator[Any]:
    """The hub's library, whose errors become one line that names the repository."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(f'{error}: the hub needs the extra hub: pip install "srtlib[hub]"') from None
    try:
        yield huggingface_hub
    except Exception as error:  # they have no class in common
        raise OSError(f"{repository} on the hub: {' '.join(str(error).split())}") from None
