"""What the notebooks of the book need and nothing else does."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from srtlib.paths import project_root

CONDITIONS = ("machine", "threads", "load", "python", "torch", "commit", "date")


def check_parameters(namespace: Mapping[str, object], *known: str) -> None:
    """Refuse a notebook parameter that the notebook does not have (papermill would only warn, then run the defaults).

    Args:
        namespace: `globals()`, right after the parameters cell: any plain value there is a parameter.
        known: the parameters that the notebook has.

    Raises ValueError that names those that are mistyped.

    >>> check_parameters({"size": "S", "sizee": "M"}, "size")
    Traceback (most recent call last):
    ...
    ValueError: unknown parameter sizee; expected one of size
    """
    plain = (str, int, float, bool, list, dict, tuple, type(None))
    interactive = {"In", "Out"}
    unknown = [
        name
        for name, value in namespace.items()
        if type(value) in plain and name not in known and name not in interactive and not name.startswith("_")
    ]
    if unknown:
        raise ValueError(f"unknown parameter {', '.join(unknown)}; expected one of {', '.join(known)}")


def own_tables(interactions: str, items: str) -> tuple[Path, Path]:
    """The two files that a reader names, of interactions and of items; those of `online_retail` where none is named.

    Args:
        interactions: a path, or nothing.
        items: a path, or nothing.

    Raises ValueError where one of the two is missing, OSError where a file is not there.

    >>> own_tables("mine.csv", "")
    Traceback (most recent call last):
    ...
    ValueError: interactions is 'mine.csv' and items is ''; expected both files, or neither for an example
    """
    if not interactions and not items:
        example = project_root() / "datasets" / "online_retail"
        return example / "interactions.parquet", example / "items.parquet"
    if not interactions or not items:
        both = "expected both files, or neither for an example"
        raise ValueError(f"interactions is {interactions!r} and items is {items!r}; {both}")
    tables = Path(interactions), Path(items)
    for path in tables:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there; expected a file")
    return tables


def benchmark(name: str, folder: str | Path = "") -> pd.DataFrame:
    """What a benchmark recorded, without the conditions that its rows share.

    Args:
        name: of benchmarks/`name`.py.
        folder: of the JSON lines; default: benchmarks/results.

    Returns:
        One row per measurement; where nothing is recorded, the table says how to.

    >>> benchmark("nonsense").iloc[0, 0]
    'python benchmarks/nonsense.py records it'
    """
    path = _recorded(name, folder)
    if not path.is_file():
        return pd.DataFrame({"not measured yet": [f"python benchmarks/{name}.py records it"]})
    return pd.read_json(path, lines=True).drop(columns=[*CONDITIONS], errors="ignore")


def conditions(names: Sequence[str], folder: str | Path = "") -> pd.DataFrame:
    """Machine, threads, load, versions, commit and date of benchmarks.

    Args:
        names: as for `benchmark`.
        folder: as for `benchmark`.

    Returns:
        One row per benchmark that is recorded; columns: `CONDITIONS`.
    """
    paths = {name: _recorded(name, folder) for name in names}
    rows = {name: pd.read_json(path, lines=True).iloc[0] for name, path in paths.items() if path.is_file()}
    return pd.DataFrame(rows).T.reindex(columns=[*CONDITIONS]).rename_axis("benchmark")


def _recorded(name: str, folder: str | Path) -> Path:
    return Path(folder or project_root() / "benchmarks" / "results") / f"{name}.jsonl"
