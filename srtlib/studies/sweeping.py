"""Grids of experiments: what is finished is skipped, what was interrupted is resumed, one failure stops no other.

Experiments run in processes of this machine, or on a Ray cluster.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from srtlib import runs
from srtlib.data.dataset import Dataset
from srtlib.params import Architecture, Grid, Recipe, Scaling
from srtlib.paths import runs_root
from srtlib.recipes import recipe_for, usual_batch_size
from srtlib.studies.experiments import Experiment, carry_out, outcome, sample_once
from srtlib.studies.forecast import Cost, Timetable, flops_per_target, measure
from srtlib.studies.processes import Workers
from srtlib.studies.ray_cluster import on_ray


class SweepError(RuntimeError):
    """At least one experiment failed; the others are finished."""


def scaling_experiments(params: Scaling, dataset: str, seed: int = 0) -> list[Experiment]:
    """The runs of a scaling study, the largest first (`grid_experiments`).

    Args:
        params: the study.
        dataset: name or path.
        seed: of the samples and the panel; of training too, where the study names no seeds.
    """
    return [e for _, e in grid_experiments(params, params.panel_users, dataset, seed)]


def grid_experiments(grid: Grid, panel_users: int, dataset: str, seed: int = 0) -> list[tuple[str, Experiment]]:
    """The runs of a grid and the name of each one's variation, the largest first: every model on every sample with
    every variation and seed, and to every budget of FLOPs if there are any.

    Sizes beyond the data set's are cut to it, and then stand once.

    Args:
        grid: models, samples, variations and seeds.
        panel_users: users that every run is judged on, at most.
        dataset: name or path.
        seed: of the samples and the panel; of training too, where the grid names no seeds.
    """
    experiments = [
        (variation, Experiment(dataset, sample.n_interactions, panel_users, recipe, seed, grid.cuts))
        for sample in _samples(grid, dataset, seed)
        for architecture in grid.models
        for variation, settings in grid.variations.items()
        for of_training in grid.seeds or [seed]
        for recipe in _recipes(grid, architecture, sample, grid.train | settings, of_training)
    ]
    return sorted(experiments, key=lambda pair: -_size(pair[1]))


def _recipes(
    grid: Grid, architecture: Architecture, sample: Dataset, settings: dict[str, Any], seed: int
) -> Iterator[Recipe]:
    """One recipe, or one for each of the grid's budgets: its schedule ends there (Hoffmann et al. 2022, approach 2)."""

    def recipe(**planned: Any) -> Recipe:
        return recipe_for(grid.recipe, architecture, sample, settings | planned, seed, "grid")

    if not grid.flops:
        yield recipe()
    for budget in grid.flops:
        seen = budget / flops_per_target(recipe(), sample)
        batch_size = usual_batch_size(seen)
        seen = budget / flops_per_target(recipe(batch_size=batch_size), sample)
        yield recipe(batch_size=batch_size, epochs=float(f"{seen / sample.n_targets:.3g}"))


