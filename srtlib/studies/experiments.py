"""One run of a grid, described so that any process can carry it out, and what came of it."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch

from srtlib.data.dataset import Dataset
from srtlib.data.loading import load_dataset
from srtlib.params import Recipe
from srtlib.protocols import Cuts
from srtlib.runs.store import Run, RunLockedError, run_id
from srtlib.training.identity import config_of
from srtlib.training.trainer import train


@dataclass(frozen=True)
class Experiment:
    """One run, described so that any process can carry it out.

    dataset: name or path; n_interactions: size of the sample of users that is trained on; panel_users: users
    (of the whole data set, ranking its whole catalogue) that the run is judged on; cuts: of a split by time.
    """

    dataset: str
    n_interactions: int
    panel_users: int
    recipe: Recipe
    seed: int
    cuts: Cuts | None = None

    def data(self) -> tuple[Dataset, Dataset]:
        """(training sample, panel)."""
        sample = sample_once(self.dataset, self.n_interactions, self.seed, self.cuts)
        return sample, _panel_once(self.dataset, self.panel_users, self.seed, self.cuts)

    def run_id(self) -> str:
        """Identity of the run in a store."""
        return self._run_id

    @cached_property
    def config(self) -> dict[str, Any]:
        """What identifies the run."""
        sample, panel = self.data()
        return config_of(sample, self.recipe, panel)

    @cached_property
    def _run_id(self) -> str:
        return run_id(self.config)


def carry_out(experiment: Experiment, store: Path, device: str) -> str | None:
    """Train one experiment; on failure record the traceback in its run. A run that another process is at is waited for.

    Args:
        experiment: the run.
        store: of the runs.
        device: such as "cpu".

    Returns:
        None, or one line about the failure.
    """
    torch.set_num_threads(1)
    sample, panel = experiment.data()
    try:
        train(experiment.recipe, sample, store, panel=panel, device=device, progress_bar=False)
    except Exception as error:
        return _record_failure(experiment, store, error)
    return None


def outcome(experiment: Experiment, store: Path, result: Callable[[], str | None]) -> str | None:
    """What `carry_out` returned, or the failure that it could not record itself: its process died, or found no data.

    Args:
        experiment: the run.
        store: of the runs.
        result: gives what `carry_out` returned, or raises.
    """
    try:
        return result()
    except Exception as error:
        return _record_failure(experiment, store, error)


@lru_cache(maxsize=2)
def load_once(dataset: str, seed: int, cuts: Cuts | None = None) -> Dataset:
    """`load_dataset`; the last two stay in memory.

    Args:
        dataset: name or path.
        seed, cuts: as in `load_dataset`.
    """
    return load_dataset(dataset, seed, cuts)


@lru_cache(maxsize=8)
def sample_once(dataset: str, n_interactions: int, seed: int, cuts: Cuts | None = None) -> Dataset:
    """`Dataset.sample_users` of `load_once`; the last eight stay in memory.

    Args:
        dataset, seed, cuts: as for `load_once`.
        n_interactions: as in `Dataset.sample_users`.
    """
    return load_once(dataset, seed, cuts).sample_users(n_interactions=n_interactions, seed=seed)


@lru_cache(maxsize=2)
def _panel_once(dataset: str, n_users: int, seed: int, cuts: Cuts | None) -> Dataset:
    return load_once(dataset, seed, cuts).panel(n_users, seed=seed)


def _record_failure(experiment: Experiment, store: Path, error: Exception) -> str:
    try:
        with Run.open(store, experiment.config) as run:
            run.fail("".join(traceback.format_exception(error)))
    except RunLockedError:
        pass  # another process is at it by now
    return f"run {experiment.run_id()}: {type(error).__name__}: {error}"
