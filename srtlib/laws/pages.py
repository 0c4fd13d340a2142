"""The planner page's laws: the script that it loads, and files of one's own laws that it opens."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from srtlib.laws.allocation import Allocation
from srtlib.laws.estimators import REACH
from srtlib.laws.gains import ENOUGH
from srtlib.laws.law import Law
from srtlib.laws.machines import MACHINES, UTILISATION
from srtlib.laws.planner import Planner
from srtlib.paths import write_text
from srtlib.runs.published import COMPUTE_LAW, DATA_LAW

FORMAT = "srtlib laws 1"  # what a file of laws says of itself, so that the page knows one


def to_dict(planner: Planner, name: str) -> dict[str, Any]:
    """What the planner page needs, as JSON can hold it: the laws with every resample.

    Args:
        planner: the laws.
        name: what the page calls these runs.
    """
    estimator = planner.by_compute
    return {
        "format": FORMAT,
        "name": name,
        "runs": planner.n_runs,
        "items": planner.n_items,
        "targets_per_interaction": planner.targets_per_interaction,
        "widths": [list(pair) for pair in planner.widths],
        "layers": planner.n_layers,
        "unit": estimator.columns.compute,
        "exact": None if math.isnan(estimator.exact) else estimator.exact,
        "compute": _law(estimator.law),
        "data": _law(planner.by_data.law),
        "allocation": _split(estimator.allocation),
        "unique": _split(estimator.unique),
    }


def with_published_laws(planner: Planner) -> Planner:
    """The published coefficients, which have no intervals, in place of those refitted to the authors' runs.

    Ranges and allocation stay.
    """
    compute_law = Law.given("sigmoid", COMPUTE_LAW, planner.by_compute.law.ranges)
    data_law = Law.given("additive_power", DATA_LAW, planner.by_data.law.ranges)
    by_compute = replace(planner.by_compute, law=compute_law, forms=[])
    return replace(planner, by_compute=by_compute, by_data=replace(planner.by_data, law=data_law, forms=[]))


def write_laws(path: Path | str, planner: Planner, name: str) -> None:
    """Write the laws of one study as the JSON file that the planner page opens.

    Args:
        path: of the file.
        planner: the laws.
        name: what the page calls them.
    """
    write_text(Path(path), _json(to_dict(planner, name)) + "\n")


def write_planner(path: Path | str, planners: Mapping[str, Planner]) -> None:
    """Write laws, and what FLOPs cost, as the script that the planner page loads: `make planner`.

    Args:
        path: of the script.
        planners: by the name that the page shows.
    """
    machines = [{"name": name, **vars(machine), "source": UTILISATION[name]} for name, machine in MACHINES.items()]
    models = [to_dict(planner, name) for name, planner in planners.items()]
    text = _json({"models": models, "machines": machines, "enough": ENOUGH, "reach": REACH})
    write_text(Path(path), f"window.PLANNER = {text};\n")


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _law(law: Law) -> dict[str, Any]:
    out = {"form": law.form, "formula": law.formula, "params": law.params, "ranges": law.ranges}
    return out | {"at_bound": list(law.at_bound), "samples": _digits(law.samples.dropna())}


def _split(allocation: Allocation) -> dict[str, Any]:
    return {"params": list(allocation.params.values()), "samples": _digits(allocation.samples)}


def _digits(samples: pd.DataFrame) -> list[list[float]]:
    rows: list[list[float]] = samples.to_numpy(float).tolist()
    return [[float(format(value, ".9g")) for value in row] for row in rows]
