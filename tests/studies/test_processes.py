"""Workers end with the process that started them, however that one ends; several sweeps share a store."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from srtlib import runs
from srtlib.params import Scaling
from srtlib.runs.store import is_open
from srtlib.studies.processes import GRACE
from srtlib.studies.sweeping import scaling_experiments, sweep

PROGRAM = """
import sys
from pathlib import Path
from srtlib.params import Scaling
from srtlib.studies.sweeping import scaling_experiments, sweep
if __name__ == "__main__":
    study = Scaling.model_validate_json(sys.argv[1])
    sweep(scaling_experiments(study, sys.argv[2]), Path(sys.argv[3]), workers=1, progress_bar=False)
"""


@contextmanager
def started(study: Scaling, folder: str, store: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep with one worker in a process of its own."""
    program = store.parent / "program.py"
    program.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, str(program), study.model_dump_json(), folder, str(store)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = (map(int, line.split()) for line in found.splitlines())
    return [child for child, parent in pairs if parent == pid]


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state) and not state.startswith("Z")  # nobody may be there to bury it


ENDLESS = Scaling.model_validate(
    {
        "interactions": [400],
        "models": [{"d_model": 4}, {"d_model": 8}],
        "panel_users": 30,
        "train": {"epochs": 20_000, "n_negatives": 8, "batch_size": 128, "eval_every": 1000},
    }
)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(how: signal.Signals, folder: str, tmp_path: Path) -> None:
    """The signal goes to the parent alone."""
    store = tmp_path / "runs"
    ids = [experiment.run_id() for experiment in scaling_experiments(ENDLESS, folder)]
    with started(ENDLESS, folder, store) as process:
        until(lambda: any(is_open(store / one) for one in ids) or process.poll() is not None, 120)
        workers = children(process.pid)
        assert workers
        process.send_signal(how)
        until(lambda: process.poll() is not None and not any(alive(pid) for pid in workers), GRACE + 60)
        assert not any(is_open(store / one) for one in ids)
        if how == signal.SIGINT:
            assert process.stderr is not None
            assert process.stderr.read().splitlines()[-1] == "KeyboardInterrupt"  # and no word of leaks


def test_two_sweeps_share_a_store(folder: str, tmp_path: Path) -> None:
    """What the other one is at is left to it, and read when it has finished."""
    study = ENDLESS.model_copy(update={"train": {**ENDLESS.train, "epochs": 100}})
    experiments = scaling_experiments(study, folder)
    store = tmp_path / "runs"
    with started(study, folder, store) as other:
        until(lambda: any(is_open(store / e.run_id()) for e in experiments) or other.poll() is not None, 120)
        mine = sweep(experiments, store, workers=1, progress_bar=False)
        assert other.wait() == 0
        assert mine["run_id"].tolist() == [e.run_id() for e in experiments]
        assert set(mine["run_id"]) == set(runs.table(store)["run_id"])
