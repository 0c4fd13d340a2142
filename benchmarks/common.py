"""What every benchmark shares: interleaved repeats, the machine's description, and where results go."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved(measure: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, dict[str, float]]:
    """Call every measurement in turn, `repeats` times round; median, lowest and highest of each."""
    found: dict[str, list[float]] = {name: [] for name in measure}
    for _ in range(repeats):
        for name, call in measure.items():
            found[name].append(call())
    return {
        name: {"median": statistics.median(values), "low": min(values), "high": max(values), "repeats": repeats}
        for name, values in found.items()
    }


def record(benchmark: str, rows: list[dict[str, Any]]) -> None:
    """Print rows, and write them as JSON lines with machine, versions and date to results/<benchmark>.jsonl."""
    about = {
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    RESULTS.mkdir(exist_ok=True)
    lines = [json.dumps({**row, **about}) for row in rows]
    (RESULTS / f"{benchmark}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(json.dumps(row) for row in rows))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


@cache  # of the code that is running: what it records would make the tree dirty
def _commit() -> str:
    command = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
