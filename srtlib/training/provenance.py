"""Where a recorded result comes from; and runs of what is not trained here."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srtlib.data.dataset import Split
from srtlib.evaluation import metrics
from srtlib.paths import checkout
from srtlib.runs.store import Run


def provenance(device: torch.device) -> dict[str, str]:
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
    store: Path, config: dict[str, Any], rank: Callable[[Split, bool], np.ndarray], params: dict[str, int]
) -> dict[str, Any]:
    """Record a recommender that is not trained here as a finished run; returns its summary.

    rank: (split, exclude_seen) -> rank of every user's target.
    """
    with Run.open(store, config, wait=True) as run:
        if run.status != "finished":
            valid = metrics(rank("valid", False))
            run.finish(
                {
                    "params": params,
                    **dict.fromkeys(("flops", "flops_paper", "targets_seen", "wall_s"), 0),
                    "valid": valid,
                    "valid_final": valid,
                    "test": metrics(rank("test", False)),
                    "test_unseen": metrics(rank("test", True)),
                    **provenance(torch.device("cpu")),
                }
            )
        return run.summary
