"""Models by name: released ones, which come with srtlib or are pulled, and those that were pulled from a hub.

Each is a model folder (`srtlib.model.folder`), a released one without a catalogue. Those that come along lie in
models/ of the project, those that were pulled (`srtlib.model.sharing`) in models/ of the data home. Wherever a model's
folder is asked for, the name will do.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from srtlib.data.cache import sha256
from srtlib.paths import home, project_root, write_text

CONFIG, WEIGHTS = "config.json", "model.safetensors"
INDEX = "index.json"  # of models/: size and SHA-256 of each file of each released model


@dataclass(frozen=True)
class Pin:
    """What a file of a released model must be."""

    bytes: int
    sha256: str


def released_models() -> pd.DataFrame:
    """Models by name: name, encoder, d_model, n_layers, text_model, trained_on, mb (10^6 bytes of weights), and where.

    Of what is not here yet, only name, mb and where.

    >>> "amazon-small" in released_models()["name"].tolist()
    True
    """
    here = _here()
    rows = [_about(name, folder) for name, folder in here.items()]
    rows += [
        {"name": name, "mb": round(pins[WEIGHTS].bytes / 1e6, 1), "where": f"srt models pull {name}"}
        for name, pins in released_pins().items()
        if name not in here
    ]
    columns = ["name", "encoder", "d_model", "n_layers", "text_model", "trained_on", "mb", "where"]
    table = pd.DataFrame(rows, columns=columns, dtype=object)
    return table.where(table.notna(), None)


def released_names() -> list[str]:
    """The names of those that are here, in alphabetical order."""
    return sorted(_here())


def model_folder(model: Path | str) -> Path:
    """The folder of a model.

    Args:
        model: the folder's path, or a name; a folder of that name in the current one comes first.

    Raises ValueError for what is neither path nor text.
    """
    if not isinstance(model, Path | str):
        raise ValueError(f"the model is {model!r}; expected the path of its folder, or the name of a released one")
    return Path(model) if Path(model).is_dir() else _here().get(str(model), Path(model))


def place_of(name: str) -> Path:
    """Where the model of a name lies, or will once it is pulled."""
    return _here().get(name, pulled_root() / name)


def pulled_root() -> Path:
    """The folder of pulled models: models/ of the data home."""
    return home() / "models"


def released_pins() -> dict[str, dict[str, Pin]]:
    """The table that comes with srtlib: what each file of each released model must be."""
    path = _root() / INDEX
    table = json.loads(path.read_bytes()) if path.is_file() else {}
    return {name: {file: Pin(**pin) for file, pin in files.items()} for name, files in table.items()}


def write_index(root: Path) -> None:
    """Write that table of the models in a folder."""
    table = {
        folder.name: {path.name: asdict(Pin(path.stat().st_size, sha256(path))) for path in sorted(folder.iterdir())}
        for folder in sorted(path.parent for path in root.glob(f"*/{CONFIG}"))
    }
    write_text(root / INDEX, json.dumps(table, indent=2) + "\n")


def _root() -> Path:
    return project_root() / "models"


def _here() -> dict[str, Path]:
    """Names and folders; what comes along hides what was pulled. Folders that begin with a dot are not finished."""
    found = {}
    for root in (pulled_root(), _root()):
        for path in [*root.glob(f"*/{CONFIG}"), *root.glob(f"*/*/{CONFIG}")]:
            parts = path.parent.relative_to(root).parts
            if not any(part.startswith(".") for part in parts):
                found["/".join(parts)] = path.parent
    return found


def _about(name: str, folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / CONFIG).read_bytes())
        about = {key: values["model"][key] for key in ("encoder", "d_model", "n_layers", "text_model")}
        about["trained_on"] = values["origin"]["name"] if "origin" in values else None
        size = (folder / WEIGHTS).stat().st_size
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} is damaged ({error!r}); remove it") from None
    where = "with srtlib" if folder.is_relative_to(_root()) else str(folder)
    return {"name": name, **about, "mb": round(size / 1e6, 1), "where": where}
