"""Grids of experiments: what is finished is skipped, what was interrupted is resumed, one failure stops no other.

Experiments run in processes of this machine, or on a Ray cluster.
"""

import logging
import os
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from srtlib import runs
from srtlib.data.dataset import Dataset
from srtlib.data.loading import SYNTHETIC, load_dataset
from srtlib.params import Recipe, Scaling
from srtlib.paths import runs_root
from srtlib.recipes import recipe_for
from srtlib.training.identity import config_of
from srtlib.training.trainer import train


class SweepError(RuntimeError):
    """At least one experiment failed; the others are finished."""


@dataclass(frozen=True)
class Experiment:
    """One run, described so that any process can carry it out.

    dataset: name or path; n_interactions: size of the sample of users that is trained on; panel_users: users
    (of the whole data set, ranking its whole catalogue) that the run is judged on.
    """

    dataset: str
    n_interactions: int
    panel_users: int
    recipe: Recipe
    seed: int

    def data(self) -> tuple[Dataset, Dataset]:
        """(training sample, panel)."""
        whole = _load(self.dataset, self.seed)
        return whole.sample_users(n_interactions=self.n_interactions, seed=self.seed), whole.panel(
            self.panel_users, seed=self.seed
        )

    def run_id(self) -> str:
        """Identity of the run in a store."""
        sample, panel = self.data()
        return runs.run_id(config_of(sample, self.recipe, panel))


def scaling_experiments(params: Scaling, dataset: str, seed: int = 0) -> list[Experiment]:
    """The grid of a scaling study, the largest first: every model on every sample.

    Sizes beyond the data set's are cut to it, and then stand once.
    """
    experiments = []
    for sample in _samples(params, dataset, seed):
        for architecture in params.models:
            recipe = recipe_for(params.recipe, architecture, sample, params.train, seed, "scaling.train")
            experiments.append(Experiment(dataset, sample.n_interactions, params.panel_users, recipe, seed))
    return sorted(experiments, key=lambda e: -e.n_interactions * e.recipe.model.d_model**2)


def subsets(params: Scaling, dataset: str, seed: int = 0) -> pd.DataFrame:
    """The nested samples of a study: one row per size with n_interactions, n_users, n_items, n_targets."""
    columns = ("n_interactions", "n_users", "n_items", "n_targets")
    samples = _samples(params, dataset, seed)
    return pd.DataFrame([{name: getattr(sample, name) for name in columns} for sample in samples])


def _samples(params: Scaling, dataset: str, seed: int) -> list[Dataset]:
    """The nested samples, rising; sizes that give the same users stand once."""
    whole = _load(dataset, seed)
    samples = [whole.sample_users(n_interactions=n, seed=seed) for n in sorted(params.interactions)]
    return list({sample.n_interactions: sample for sample in samples}.values())


def sweep(
    experiments: Sequence[Experiment],
    store: Path | None = None,
    workers: int | None = None,
    progress_bar: bool = True,
    engine: str = "local",
    num_gpus: float | None = None,
) -> pd.DataFrame:
    """Carry out the experiments that `store` has no finished run of; return the runs of all of them, as a table.

    engine: "local" runs `workers` processes at a time, one thread each (default: the cores on a CPU, the GPUs on a
    GPU machine). "ray" makes each experiment a task of Ray with one core and `num_gpus` (0 to 1, default 0), on the
    cluster that RAY_ADDRESS names or that runs here, else on one started for the sweep. Every node of a cluster needs
    srtlib, and the store and the data (SRT_DATA, SRT_HOME) under the same paths, on a file system that they share.

    Raises SweepError after the last one if any failed; the tracebacks are recorded in their runs.
    """
    _check_engine(engine, workers, num_gpus)
    store = (store or runs_root()).resolve()
    ids = [experiment.run_id() for experiment in experiments]
    done = runs.finished(store)
    todo = [e for e, run_id in zip(experiments, ids, strict=True) if run_id not in done]
    if todo:
        outcomes = _on_ray(todo, store, num_gpus or 0) if engine == "ray" else _here(todo, store, workers)
        bar = tqdm(outcomes, desc="runs", total=len(todo), disable=None if progress_bar else True)
        failures = [outcome for outcome in bar if outcome]
        if failures:
            raise SweepError(f"{len(failures)} of {len(todo)} experiments failed: " + "; ".join(failures))
    if missing := set(ids) - runs.finished(store):
        raise SweepError(f"{len(missing)} runs are finished but not in {store}: expected a folder that all nodes share")
    table = runs.table(store)
    return table.set_index("run_id").loc[ids].reset_index()


