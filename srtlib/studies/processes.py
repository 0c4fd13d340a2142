"""Experiments in processes of this machine, which end when the process that started them does.

Whatever ends that one, a kill included, closes its end of a pipe; a thread in each worker waits for that, and then asks
for the end of its own process: the step ends, a checkpoint is written.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import cycle, islice
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from tqdm import tqdm

from srtlib.runs.store import is_open
from srtlib.studies.experiments import Experiment

T = TypeVar("T")
Job = Callable[[Experiment, Path, str], T]
TICK = 1.0  # seconds
GRACE = 10  # seconds that a worker has for its last step and its checkpoint
STOPPED = 128 + signal.SIGTERM


class Worker:
    """A process for one experiment after another on a device."""

    def __init__(self, device: str) -> None:
        self.device = device
        context = get_context("spawn")  # forking can hang on threads of torch
        theirs, self._lifeline = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(1, context, _end_with, (theirs,))

    def start(self, job: Job[T], experiment: Experiment, store: Path) -> Future[T]:
        """Begin an experiment's job.

        Args:
            job: what is called with the experiment, the store and the device.
            experiment: that it is of.
            store: of the runs.

        Returns:
            What will hold what the job returns, or raises.
        """
        return self._pool.submit(_work, job, experiment, store, self.device)

    def ask_to_end(self) -> None:
        """Let the step end and a checkpoint be written, then end the process."""
        self._lifeline.close()

    def join(self) -> None:
        """Return when the process has ended."""
        self._pool.shutdown()


class Workers:
    """So many processes; on leaving the `with` block they end, at once if they are at something (Ctrl-C).

    Args:
        n: processes (default: one for each GPU, or core where there is no GPU).
        at_most: as many as there are jobs.
    """

    def __init__(self, n: int | None, at_most: int) -> None:
        devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        n = min(n or len(devices) or len(os.sched_getaffinity(0)), at_most)
        self._idle = [Worker(device) for device in islice(cycle(devices or ["cpu"]), n)]
        self._busy: dict[Future[Any], tuple[Experiment, Worker]] = {}

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        busy = [worker for _, worker in self._busy.values()]
        for worker in busy:
            worker.ask_to_end()
        for worker in [*self._idle, *busy]:
            worker.join()

    def run(
        self,
        job: Job[T],
        todo: Sequence[Experiment],
        store: Path,
        may_start: Callable[[Experiment], bool] = lambda _: True,
    ) -> Iterator[tuple[Experiment, Future[T]] | None]:
        """Each experiment's job as it ends, and None every second in which none does.

        A process that is killed ends the job that it was at, and no other.

        Args:
            job: what is called with an experiment, the store and a device.
            todo: experiments, begun in this order, those that another process is at last.
            store: of the runs.
            may_start: asked before an experiment begins; one that may not is left out.
        """
        queue = deque(todo)
        while queue or self._busy:
            while queue and self._idle:
                experiment = _pop(queue, store)
                if may_start(experiment):
                    worker = self._idle.pop()
                    self._busy[worker.start(job, experiment, store)] = experiment, worker
            done = wait(self._busy, TICK, FIRST_COMPLETED).done
            for future in done:
                experiment, worker = self._busy.pop(future)
                killed = isinstance(future.exception(), BrokenProcessPool)
                self._idle.append(Worker(worker.device) if killed else worker)
                yield experiment, future
            if not done:
                yield None


def _pop(queue: deque[Experiment], store: Path) -> Experiment:
    """The first experiment that no other process is at; where others are at all of them, the first, to wait for."""
    place = next((i for i, e in enumerate(queue) if not is_open(store / e.run_id())), 0)
    queue.rotate(-place)
    experiment = queue.popleft()
    queue.rotate(place)
    return experiment


def _end_with(lifeline: connection.Connection) -> None:
    """In a worker: end when the other end of the pipe is closed."""
    tqdm.set_lock(threading.RLock())  # its own, of the system, would outlive a process that is ended
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes at once; the first one decides
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()


def _watch(lifeline: connection.Connection) -> None:
    connection.wait([lifeline])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(STOPPED)


def _work(job: Job[T], experiment: Experiment, store: Path, device: str) -> T:
    try:
        return job(experiment, store, device)
    except Exception:
        raise
    except BaseException:  # asked to end
        os._exit(STOPPED)
