"""The command line: srt data | train | sweep | evaluate | recommend | plan.

Exit codes: 0 done; 1 something failed, said in one line; 2 the command itself was not understood; 130 interrupted.
"""

import argparse
import json
import math
import numbers
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from srtlib.params import Architecture, load_params, parse
from srtlib.paths import runs_root
from srtlib.recipes import RECIPES, recipe_for

EXAMPLES = {
    "data prepare": "srt data prepare amazon --raw path/to/downloads --memory 4GB\n"
    "  srt data prepare amazon --only-few 1M",
    "data list": "srt data list",
    "data describe": "srt data describe amazon-100K --json",
    "data import": "srt data import --interactions reviews.json.gz --items products.csv --name mine "
    "--column user_id=reviewerID --column timestamp=unixReviewTime",
    "train": "srt train synthetic --d-model 64 --n-layers 2 --set epochs=5\n"
    "  torchrun --nproc-per-node 2 -m srtlib.cli train synthetic --d-model 64",
    "sweep": "srt sweep params/S.yaml --dataset synthetic\n"
    "  RAY_ADDRESS=head:6379 srt sweep params/L.yaml --engine ray --num-gpus 1 --runs /shared/runs",
    "evaluate": "srt evaluate --model out/runs/0123456789ab/model --dataset synthetic --json",
    "recommend": "srt recommend --model out/runs/0123456789ab/model --history history.csv --k 10 > offers.csv",
    "plan": "srt plan --runs out/runs --compute 1e15\n  srt plan --runs results/beauty_M --interactions 5M --json",
}
MACHINE = {
    "peak": "FLOP/s of one GPU (default: an A100's 312e12)",
    "utilisation": "share of it that training reaches (default: an assumed 0.3)",
    "price": "currency per GPU-hour (default: 2)",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say
            result = options.run(options)
    except KeyboardInterrupt:
        print("srt: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        print(f"srt: {error}", file=sys.stderr)
        return 1
    if result is not None:
        print(_as_json(result) if options.json else _as_text(result))
    return 0


def _say(message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning as one line."""
    print(f"srt: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="srt",
        description="Sequential recommendation from item text.",
        epilog="exit codes: 0 done, 1 failed (one line says why), 2 not understood, 130 interrupted",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, run: Any, help_text: str, among: Any = commands) -> argparse.ArgumentParser:
        one = among.add_parser(
            name.rpartition(" ")[2],
            help=help_text,
            description=help_text,
            epilog=f"example:\n  {EXAMPLES[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument("--json", action="store_true", help="print the result as JSON")
        one.set_defaults(run=run)
        return one

    _add_data_commands(commands, command)

    one = command("train", _train, "Train one model and record the run.")
    one.add_argument("dataset", help="a name or a folder")
    one.add_argument("--recipe", choices=sorted(RECIPES), default="srtlib")
    one.add_argument("--d-model", type=int, default=64)
    one.add_argument("--n-layers", type=int, default=2)
    one.add_argument("--interactions", type=_number, help="train on a sample of users of about this size")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    one.add_argument("--runs", type=Path, default=runs_root(), help="store to write to")
    one.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any model or training parameter")

    one = command("sweep", _sweep, "Run the scaling study of a parameters file; finished runs are skipped.")
    one.add_argument("params", type=Path, help="params/<size>.yaml")
    one.add_argument("--dataset", default="synthetic")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--runs", type=Path, default=runs_root(), help="store to write to")
    one.add_argument("--workers", type=int, help="local: processes at a time (default: cores, or GPUs)")
    one.add_argument("--engine", choices=["local", "ray"], default="local", help="this machine, or a Ray cluster")
    one.add_argument("--num-gpus", type=float, help="ray: GPUs for each experiment, 0 to 1 (default: 0)")

    one = command("evaluate", _evaluate, "Evaluate a trained model on a data set.")
    one.add_argument("--model", type=Path, required=True, help="a model folder")
    one.add_argument("--dataset", required=True, help="a name or a folder")
    one.add_argument("--split", choices=["valid", "test"], default="test")
    one.add_argument("--protocol", default="full", help="full, or sampled:10000")
    one.add_argument("--exclude-seen", action="store_true", help="leave the user's history out of the candidates")

    one = command("plan", _plan, "Say what a budget or an amount of data buys, by the laws of recorded runs.")
    one.add_argument("--runs", default=runs_root(), help="a store, an exported folder or file, or published")
    one.add_argument("--dataset", help="runs on the data sets whose names start so; needed where there are several")
    amount = one.add_mutually_exclusive_group(required=True)
    amount.add_argument("--compute", type=_amount, metavar="FLOPS", help="training compute, such as 1e18")
    amount.add_argument("--hours", type=_amount, help="GPU-hours")
    amount.add_argument("--money", type=_amount, help="currency")
    amount.add_argument("--interactions", type=_amount, help="amount of data, such as 5M")
    one.add_argument("--size", type=_amount, metavar="N", help="number of parameters (with --interactions)")
    one.add_argument("--form", help="form of the law (default: the one that predicts the top decade of compute best)")
    for name, meaning in MACHINE.items():
        one.add_argument(f"--{name}", type=float, help=meaning)
    one = command("recommend", _recommend, "Recommend items to users by what they had before; writes CSV.")
    one.add_argument("--model", type=Path, required=True, help="a model folder")
    one.add_argument("--history", type=Path, required=True, help="table of user_id, item_id[, timestamp]")
    one.add_argument("--k", type=int, default=10, help="items per user")
    one.add_argument("--items", type=Path, help="another catalogue: table of item_id, title[, brand, categories]")
    one.add_argument("--strict", action="store_true", help="refuse histories with unknown items")

    return parser


# ---- srt data -------------------------------------------------------------------------------------------------------


def _add_data_commands(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    help_text = "Prepare, import, list and describe data sets."
    data = commands.add_parser(
        "data",
        help=help_text,
        description=help_text,
        epilog="example:\n  srt data list\n  srt data prepare --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    among = data.add_subparsers(required=True, metavar="command")

    one = command("data prepare", _data_prepare, "Public files -> data sets; what is finished is skipped.", among)
    one.add_argument("source", choices=["amazon"])
    one.add_argument("--raw", type=Path, help="a folder that has the raw files (default: download them)")
    one.add_argument("--steps", help="some of download,items,transfer,users,samples,vocabulary (default: all)")
    one.add_argument("--only-few", type=_number, metavar="N", help="read only the first N ratings, for a trial")
    one.add_argument("--seed", type=int, default=0, help="of the samples of users")
    one.add_argument("--engine", choices=["duckdb", "spark"], default="duckdb")
    one.add_argument("--master", metavar="URL", help="of a Spark cluster (default: this machine)")
    one.add_argument("--memory", default="4GB", help="of the engine; what needs more goes to disk (default: 4GB)")
    one.add_argument("--threads", type=int, help="default: every core")

    command("data list", _data_list, "The data sets that there are.", among)

    one = command("data describe", _data_describe, "What a data set holds.", among)
    one.add_argument("dataset", help="a name or a folder")

    one = command("data import", _data_import, "Your interactions and items -> a data set.", among)
    one.add_argument("--interactions", type=Path, required=True, help="CSV, JSON lines or Parquet; .gz too")
    one.add_argument("--items", type=Path, required=True, help="CSV, JSON lines or Parquet; .gz too")
    one.add_argument("--name", required=True, help="of the data set")
    one.add_argument("--column", action="append", default=[], metavar="OURS=THEIRS", help="a column of another name")


def _data_prepare(options: argparse.Namespace) -> pd.DataFrame:
    with _extra("amazon"):
        from srtlib.data.amazon import sources as amazon

    steps = options.steps.split(",") if options.steps else amazon.STEPS
    names = ("raw", "only_few", "seed", "engine", "memory", "threads", "master")
    return amazon.prepare(steps=steps, **{name: getattr(options, name) for name in names})


def _data_list(options: argparse.Namespace) -> pd.DataFrame:
    from srtlib.data.dataset import list_datasets

    return list_datasets()


def _data_describe(options: argparse.Namespace) -> pd.DataFrame:
    with _extra("amazon"):
        from srtlib.data.statistics import describe

    return describe(options.dataset)[0]


def _data_import(options: argparse.Namespace) -> pd.DataFrame:
    with _extra("amazon"):
        from srtlib.data.importing import import_data
        from srtlib.data.statistics import describe

    columns = dict(_pair(column, "--column", "OURS=THEIRS") for column in options.column)
    return describe(import_data(options.interactions, options.items, options.name, columns))[0]


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say which extra an import needs where it fails."""
    try:
        yield
    except ImportError as error:
        raise RuntimeError(f"{error}; pip install 'srtlib[{name}]'") from None


# ---- the other commands ---------------------------------------------------------------------------------------------


def _train(options: argparse.Namespace) -> dict[str, Any] | None:
    from srtlib.data.dataset import load_dataset
    from srtlib.training import distributed
    from srtlib.training.trainer import train

    dataset = load_dataset(options.dataset, options.seed)
    if options.interactions:
        dataset = dataset.sample_users(n_interactions=options.interactions, seed=options.seed)
    architecture = parse(Architecture, {"d_model": options.d_model, "n_layers": options.n_layers}, "srt train")
    pairs = (_pair(setting, "--set", "KEY=VALUE") for setting in options.set)
    settings = {key: yaml.safe_load(value) for key, value in pairs}
    recipe = recipe_for(options.recipe, architecture, dataset, settings, options.seed, "--set")
    _, summary = train(recipe, dataset, options.runs, device=options.device)
    return summary if distributed.rank() == 0 else None


def _sweep(options: argparse.Namespace) -> dict[str, Any]:
    from srtlib.studies.sweeping import scaling_experiments, sweep

    study = load_params(options.params.stem, options.params.parent).scaling
    experiments = scaling_experiments(study, options.dataset, options.seed)
    table = sweep(experiments, options.runs, options.workers, engine=options.engine, num_gpus=options.num_gpus)
    best = table.sort_values("valid_ndcg@5").iloc[-1]
    return {"runs": len(table), "store": options.runs, "best": best["run_id"], "test_ndcg@5": best["test_ndcg@5"]}


def _evaluate(options: argparse.Namespace) -> dict[str, float]:
    from srtlib.data.dataset import load_dataset
    from srtlib.evaluation import evaluate
    from srtlib.model.srt import SRT

    model, dataset = SRT.from_pretrained(options.model), load_dataset(options.dataset)
    return evaluate(model, dataset, options.split, options.protocol, exclude_seen=options.exclude_seen)


def _plan(options: argparse.Namespace) -> dict[str, Any]:
    from srtlib.laws.estimators import Machine, plan

    given = {name: getattr(options, name) for name in MACHINE if getattr(options, name) is not None}
    if options.size and not options.interactions:
        raise ValueError("--size goes with --interactions: a budget of compute has a size of its own")
    row = plan(
        options.runs,
        options.compute,
        options.interactions,
        hours=options.hours,
        money=options.money,
        size=options.size,
        dataset=options.dataset,
        form=options.form,
        machine=Machine(**given),
    ).iloc[0]
    values = {str(name): value.item() if hasattr(value, "item") else value for name, value in row.items()}
    return {name: None if value != value else value for name, value in values.items()}  # NaN: not known


def _amount(text: str) -> float:
    """A positive amount such as 1e18, 500K or 5M."""
    factor = {"K": 1e3, "M": 1e6, "B": 1e9}.get(text[-1:].upper())
    try:
        amount = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        amount = math.nan
    if not 0 < amount < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount; expected a positive number such as 1e18, 500K or 5M")
    return amount


def _recommend(options: argparse.Namespace) -> dict[str, Any] | None:
    from srtlib.data.dataset import read_table
    from srtlib.serving.recommender import Recommender

    history = read_table(options.history)
    recommender = Recommender.load(options.model, read_table(options.items) if options.items else None)
    offers = recommender.recommend(history, options.k, strict=options.strict)
    if options.json:
        return {str(key): value for key, value in offers.attrs.items()} | {"recommendations": offers.to_dict("records")}
    print(offers.to_csv(index=False, float_format="%.6g"), end="")
    return None


def _pair(text: str, option: str, expected: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{option} {text}: expected {expected}")
    return key, value


def _number(text: str) -> int:
    """A count such as 500000, 500K or 5M."""
    return int(_amount(text))


def _as_json(result: dict[str, Any] | pd.DataFrame) -> str:
    return json.dumps(result.to_dict("records") if isinstance(result, pd.DataFrame) else result, default=str)


def _as_text(result: dict[str, Any] | pd.DataFrame) -> str:
    if isinstance(result, pd.DataFrame):
        return result.map(_cell).to_string(index=False)
    width = max(map(len, result))
    return "\n".join(f"{key:<{width}}  {_value(value)}" for key, value in result.items())


def _cell(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:,}" if isinstance(value, numbers.Real) else str(value)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(part)}" for key, part in value.items())
    if value is None:
        return "not known"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