def _check_engine(engine: str, workers: int | None, num_gpus: float | None) -> None:
    if engine not in ("local", "ray"):
        raise ValueError(f"engine {engine!r} is not known; expected local or ray")
    if engine == "ray" and workers is not None:
        raise ValueError("workers is for the local engine: Ray runs as many experiments as its cluster has room for")
    if engine == "local" and num_gpus is not None:
        raise ValueError("num_gpus is for the Ray engine: the local one gives each experiment a GPU if there is one")
    if not 0 <= (num_gpus or 0) <= 1:
        raise ValueError(f"num_gpus={num_gpus}: an experiment trains on one GPU or a share of it; expected 0 to 1")


def _here(todo: Sequence[Experiment], store: Path, workers: int | None) -> Iterator[str | None]:
    """Each experiment's outcome as it ends: None, or one line about its failure.

    Every process is a pool of its own: one that is killed ends the experiment that it was at, and no other.
    """
    pool = partial(ProcessPoolExecutor, 1, get_context("spawn"))  # forking can hang on threads of torch
    devices = islice(cycle(_devices()), min(workers or _default_workers(), len(todo)))
    idle = [(pool(), device) for device in devices]
    queue = deque(todo)
    running: dict[Future[str | None], tuple[Experiment, ProcessPoolExecutor, str]] = {}
    try:
        while queue or running:
            while queue and idle:
                experiment, (process, device) = queue.popleft(), idle.pop()
                running[process.submit(_run, experiment, store, device)] = experiment, process, device
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                experiment, process, device = running.pop(future)
                killed = isinstance(future.exception(), BrokenProcessPool)
                idle.append((pool() if killed else process, device))
                yield _outcome(experiment, store, future.result)
    finally:
        for process in [*(p for p, _ in idle), *(p for _, p, _ in running.values())]:
            process.shutdown()


def _on_ray(todo: Sequence[Experiment], store: Path, num_gpus: float) -> Iterator[str | None]:
    """As `_here`, on a Ray cluster."""
    with _ray() as ray:
        if num_gpus > (there := ray.cluster_resources().get("GPU", 0)):
            raise ValueError(f"each experiment asks for num_gpus={num_gpus:g}, but Ray's cluster has {there:g}")
        names = {name: os.environ[name] for name in ("SRT_DATA", "SRT_HOME") if name in os.environ}
        # No retries: an experiment that is too large for a node's memory would be tried for ever.
        options = {"num_cpus": 1, "num_gpus": num_gpus, "max_retries": 0, "runtime_env": {"env_vars": names}}
        run = ray.remote(**options)(_run)
        device = "cuda" if num_gpus else "cpu"
        tasks = {run.remote(_with_whole_path(e), store, device): e for e in todo}
        waiting = list(tasks)
        while waiting:
            (task,), waiting = ray.wait(waiting)
            yield _outcome(tasks[task], store, partial(ray.get, task))


@contextmanager
def _ray() -> Iterator[Any]:
    """The module, connected to a cluster."""
    try:
        import ray
    except ImportError:
        raise RuntimeError("engine ray needs the package ray; expected: pip install 'srtlib[cluster]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    connected = ray.is_initialized()
    if not connected:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    try:
        yield ray
    finally:
        if not connected:
            ray.shutdown()


def _with_whole_path(experiment: Experiment) -> Experiment:
    """Workers have another current directory."""
    folder = Path(experiment.dataset)
    is_path = experiment.dataset not in SYNTHETIC and folder.is_dir()
    return replace(experiment, dataset=str(folder.resolve())) if is_path else experiment


def _run(experiment: Experiment, store: Path, device: str) -> str | None:
    """Train one experiment; on failure record the traceback in its run and return one line about it."""
    torch.set_num_threads(1)
    sample, panel = experiment.data()
    try:
        train(experiment.recipe, sample, store, panel=panel, device=device, progress_bar=False)
    except Exception as error:
        return _record_failure(experiment, store, error)
    return None


def _outcome(experiment: Experiment, store: Path, result: Callable[[], str | None]) -> str | None:
    """What `_run` returned, or the failure that it could not record itself: its process died, or found no data."""
    try:
        return result()
    except Exception as error:
        return _record_failure(experiment, store, error)


def _record_failure(experiment: Experiment, store: Path, error: Exception) -> str:
    sample, panel = experiment.data()
    config = config_of(sample, experiment.recipe, panel)
    if not isinstance(error, runs.RunLockedError):
        with runs.Run.open(store, config) as run:
            run.fail("".join(traceback.format_exception(error)))
    return f"run {runs.run_id(config)}: {type(error).__name__}: {error}"


@lru_cache(maxsize=2)
def _load(dataset: str, seed: int) -> Dataset:
    return load_dataset(dataset, seed)


def _devices() -> list[str]:
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]


def _default_workers() -> int:
    return torch.cuda.device_count() or len(os.sched_getaffinity(0))
