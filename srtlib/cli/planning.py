"""srt plan."""

import argparse
import math
from dataclasses import replace
from typing import Any

from srtlib.cli.arguments import Commands, amount
from srtlib.paths import runs_root

UNBOUNDED = "not bounded by these runs"
MACHINE = {
    "peak": "its FLOP/s, in place of the maker's",
    "utilisation": "share of the peak that training reaches, in place of what was measured",
    "price": "USD an hour",
}
INTERVALS = {  # the columns that hold the ends of an output's 95% interval
    "ndcg": ("low", "high"),
    "N": ("N_low", "N_high"),
    "wanted_targets": ("wanted_low", "wanted_high"),
    "N_enough": ("N_enough_low", "N_enough_high"),
    "more_targets": ("more_low", "more_high"),
}


def add_to(commands: Commands) -> None:
    """Add the command."""
    one = commands.add(
        "plan",
        plan,
        "Say what a budget, with the data you have, or an amount of data buys, by the laws of recorded runs.",
        "--runs out/runs --compute 1e15 --interactions 5M",
        "--runs results/beauty_M --interactions 5M --json",
        "--runs out/runs --export laws.json",
    )
    one.add_argument("--runs", default=runs_root(), help="a store, an exported folder or file, or published")
    one.add_argument("--dataset", help="runs on the data sets whose names start so; needed where there are several")
    one.add_argument("--grid", nargs="+", metavar="NAME", help="runs of these parts of a study (default: all)")
    budget = one.add_mutually_exclusive_group()
    budget.add_argument("--compute", type=amount, metavar="FLOPS", help="training compute, such as 1e18")
    budget.add_argument("--hours", type=amount, help="hours of the GPU")
    budget.add_argument("--money", type=amount, help="USD")
    one.add_argument("--interactions", type=amount, help="your data, such as 5M (with a budget, default: the runs')")
    one.add_argument("--size", type=amount, metavar="N", help="number of parameters (with --interactions alone)")
    one.add_argument("--form", help="form of the law (default: the one that predicts the top decade of compute best)")
    one.add_argument("--gpu", default="H100", metavar="NAME", help="H100 (default), A100, L4 or 'CPU core'")
    for name, meaning in MACHINE.items():
        one.add_argument(f"--{name}", type=float, help=meaning)
    one.add_argument("--export", metavar="FILE", help="write the laws as JSON, which the book's planner opens")


def plan(options: argparse.Namespace) -> dict[str, Any]:
    from srtlib.laws import pages, planner
    from srtlib.laws.machines import machine_named

    budget = any(value is not None for value in (options.compute, options.hours, options.money))
    if options.size and (budget or not options.interactions):
        raise ValueError("--size goes with --interactions alone: a budget has a size of its own")
    given = {name: getattr(options, name) for name in MACHINE if getattr(options, name) is not None}
    machine = replace(machine_named(options.gpu), **given)
    table, curves = planner.read(options.runs, options.dataset, options.grid)
    laws = planner.Planner.fit(table, curves, form=options.form)
    if options.export:
        pages.write_laws(options.export, laws, str(options.runs))
        if not budget and not options.interactions:
            return {"laws": options.export, "runs": laws.n_runs}
    found = laws.plan(
        options.compute, options.interactions, hours=options.hours, money=options.money, size=options.size,
        machine=machine,
    )  # fmt: skip
    row = found.iloc[0]
    values = {str(name): value.item() if hasattr(value, "item") else value for name, value in row.items()}
    return values if options.json else _in_words(values)


def _in_words(values: dict[str, Any]) -> dict[str, Any]:
    """A plan as people read it: intervals beside their output, hours and money in units, infinite ends in words."""
    from srtlib.laws.machines import in_words

    ends = {end for pair in INTERVALS.values() for end in pair}
    words: dict[str, Any] = {}
    for name, value in values.items():
        if name in INTERVALS and INTERVALS[name][0] in values:
            low, high = (_number(values[end]) for end in INTERVALS[name])
            words[name] = f"{_number(value)} ({low} to {high})" if low else _number(value)
        elif name not in ends:
            words[name] = _number(value) or None
    if "hours" in values and words["hours"]:
        words |= {"hours": in_words(values["hours"]), "money": f"{values['money']:.3g} USD"}
    words["extrapolated"] = values["extrapolated"] or "nothing"
    return {{"hours": "time", "money": "cost"}.get(name, name): value for name, value in words.items()}


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else UNBOUNDED if math.isinf(value) else f"{value:.4g}"
