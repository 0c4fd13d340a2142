"""The folder of a model: all saving and loading.

    config.json         format, parameters, the tokenizer's SHA-256, and what the model was trained on
    model.safetensors   weights, with their SHA-256 and that of config.json in the header
    tokenizer.json      where the item encoder needs one
    items.parquet       item_id, title, brand, categories, count, and vector where items have one
    README.md           the model card
    SHA256SUMS          of all these but the card, once the folder is complete (`sha256sum -c` reads it)
    search/             vectors of a large catalogue and the index over them (`srtlib.serving.vectors`); may be deleted

Runs of a store that have the same catalogue share one file of it, by hard links. The folder is complete by itself:
copied to another machine, it recommends. Nothing in it is executed, and every file is checked when it is read. A folder
written before there were checksums loads too.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from tokenizers import Tokenizer
from torch import Tensor

from srtlib.data.dataset import Dataset
from srtlib.data.text import read_tokenizer
from srtlib.model.card import card_text
from srtlib.model.encoders import encoder_class
from srtlib.model.memory import pick_device
from srtlib.model.origin import Origin
from srtlib.model.released import CONFIG, WEIGHTS, model_folder, released_names
from srtlib.model.srt import SRT, NonFiniteError
from srtlib.params import ModelParams, parse
from srtlib.paths import whole_file, write_bytes, write_text

FORMAT = "srtlib-1"  # another one is refused
TOKENIZER, ITEMS = "tokenizer.json", "items.parquet"
CARD, SUMS = "README.md", "SHA256SUMS"
SEALED = CONFIG, ITEMS, WEIGHTS, TOKENIZER  # what there are checksums of
SEARCH = "search"


# ---- the model ------------------------------------------------------------------------------------------------------


def save_model(model: SRT, folder: Path) -> None:
    """Write configuration, weights and tokenizer, each whole or not at all. The folder is complete once it has its
    items (`write_items`).

    Args:
        model: with its origin, if that is known.
        folder: made if need be.
    """
    _reopen(folder)
    config: dict[str, object] = {"format": FORMAT, "model": model.params.model_dump()}
    if model.origin is not None:
        config["origin"] = model.origin.model_dump()
    if model.tokenizer is not None:
        text = model.tokenizer.to_str()
        write_text(folder / TOKENIZER, text)
        config["tokenizer_sha256"] = _sha256(text.encode())
    text = json.dumps(config, indent=2)
    write_text(folder / CONFIG, text)
    weights = {name: p.detach().cpu().contiguous() for name, p in model.state_dict().items()}
    header = {"sha256": weights_sha256(weights), "config_sha256": _sha256(text.encode())}
    write_bytes(folder / WEIGHTS, _ordered(save(weights, metadata=header)))


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> SRT:
    """Load what `save_model` wrote.

    Args:
        folder: of the model, or the name of a released one.
        device: where the model is wanted.

    Raises FileNotFoundError for a missing file, and ValueError, naming the file, for another format, for a tokenizer
    that is not the one the model was trained with, and for what is damaged; NonFiniteError for weights that are NaN or
    infinite.
    """
    device, folder = pick_device(device), model_folder(folder)
    if not (folder / CONFIG).is_file():
        known = ", ".join(released_names())
        raise FileNotFoundError(
            f"{folder} is not a model folder: no {CONFIG} (known by name: {known}; others: srt models pull NAME)"
        )
    data = _read(folder, CONFIG)
    config = _parse_config(folder / CONFIG, data)
    params = parse(ModelParams, config["model"], str(folder / CONFIG))
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder} has no {WEIGHTS}: no weights were saved")
    weights = _read_weights(folder, data)
    # Blocks are made one by one, so their number is looked at first.
    n_blocks = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    if n_blocks != params.n_layers:
        raise ValueError(f"{folder / CONFIG} says n_layers={params.n_layers}; {WEIGHTS} has {n_blocks} of them")
    try:
        needs_tokenizer = "tokenizer" in encoder_class(params).needs
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: {error}") from None
    tokenizer = _read_tokenizer(folder, config.get("tokenizer_sha256")) if needs_tokenizer else None
    try:
        with torch.device("meta"):  # no weights to draw: the file has them
            model = SRT(params, tokenizer)
        model.load_state_dict(weights, assign=True)
    except Exception as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[:2])
        raise ValueError(f"{folder / WEIGHTS} does not hold this model's weights: {reason}") from None
    if not all(torch.isfinite(weight).all() for weight in weights.values()):
        raise NonFiniteError(f"{folder / WEIGHTS}: {model.cause_of_non_finite()}")
    model.folder = folder
    if "origin" in config:
        model.origin = parse(Origin, config["origin"], f"{folder / CONFIG}: origin")
    return model.to(device).eval()


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _ordered(data: bytes) -> bytes:
    """Safetensors whose metadata stand in order: the library writes them in any, so that equal weights would differ in
    their file."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def _parse_config(path: Path, data: bytes) -> dict[str, Any]:
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT or "model" not in config:
        inside = path.parent / "model"
        hint = f"; the model of this run is {inside}" if (inside / CONFIG).is_file() else ""
        raise ValueError(f"{path}: format {found!r}; expected {FORMAT!r}{hint}")
    return config


def _read_weights(folder: Path, config: bytes) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    complete = (folder / SUMS).is_file()
    if complete:
        _check(folder, WEIGHTS, _file_sha256(path))
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} does not hold this model's weights: {error}") from None
    if not complete and header.get("sha256", (found := weights_sha256(weights))) != found:
        raise ValueError(f"{path} does not hold this model's weights: its values do not match their SHA-256")
    if header.get("config_sha256", (found := _sha256(config))) != found:
        raise ValueError(f"{folder / CONFIG} is not the one that {WEIGHTS} was written with: its SHA-256 differs")
    return weights