def grid_table(runs_of: Sequence[tuple[str, Experiment]], table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of runs that are of a grid, in the grid's order, each with its `variation`; runs that the
    table lacks are left out.

    Args:
        runs_of: as from `grid_experiments`.
        table: as from `runs.table`.
    """
    names = pd.DataFrame([{"run_id": e.run_id(), "variation": name} for name, e in runs_of])
    return names.merge(table, on="run_id", how="inner")


def _size(experiment: Experiment) -> int:
    """What a run's cost grows with."""
    return experiment.n_interactions * experiment.recipe.model.d_model**2


def subsets(params: Grid, dataset: str, seed: int = 0) -> pd.DataFrame:
    """The nested samples of a study: one row per size with n_interactions, n_users, n_items, n_targets.

    Args:
        params: the grid, whose sizes count.
        dataset: name or path.
        seed: of the samples.
    """
    columns = ("n_interactions", "n_users", "n_items", "n_targets")
    samples = _samples(params, dataset, seed)
    return pd.DataFrame([{name: getattr(sample, name) for name in columns} for sample in samples])


def _samples(params: Grid, dataset: str, seed: int) -> list[Dataset]:
    """The nested samples, rising; sizes that give the same users stand once."""
    samples = [sample_once(dataset, n, seed, params.cuts) for n in sorted(params.interactions)]
    return list({sample.n_interactions: sample for sample in samples}.values())


def sweep(
    experiments: Sequence[Experiment],
    store: Path | None = None,
    workers: int | None = None,
    progress_bar: bool = True,
    engine: str = "local",
    num_gpus: float | None = None,
    budget: float | None = None,
) -> pd.DataFrame:
    """Carry out the experiments that `store` has no finished run of; return the runs of all of them, as a table.

    Args:
        experiments: in any order; the longest are begun first, as a few steps of each tell (with a budget, or where a
            progress bar shows how long is left), else by data and width.
        store: of the runs (default: `runs_root`).
        workers: of the local engine, processes at a time, one thread each (default: the cores on a CPU, the GPUs on a
            GPU machine).
        progress_bar: show how many runs have ended, and how long the others will take.
        engine: "local", or "ray", which makes each experiment a task of Ray with one core and `num_gpus`, on the
            cluster that RAY_ADDRESS names or that runs here, else on one started for the sweep. Every node of a
            cluster needs srtlib, and the store and the data (SRT_DATA, SRT_HOME) under the same paths, on a file
            system that they share.
        num_gpus: of a task of Ray, 0 to 1 (default: 0).
        budget: of the local engine, seconds. A run that would not end in time is not begun; those that are at work
            when it is over write a checkpoint. A warning says what is left, and the table has what is finished.

    Raises SweepError after the last one if any failed; the tracebacks are recorded in their runs.
    """
    _check_engine(engine, workers, num_gpus, budget)
    store = (store or runs_root()).resolve()
    ids = [experiment.run_id() for experiment in experiments]
    done = runs.finished(store)
    todo = [e for e, run_id in zip(experiments, ids, strict=True) if run_id not in done]
    with tqdm(desc="runs", total=len(todo), disable=None if progress_bar and todo else True) as bar:
        carried_out = (
            _on_ray(todo, store, num_gpus, bar) if engine == "ray" else _here(todo, store, workers, budget, bar)
        )
        failures = [failure for failure in carried_out if failure]
    if failures:
        raise SweepError(f"{len(failures)} of {len(todo)} experiments failed: " + "; ".join(failures))
    finished = runs.finished(store)
    if missing := set(ids) - finished:
        if budget is None:
            where = f"{len(missing)} runs are finished but not in {store}"
            raise SweepError(f"{where}: expected a folder that all nodes share")
        warnings.warn(f"{len(missing)} of {len(ids)} runs are left; the same sweep goes on with them", stacklevel=2)
    if not finished:
        return pd.DataFrame(columns=list(runs.COLUMNS))
    return runs.rows_of(runs.table(store), [one for one in ids if one in finished])


def expected_costs(
    experiments: Sequence[Experiment], store: Path | None = None, workers: int | None = None
) -> pd.DataFrame:
    """What is left of a sweep, the longest first: run_id, n_interactions, d_model, n_layers, seed, epochs, and the
    FLOPs and minutes that each run will take (`srtlib.studies.forecast`), infinite where a few steps of it fail.

    Args:
        experiments, store, workers: as for `sweep`.
    """
    store = (store or runs_root()).resolve()
    done = runs.finished(store)
    todo = [experiment for experiment in experiments if experiment.run_id() not in done]
    with Workers(workers, len(todo)) as team:
        costs = _measured(todo, store, team)
    rows = [
        {
            "run_id": e.run_id(),
            "n_interactions": e.n_interactions,
            "d_model": e.recipe.model.d_model,
            "n_layers": e.recipe.model.n_layers,
            "seed": e.recipe.train.seed,
            "epochs": e.recipe.train.epochs,
            "flops": costs[e.run_id()].flops,
            "minutes": costs[e.run_id()].seconds / 60,
        }
        for e in todo
    ]
    columns = ["run_id", "n_interactions", "d_model", "n_layers", "seed", "epochs", "flops", "minutes"]
    return pd.DataFrame(rows, columns=columns).sort_values("minutes", ascending=False, ignore_index=True)


def _here(
    todo: Sequence[Experiment], store: Path, workers: int | None, budget: float | None, bar: tqdm
) -> Iterator[str | None]:
    """Each experiment's outcome as it ends: None, or one line about its failure."""
    with Workers(workers, len(todo)) as team:
        costs: dict[str, Cost] = {}
        if budget is not None or (len(todo) > len(team) and not bar.disable):
            costs = _measured(todo, store, team)
        longest_first = sorted(todo, key=lambda e: -costs.get(e.run_id(), Cost()).seconds if costs else -_size(e))
        timetable = Timetable(costs, len(team), budget)
        for ended in team.run(carry_out, longest_first, store, lambda e: timetable.may_start(e.run_id())):
            if ended:
                experiment, future = ended
                timetable.ended(experiment.run_id())
                yield outcome(experiment, store, future.result)
                bar.update()
            bar.set_postfix_str(f"about {tqdm.format_interval(timetable.left())} left" if costs else "")
            if timetable.over:
                break


def _on_ray(todo: Sequence[Experiment], store: Path, num_gpus: float | None, bar: tqdm) -> Iterator[str | None]:
    """As `_here`."""
    for failure in on_ray(todo, store, num_gpus or 0) if todo else ():
        bar.update()
        yield failure


def _measured(todo: Sequence[Experiment], store: Path, team: Workers) -> dict[str, Cost]:
    """What each run will cost, by its id."""
    ended = (one for one in team.run(measure, todo, store) if one)
    return {e.run_id(): Cost() if future.exception() else future.result() for e, future in ended}


def _check_engine(engine: str, workers: int | None, num_gpus: float | None, budget: float | None) -> None:
    if engine not in ("local", "ray"):
        raise ValueError(f"engine {engine!r} is not known; expected local or ray")
    if engine == "ray" and workers is not None:
        raise ValueError("workers is for the local engine: Ray runs as many experiments as its cluster has room for")
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers}: expected 1 or more")
    if engine == "ray" and budget is not None:
        raise ValueError("budget is for the local engine: what Ray has begun, it ends")
    if budget is not None and not 0 < budget < math.inf:
        raise ValueError(f"budget={budget}: expected a positive number of seconds")
    if engine == "local" and num_gpus is not None:
        raise ValueError("num_gpus is for the Ray engine: the local one gives each experiment a GPU if there is one")
    if not 0 <= (num_gpus or 0) <= 1:
        raise ValueError(f"num_gpus={num_gpus}: an experiment trains on one GPU or a share of it; expected 0 to 1")
