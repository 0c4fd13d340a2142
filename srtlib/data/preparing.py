"""Public files -> data sets: the one table of the sources that `srt data prepare NAME` knows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pandas as pd

from srtlib.data.amazon.categories import prepare as prepare_amazon_2023
from srtlib.data.amazon.sources import prepare as prepare_amazon
from srtlib.data.movielens import prepare as prepare_movielens

Source = Callable[..., pd.DataFrame]
"""Makes data sets in the data home of raw files, and returns what it counted (set, statistic, value).

It takes what it can of these by name: raw (a folder that has the raw files, else they are downloaded), category (a
list), split, steps, only_few, seed, engine, memory, threads, master. What is made already is not made again.
"""

SOURCES: dict[str, Source] = {
    "amazon": prepare_amazon,
    "amazon-2023": prepare_amazon_2023,
    "movielens": prepare_movielens,
}


def prepare_data(source: str, **options: Any) -> pd.DataFrame:
    """Make the data sets of a source known by its name; returns what the source counted.

    Args:
        source: one of `SOURCES`.
        options: those of the source (see `Source`).

    Raises ValueError for a source or an option that is not known, for an option that is needed and not given, and what
    the source itself raises.
    """
    if source not in SOURCES:
        raise ValueError(f"source {source!r} is not known; expected one of {', '.join(SOURCES)}")
    known = inspect.signature(SOURCES[source]).parameters
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"source {source} has no option {unknown[0]}; expected some of {', '.join(known)}")
    needed = [name for name, parameter in known.items() if parameter.default is parameter.empty]
    if missing := [name for name in needed if name not in options]:
        raise ValueError(f"source {source} needs {missing[0]}: --{missing[0]}")
    return SOURCES[source](**options)