def _read_tokenizer(folder: Path, expected: object) -> Tokenizer:
    path = folder / TOKENIZER
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {TOKENIZER}, which this model reads text with")
    data = _read(folder, TOKENIZER)
    if expected is not None and _sha256(data) != expected:
        raise ValueError(f"{path} is not the tokenizer that this model was trained with: its SHA-256 differs")
    return read_tokenizer(data, str(path))


# ---- what stands beside it ------------------------------------------------------------------------------------------


def items_table(catalogue: Dataset, trained_on: Dataset) -> pd.DataFrame:
    """The items of a data set as a model folder holds them, in its order.

    Args:
        catalogue: whose items are offered.
        trained_on: whose training part says how often each was taken (`count`, 0 where it is not among them).

    Returns item_id, title, brand, categories, count, and vector where the catalogue has fixed vectors.
    """
    counts = pd.Series(trained_on.train_counts, index=trained_on.catalogue["item_id"])
    table = catalogue.catalogue.copy()
    table["count"] = counts.reindex(table["item_id"], fill_value=0).to_numpy()
    if catalogue.vectors is not None:
        table["vector"] = list(catalogue.vectors)
    return table


def write_items(folder: Path, items: pd.DataFrame, shared: Path | None = None) -> None:
    """Write the catalogue, whole or not at all, and then the checksums: the folder is complete.

    Args:
        folder: of a model that is saved there.
        items: as from `items_table`.
        shared: a folder beside those of several models, which then share one file where they have the same catalogue.
    """
    _reopen(folder)
    with whole_file(folder / ITEMS) as aside:
        items.to_parquet(aside, index=False, compression="zstd")
    if shared is not None:
        _share(folder / ITEMS, shared)
    seal(folder)


def seal(folder: Path) -> None:
    """Write the checksums of what a folder holds: it is complete.

    Args:
        folder: of a model that is saved there, with its items unless it is to be released without.
    """
    names = [name for name in SEALED if (folder / name).is_file()]
    write_text(folder / SUMS, "".join(f"{_file_sha256(folder / name)}  {name}\n" for name in names))


def read_items(folder: Path) -> pd.DataFrame:
    """The catalogue of a model folder; FileNotFoundError where it has none, ValueError where it is damaged."""
    path = folder / ITEMS
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {ITEMS}: its training did not finish, or it came without; give the items as a table"
        )
    _check(folder, ITEMS, _file_sha256(path))
    try:
        return pd.read_parquet(path)
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None


def _reopen(folder: Path) -> None:
    """The folder is not complete any more, and what was made of its catalogue is out of date."""
    (folder / SUMS).unlink(missing_ok=True)
    shutil.rmtree(folder / SEARCH, ignore_errors=True)


def _share(path: Path, shared: Path) -> None:
    """One file on disk for all that hold the same bytes: hard links to <shared>/<SHA-256>.

    Where the file system has no links, each keeps its own. What no other folder links to any more is removed.
    """
    digest = _file_sha256(path)
    one = shared / f"{digest}{path.suffix}"
    is_there = one.is_file() and _file_sha256(one) == digest
    source, link = (one, path) if is_there else (path, one)
    aside = link.with_name(f".{link.name}.{os.getpid()}")
    with suppress(OSError):
        shared.mkdir(exist_ok=True)
        os.link(source, aside)
        aside.replace(link)
        for other in shared.glob(f"{'[0-9a-f]' * 64}{path.suffix}"):  # a user may keep files of their own there
            if other.stat().st_nlink == 1:
                other.unlink()


def write_card(folder: Path, config: Mapping[str, Any], summary: Mapping[str, Any], name: str = "") -> None:
    """Write README.md, the model card.

    Args:
        folder: of the model.
        config: of the run that trained the model (`srtlib.training.identity.config_of`).
        summary: of the run's outcome (columns: see `srtlib.runs`).
        name: of a released model, which comes without a catalogue.
    """
    write_text(folder / CARD, card_text(config, summary, name))


# ---- checksums ------------------------------------------------------------------------------------------------------


def _read(folder: Path, name: str) -> bytes:
    data = (folder / name).read_bytes()
    _check(folder, name, _sha256(data))
    return data


def check_complete(folder: Path) -> None:
    """Look at every file of a folder that comes from elsewhere or is passed on.

    Raises FileNotFoundError for what is missing, ValueError for what is damaged.
    """
    sums = _sums(folder) if (folder / SUMS).is_file() else {}
    if missing := [name for name in (SUMS, CONFIG, WEIGHTS, *sums) if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} is not a complete model folder: no {missing[0]}")
    for name in SEALED:
        if (folder / name).is_file():
            _check(folder, name, _file_sha256(folder / name))


def _check(folder: Path, name: str, found: str) -> None:
    """Raise ValueError where a complete folder's checksums say otherwise."""
    path = folder / SUMS
    if not path.is_file():
        return
    sums = _sums(folder)
    if name not in sums:
        raise ValueError(f"{path} does not name {name}: it is damaged")
    if sums[name] != found:
        raise ValueError(f"{folder / name} is damaged: its SHA-256 is not the one in {SUMS}")


def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, by name."""
    path = folder / SUMS
    *lines, rest = path.read_bytes().decode(errors="replace").split("\n")
    if rest:
        raise ValueError(f"{path} is cut short: it ends in {rest[:80]!r}, not in a whole line")
    sums = {}
    for number, line in enumerate(lines, 1):
        digest, two_spaces, listed = line.partition("  ")
        if not two_spaces or len(digest) != 64:
            raise ValueError(f"{path}, line {number}: {line[:80]!r}; expected a SHA-256, two spaces and a file's name")
        sums[listed] = digest
    return sums


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
