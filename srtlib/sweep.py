"""Grids of experiments: what is finished is skipped, what was interrupted is resumed, one failure stops no other."""

import os
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from srtlib import runs
from srtlib.data.dataset import Dataset, load_dataset
from srtlib.params import RECIPES, Recipe, Scaling, TrainParams, parse
from srtlib.paths import runs_root
from srtlib.train import config_of, train


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
    samples = subsets(params, dataset, seed)
    experiments = []
    for size, n_targets in samples[["n_interactions", "n_targets"]].to_numpy().tolist():
        for model in params.models:
            recipe = _recipe(params, model.model_dump(), n_targets, dataset, seed)
            experiments.append(Experiment(dataset, size, params.panel_users, recipe, seed))
    return sorted(experiments, key=lambda e: -e.n_interactions * e.recipe.model.d_model**2)


def subsets(params: Scaling, dataset: str, seed: int = 0) -> pd.DataFrame:
    """The nested samples of a study: one row per size with n_interactions, n_users, n_items, n_targets."""
    whole = _load(dataset, seed)
    samples = [whole.sample_users(n_interactions=n, seed=seed) for n in sorted(params.interactions)]
    columns = ("n_interactions", "n_users", "n_items", "n_targets")
    table = pd.DataFrame([{name: getattr(sample, name) for name in columns} for sample in samples])
    return table.drop_duplicates(ignore_index=True)


def sweep(
    experiments: Sequence[Experiment],
    store: Path | None = None,
    workers: int | None = None,
    progress_bar: bool = True,
) -> pd.DataFrame:
    """Carry out the experiments that `store` has no finished run of; return the runs of all of them, as a table.

    workers: processes at a time, one thread each (default: the cores on a CPU, the GPUs on a GPU machine). Raises
    SweepError after the last one if any failed; the tracebacks are recorded in their runs.
    """
    store = store or runs_root()
    ids = [experiment.run_id() for experiment in experiments]
    done = runs.finished(store)
    todo = [e for e, run_id in zip(experiments, ids, strict=True) if run_id not in done]
    failures = _carry_out(todo, store, workers or _default_workers(), progress_bar) if todo else []
    if failures:
        raise SweepError(f"{len(failures)} of {len(todo)} experiments failed: " + "; ".join(failures))
    table = runs.table(store)
    return table.set_index("run_id").loc[ids].reset_index()


def _carry_out(todo: Sequence[Experiment], store: Path, workers: int, progress_bar: bool) -> list[str]:
    failures = []
    context = get_context("spawn")  # forking a process that holds threads of torch can hang
    with (
        ProcessPoolExecutor(min(workers, len(todo)), context, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        tqdm(total=len(todo), desc="runs", disable=None if progress_bar else True) as bar,
    ):
        devices = _devices()
        futures = [pool.submit(_run, experiment, store, devices[i % len(devices)]) for i, experiment in enumerate(todo)]
        for future in as_completed(futures):
            error = future.result()
            if error:
                failures.append(error)
            bar.update()
    return failures


def _run(experiment: Experiment, store: Path, device: str) -> str | None:
    """Train one experiment; on failure record the traceback in its run and return one line about it."""
    sample, panel = experiment.data()
    try:
        train(experiment.recipe, sample, store, panel=panel, device=device, progress_bar=False)
    except Exception as error:
        config = config_of(sample, experiment.recipe, panel)
        if not isinstance(error, runs.RunLockedError):
            with runs.Run.open(store, config) as run:
                run.fail(traceback.format_exc())
        return f"run {runs.run_id(config)}: {type(error).__name__}: {error}"
    return None


def _recipe(params: Scaling, model: dict[str, int], n_targets: int, dataset: str, seed: int) -> Recipe:
    if params.recipe == "srtlib":
        model = {**model, "n_targets": n_targets}
        recipe = RECIPES["srtlib"](**model, fields=_load(dataset, seed).text_fields)
    else:
        recipe = RECIPES["paper"](**{name: value for name, value in model.items() if value})
    values = {**recipe.train.model_dump(), **params.train, "seed": seed}
    return recipe.model_copy(update={"train": parse(TrainParams, values, "scaling.train")})


@lru_cache(maxsize=2)
def _load(dataset: str, seed: int) -> Dataset:
    return load_dataset(dataset, seed)


def _devices() -> list[str]:
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]


def _default_workers() -> int:
    return torch.cuda.device_count() or len(os.sched_getaffinity(0))
