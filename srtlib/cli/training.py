"""srt train | sweep | evaluate | compare."""

import argparse
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from srtlib.cli.arguments import Commands, Result, count, duration, settings
from srtlib.params import Architecture, ModelParams, load_params, parse
from srtlib.paths import runs_root
from srtlib.protocols import parse_cuts
from srtlib.recipes import RECIPES, recipe_for
from srtlib.runs.intervals import LEAST

if TYPE_CHECKING:
    from srtlib.data.dataset import Dataset
    from srtlib.model.srt import SRT

RANKINGS = {"valid": "valid, all items", "valid_final": "last valid, all items"} | {
    "test": "test, all items",
    "test_unseen": "test, new items",
}  # what a reader of a summary is told

DEFAULT_SIZES = {"d_model": 64, "n_layers": 2}


def add_to(commands: Commands) -> None:
    """Add the commands."""
    one = commands.add(
        "train",
        train,
        "Train one model and record the run.",
        "synthetic --d-model 64 --n-layers 2 --set epochs=5",
        "my_data --start amazon-small",
        "my_data --cuts 0.8 0.9",
        "torchrun --nproc-per-node 2 -m srtlib.cli train synthetic --d-model 64",
    )
    one.add_argument("dataset", help="a name or a folder")
    one.add_argument("--recipe", choices=sorted(RECIPES), default="srtlib")
    one.add_argument("--d-model", type=int, help="default: 64")
    one.add_argument("--n-layers", type=int, help="default: 2")
    one.add_argument("--start", metavar="MODEL", help="fine-tune this model, a folder or a name that srt models lists")
    one.add_argument("--interactions", type=count, help="train on a sample of users of about this size")
    _add_cuts(one)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    one.add_argument("--runs", type=Path, default=runs_root(), help="store to write to")
    one.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any model or training parameter")

    one = commands.add(
        "sweep",
        sweep,
        "Run the scaling study of a size; finished runs are skipped.",
        "S --dataset synthetic",
        "M --dataset amazon-pool --budget 2h",
        "RAY_ADDRESS=head:6379 srt sweep L --engine ray --num-gpus 1 --runs /shared/runs",
    )
    one.add_argument("size", help="S, M, L, XL, or a file like params/S.yaml")
    one.add_argument("--grid", help="another grid of the file, one of its `grids` (default: its scaling study)")
    one.add_argument("--dataset", default="synthetic")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--runs", type=Path, default=runs_root(), help="store to write to")
    one.add_argument("--workers", type=int, help="local: processes at a time (default: cores, or GPUs)")
    one.add_argument("--budget", type=duration, help="local: stop after so long, such as 2h; the same command goes on")
    one.add_argument("--dry-run", action="store_true", help="only show the runs that are left, their FLOPs and minutes")
    one.add_argument(
        "--record", type=Path, metavar="FOLDER", help="only write what is finished of all grids, as tables"
    )
    one.add_argument("--engine", choices=["local", "ray"], default="local", help="this machine, or a Ray cluster")
    one.add_argument("--num-gpus", type=float, help="ray: GPUs for each experiment, 0 to 1 (default: 0)")

    one = commands.add(
        "evaluate",
        evaluate,
        "Evaluate a trained model on a data set, among all items and among those new to the user.",
        "--model out/runs/0123456789ab/model --dataset synthetic --json",
    )
    one.add_argument("--model", required=True, help="a model folder, or a name that srt models lists")
    _add_judging(one)

    one = commands.add(
        "compare",
        compare,
        "Two models on the same users: paired differences with intervals (bootstrap over users).",
        "out/runs/0123456789ab/model out/runs/ba9876543210/model --dataset synthetic",
    )
    one.add_argument("models", nargs=2, metavar="model", help="model folders, or names that srt models lists")
    _add_judging(one)
    one.add_argument("--resamples", type=partial(count, least=LEAST), default=2000, help="of the users")


def _add_judging(one: argparse.ArgumentParser) -> None:
    """What a judgement is made of."""
    one.add_argument("--dataset", required=True, help="a name or a folder")
    one.add_argument("--split", choices=["valid", "test"], default="test")
    _add_cuts(one)
    one.add_argument("--seed", type=int, default=0, help="of the data set, as in srt train")
    one.add_argument("--protocol", default="full", help="full, sampled:10000 or paper:10000")
    one.add_argument("--k", type=count, nargs="+", default=[5, 10], help="lengths of the list that is looked at")


