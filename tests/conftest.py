"""Shared fixtures: one thread, a home of its own, and a small data set."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

# Before numpy loads: threads of small products cost more than they do where something else runs.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import pandas as pd
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.data.loading import build_dataset
from srtlib.params import ModelParams, Recipe, TrainParams
from srtlib.protocols import parse_cuts

# A shell has what it starts in the background ignore Ctrl-C: tests, and what they start, must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

collect_ignore = ["examples"]  # looking for doctests would run them in the tests' own process


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """A test draws the same numbers whichever tests ran before it in its process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions of 60 users with 40 items, sequences of 3 to 30, where item i is often followed by i + 1; and the
    items."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 31, size=60)
    steps = np.where(rng.random(lengths.sum()) < 0.6, 1, rng.integers(0, 40, size=lengths.sum()))
    items_in_order = np.cumsum(steps) % 40
    places = np.concatenate([rng.permutation(n) for n in lengths])
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    log = pd.DataFrame(
        {
            "user_id": np.repeat([f"u{i}" for i in range(60)], lengths),
            "item_id": [f"i{i}" for i in items_in_order[starts + places]],
            "timestamp": places,
        }
    )
    words = np.array("red blue green pen ink paper desk lamp chair old new big small".split())
    items = pd.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(40)],
            "title": [" ".join(rng.choice(words, size=rng.integers(1, 6))) for _ in range(40)],
            "brand": [["", "Acme", "Best"][i % 3] for i in range(40)],
        }
    )
    return log, items


@pytest.fixture(scope="session")
def timed_tables(tables: tuple[pd.DataFrame, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same with real times, seconds since 1970: a user comes on one of 40 days and takes an item every day."""
    log, items = tables
    days = log["user_id"].str[1:].astype(int) * 7 % 40 + log["timestamp"]
    return log.assign(timestamp=1_000_000_000 + 86_400 * days), items


@pytest.fixture(scope="session")
def timed(timed_tables: tuple[pd.DataFrame, pd.DataFrame], _home: Path) -> Dataset:
    """A data set that is split by time."""
    return build_dataset(*timed_tables, name="timed", cuts=parse_cuts([0.5, 0.8]))


@pytest.fixture(scope="session")
def timed_folder(tmp_path_factory: pytest.TempPathFactory, timed_tables: tuple[pd.DataFrame, pd.DataFrame]) -> str:
    """Its tables as a folder."""
    return _folder_of(timed_tables, tmp_path_factory.mktemp("timed"))


@pytest.fixture(scope="session")
def dataset(tables: tuple[pd.DataFrame, pd.DataFrame], _home: Path) -> Dataset:
    return build_dataset(*tables, name="small")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, tables: tuple[pd.DataFrame, pd.DataFrame]) -> str:
    """The same as a folder of Parquet files."""
    return _folder_of(tables, tmp_path_factory.mktemp("data"))


def _folder_of(tables: tuple[pd.DataFrame, pd.DataFrame], path: Path) -> str:
    for table, stem in zip(tables, ("interactions", "items"), strict=True):
        table.to_parquet(path / f"{stem}.parquet")
    return str(path)


@pytest.fixture(autouse=True, scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Caches go to a folder of the session, not to the project's."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("SRT_HOME", str(home))
        yield home


@pytest.fixture
def recipe() -> Recipe:
    """A tiny model that trains in a second."""
    return Recipe(
        name="tiny",
        model=ModelParams(d_model=8, n_layers=2, n_heads=2, dropout=0.1, max_len=10, vocab_size=200),
        train=TrainParams(epochs=3, batch_size=64, n_negatives=16, learning_rate=0.01),
    )


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes name no test: those of gzip hold the time, and each process that collects would find another name."""
    return argname if isinstance(val, bytes) else None


def pytest_unconfigure() -> None:
    """Ibis keeps a connection of its own, which DuckDB would complain of at the very end."""
    if ibis := sys.modules.get("ibis"):
        ibis.options.default_backend = None
        gc.collect()
