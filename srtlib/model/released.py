"""Released models: pre-trained ones that come with srtlib and read any catalogue by its text.

Each is a model folder without a catalogue (`srtlib.model.folder`), in models/ of the project. Wherever a model's folder
is asked for, the name of a released one will do.
"""

import json
from pathlib import Path

import pandas as pd

from srtlib.paths import project_root

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def released_models() -> pd.DataFrame:
    """The released models: name, encoder, d_model, n_layers, text_model, trained_on, mb (10^6 bytes of weights).

    >>> "amazon-small" in released_models()["name"].tolist()
    True
    """
    rows = []
    for name in released_names():
        folder = _root() / name
        values = json.loads((folder / CONFIG).read_bytes())
        about = {key: values["model"][key] for key in ("encoder", "d_model", "n_layers", "text_model")}
        size = round((folder / WEIGHTS).stat().st_size / 1e6, 1)
        rows.append({"name": name, **about, "trained_on": values["origin"]["name"], "mb": size})
    return pd.DataFrame(rows)


def released_names() -> list[str]:
    """Their names, in alphabetical order."""
    return sorted(path.parent.name for path in _root().glob(f"*/{CONFIG}"))


def model_folder(model: Path | str) -> Path:
    """The folder of a model.

    Args:
        model: the folder's path, or the name of a released model; a folder of that name in the current one comes first.

    Raises ValueError for what is neither path nor text.
    """
    if not isinstance(model, Path | str):
        raise ValueError(f"the model is {model!r}; expected the path of its folder, or the name of a released one")
    released = _root() / model
    return released if not Path(model).is_dir() and (released / CONFIG).is_file() else Path(model)


def _root() -> Path:
    return project_root() / "models"
