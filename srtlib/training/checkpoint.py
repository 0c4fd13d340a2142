"""Checkpoints of a training in progress: written whole or not at all, checked on reading, no pickle.

A checkpoint is a folder step-<number> with tensors.safetensors (weights and optimiser state) and state.json
(everything else, the configuration's hash, and the SHA-256 of the tensors and of itself). The last two are kept.
"""

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from srtlib.paths import make_folder, write_bytes, write_text

KEEP = 2


def save_checkpoint(
    folder: Path, config: str, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> Path:
    """Write folder/step-<state's step>, then drop all but the last `KEEP` checkpoints.

    Args:
        folder: of the run's checkpoints.
        config: hash of what is being trained (the run's identity).
        model: whose weights are kept.
        optimizer: whose state is kept.
        state: everything else that is to be kept, as JSON holds it; `step` among it.

    Returns:
        The checkpoint's folder.
    """
    tensors = {f"model.{name}": t for name, t in model.state_dict().items()}
    for i, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": t for name, t in slots.items()}
    data = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    record = {**state, "config": config, "sha256": hashlib.sha256(data).hexdigest()}

    def fill(aside: Path) -> None:
        write_bytes(aside / "tensors.safetensors", data)
        write_text(aside / "state.json", json.dumps({**record, "state_sha256": _sha256(record)}))

    path = make_folder(folder / f"step-{state['step']:09d}", fill)
    for old in _existing(folder)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def load_checkpoint(
    folder: Path, config: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Put the newest sound checkpoint into model and optimiser.

    A damaged one is named in a warning, removed, and the one before it is used; without one the training starts over.

    Args:
        folder: of the run's checkpoints.
        config: hash of what is being trained.
        model: takes the weights.
        optimizer: takes its state.

    Returns:
        The state that was saved, or None if there is no checkpoint.

    Raises ValueError for a checkpoint of another configuration than `config`.
    """
    for path in _existing(folder):
        try:
            state, tensors = _read(path)
        except (OSError, ValueError) as error:
            warnings.warn(
                f"checkpoint {path} is damaged ({error}) and is removed; training goes on from the one before it, or "
                "starts over without one",
                stacklevel=2,
            )
            _remove(path)
            continue
        if state.get("config") != config:
            raise ValueError(
                f"checkpoint {path} is of configuration {state.get('config')}; expected {config}: "
                "remove it, or train what it is of"
            )
        model.load_state_dict(_part(tensors, "model."))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(tensors, "optimizer.").items():
            index, slot = name.split(".", 1)
            slots.setdefault(int(index), {})[slot] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        return state
    return None


def remove_checkpoints(folder: Path) -> None:
    """Remove them all: the run is finished."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed writes have left in the folder of a run whose lock is held: files and folders that were
    written aside (`srtlib.paths`)."""
    for path in [*folder.glob(".*.*"), *folder.glob("*/.*.*")]:
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _existing(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """State and tensors; OSError or ValueError where anything is missing or not as it was written."""
    try:
        state = json.loads((path / "state.json").read_bytes())
    except ValueError as error:
        raise ValueError(f"state.json is not valid JSON: {error}") from None
    if not isinstance(state, dict) or state.pop("state_sha256", None) != _sha256(state):
        raise ValueError("state.json does not match its SHA-256")
    data = (path / "tensors.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != state["sha256"]:
        raise ValueError("tensors.safetensors does not match its SHA-256")
    return state, load(data)


def _sha256(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
