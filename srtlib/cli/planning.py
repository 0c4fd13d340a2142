"""srt plan."""

import argparse
import math
from typing import Any

from srtlib.cli.arguments import Commands, amount
from srtlib.paths import runs_root

UNBOUNDED = "not bounded by these runs"
MACHINE = {
    "peak": "FLOP/s of one GPU (default: an A100's 312e12)",
    "utilisation": "share of it that training reaches (default: an assumed 0.3)",
    "price": "currency per GPU-hour (default: 2)",
}


def add_to(commands: Commands) -> None:
    """Add the command."""
    one = commands.add(
        "plan",
        plan,
        "Say what a budget or an amount of data buys, by the laws of recorded runs.",
        "--runs out/runs --compute 1e15",
        "--runs results/beauty_M --interactions 5M --json",
    )
    one.add_argument("--runs", default=runs_root(), help="a store, an exported folder or file, or published")
    one.add_argument("--dataset", help="runs on the data sets whose names start so; needed where there are several")
    given = one.add_mutually_exclusive_group(required=True)
    given.add_argument("--compute", type=amount, metavar="FLOPS", help="training compute, such as 1e18")
    given.add_argument("--hours", type=amount, help="GPU-hours")
    given.add_argument("--money", type=amount, help="currency")
    given.add_argument("--interactions", type=amount, help="amount of data, such as 5M")
    one.add_argument("--size", type=amount, metavar="N", help="number of parameters (with --interactions)")
    one.add_argument("--form", help="form of the law (default: the one that predicts the top decade of compute best)")
    for name, meaning in MACHINE.items():
        one.add_argument(f"--{name}", type=float, help=meaning)


def plan(options: argparse.Namespace) -> dict[str, Any]:
    from srtlib.laws import planner
    from srtlib.laws.estimators import Machine

    machine = {name: getattr(options, name) for name in MACHINE if getattr(options, name) is not None}
    if options.size and not options.interactions:
        raise ValueError("--size goes with --interactions: a budget of compute has a size of its own")
    row = planner.plan(
        options.runs,
        options.compute,
        options.interactions,
        hours=options.hours,
        money=options.money,
        size=options.size,
        dataset=options.dataset,
        form=options.form,
        machine=Machine(**machine),
    ).iloc[0]
    values = {str(name): value.item() if hasattr(value, "item") else value for name, value in row.items()}
    if options.json:
        return values
    in_words = {math.inf: UNBOUNDED}
    return {name: None if value != value else in_words.get(value, value) for name, value in values.items()}