def _add_cuts(one: argparse.ArgumentParser) -> None:
    explained = (
        "split by time: training before the first, test from the second on; shares or dates (default: leave-one-out)"
    )
    one.add_argument("--cuts", nargs=2, metavar=("FIRST", "SECOND"), help=explained)


def train(options: argparse.Namespace) -> dict[str, Any] | None:
    from srtlib.training import distributed, trainer

    dataset = _dataset(options)
    if options.interactions:
        dataset = dataset.sample_users(n_interactions=options.interactions, seed=options.seed)
    changes = settings(options.set)
    if options.start:
        model, summary = _fine_tune(options, dataset, changes)
    else:
        given = {"d_model": options.d_model, "n_layers": options.n_layers}
        sizes = {**DEFAULT_SIZES, **{name: value for name, value in given.items() if value is not None}}
        architecture = parse(Architecture, sizes, "srt train")
        recipe = recipe_for(options.recipe, architecture, dataset, changes, options.seed, "--set")
        model, summary = trainer.train(recipe, dataset, options.runs, device=options.device)
    if distributed.rank() != 0:
        return None
    summary = {"model": model.folder, **summary}
    return summary if options.json else {RANKINGS.get(name, name): value for name, value in summary.items()}


def _fine_tune(
    options: argparse.Namespace, dataset: "Dataset", changes: dict[str, Any]
) -> tuple["SRT", dict[str, Any]]:
    from srtlib.model.srt import SRT
    from srtlib.studies.fine_tuning import fine_tune

    given = {name for name in DEFAULT_SIZES if getattr(options, name) is not None} | changes.keys()
    if fixed := given & ModelParams.model_fields.keys():
        raise ValueError(f"{min(fixed)}: the model that is started from has it; expected training parameters")
    model = SRT.from_pretrained(options.start)
    architecture = Architecture(d_model=model.params.d_model, n_layers=model.params.n_layers)
    recipe = recipe_for(options.recipe, architecture, dataset, changes, options.seed, "--set")
    return fine_tune(model, dataset, options.runs, recipe.train, device=options.device)


def sweep(options: argparse.Namespace) -> Result:
    from srtlib.studies import recording, sweeping

    params = load_params(options.size)
    if options.grid and options.grid not in params.grids:
        raise ValueError(f"{options.size} has no grid {options.grid!r}; it has {', '.join(params.grids) or 'none'}")
    if options.record:
        recorded = recording.record(params, options.dataset, options.runs, options.record, options.seed)
        return {"runs": len(recorded), "folder": options.record}
    grid = params.grids[options.grid] if options.grid else params.scaling
    pairs = sweeping.grid_experiments(grid, params.scaling.panel_users, options.dataset, options.seed)
    experiments = [experiment for _, experiment in pairs]
    if options.dry_run:
        return sweeping.expected_costs(experiments, options.runs, options.workers)
    table = sweeping.sweep(
        experiments,
        options.runs,
        options.workers,
        engine=options.engine,
        num_gpus=options.num_gpus,
        budget=options.budget,
    )
    result = {"runs": len(table), "store": options.runs}
    if table.empty:
        return result
    best = table.sort_values("valid_ndcg@5").iloc[-1]
    shown = {f"{RANKINGS[part]}, ndcg@5": best[f"{part}_ndcg@5"] for part in ("test", "test_unseen")}
    return {**result, "best": best["run_id"], **shown}


def evaluate(options: argparse.Namespace) -> pd.DataFrame:
    from srtlib.studies.judging import assess

    dataset = _dataset(options)
    return assess(_model(options.model, dataset), dataset, options.split, options.protocol, options.k)


def compare(options: argparse.Namespace) -> pd.DataFrame:
    from srtlib.studies import judging

    dataset = _dataset(options)
    first, second = options.models
    if first == second:
        raise ValueError(f"both models are {first}; expected two")
    models = {name: _model(name, dataset) for name in (first, second)}
    return judging.compare(models, dataset, options.split, options.protocol, options.k, n_resamples=options.resamples)


def _dataset(options: argparse.Namespace) -> "Dataset":
    from srtlib.data.loading import load_dataset

    return load_dataset(options.dataset, options.seed, parse_cuts(options.cuts) if options.cuts else None)


def _model(folder: str, dataset: "Dataset") -> "SRT":
    """A model, and a warning where the data are not those that it was trained on."""
    from srtlib.model.srt import SRT

    model = SRT.from_pretrained(folder)
    if model.origin is not None and (difference := model.origin.difference(dataset)):
        warnings.warn(difference, stacklevel=2)
    return model
