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
from srtlib.paths import project_root
from srtlib.runs.store import Run


def provenance(device: torch.device) -> dict[str, str]:
    """Device, code version, commit and date of a result."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    git = subprocess.run(
        ["git", "-C", str(project_root()), "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return {
        "device": name,
        "version": version("srtlib"),
        "commit": git.stdout.strip() or "unknown",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def record_untrained(
    store: Path, config: dict[str, Any], rank: Callable[[Split, bool], np.ndarray], params: dict[str, int]
) -> dict[str, Any]:
    """Record a recommender that is not trained here as a finished run; returns its summary.

    rank: (split, exclude_seen) -> rank of every user's target.
    """
    with Run.open(store, config) as run:
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
