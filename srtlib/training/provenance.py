"""Where a recorded result comes from; and runs of what is not trained here."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from srtlib.data.dataset import Split
from srtlib.paths import checkout
from srtlib.runs.store import Run


def provenance_of(device: torch.device) -> dict[str, str]:
    """Device, code version, commit and date of a result."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "device": name,
        "version": version("srtlib"),
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str:
    if (root := checkout()) is None:
        return "unknown"
    git = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    return subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"


def record_untrained(
    store: Path, config: dict[str, Any], measure: Callable[[Split, bool], dict[str, float]], params: dict[str, int]
) -> dict[str, Any]:
    """Record a recommender that is not trained here as a finished run; returns its summary.

    Args:
        store: of the runs.
        config: what identifies the run.
        measure: (split, exclude_seen) -> metrics of its ranking of every user's target.
        params: numbers of parameters by group.
    """
    with Run.open(store, config, wait=True) as run:
        if run.status != "finished":
            valid = measure("valid", False)
            run.finish(
                {
                    "params": params,
                    **dict.fromkeys(("flops", "flops_paper", "targets_seen", "wall_s"), 0),
                    "valid": valid,
                    "valid_final": valid,
                    "test": measure("test", False),
                    "test_unseen": measure("test", True),
                    **provenance_of(torch.device("cpu")),
                }
            )
        return run.summary
