"""Experiments in processes of this machine, which end when the process that started them does.

Whatever ends that one, a kill included, closes its end of a pipe; a thread in each worker waits for that, and then asks
for the end of its own process: the step ends, a checkpoint is written.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import cycle, islice
from multiprocessing import connection, get_context
from pathlib import Path

import torch
from tqdm import tqdm

from srtlib.runs.store import is_open
from srtlib.studies.experiments import Experiment, carry_out, outcome

GRACE = 10  # seconds that a worker has for its last step and its checkpoint
STOPPED = 128 + signal.SIGTERM


class Worker:
    """A process for one experiment after another on a device."""

    def __init__(self, device: str) -> None:
        self.device = device
        context = get_context("spawn")  # forking can hang on threads of torch
        theirs, self._lifeline = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(1, context, _end_with, (theirs,))

    def start(self, experiment: Experiment, store: Path) -> Future[str | None]:
        """Begin an experiment."""
        return self._pool.submit(_work, experiment, store, self.device)

    def ask_to_end(self) -> None:
        """Let the step end and a checkpoint be written, then end the process."""
        self._lifeline.close()

    def join(self) -> None:
        """Return when the process has ended."""
        self._pool.shutdown()


def in_processes(todo: Sequence[Experiment], store: Path, workers: int | None = None) -> Iterator[str | None]:
    """Each experiment's outcome as it ends: None, or one line about its failure.

    A process that is killed ends the experiment that it was at, and no other. Whoever leaves the loop before its end
    (Ctrl-C) stops the workers.
    """
    idle = [Worker(device) for device in islice(cycle(_devices()), min(workers or _default_workers(), len(todo)))]
    running: dict[Future[str | None], tuple[Experiment, Worker]] = {}
    queue = deque(todo)
    try:
        while queue or running:
            while queue and idle:
                experiment, worker = _pop(queue, store), idle.pop()
                running[worker.start(experiment, store)] = experiment, worker
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                experiment, worker = running.pop(future)
                killed = isinstance(future.exception(), BrokenProcessPool)
                idle.append(Worker(worker.device) if killed else worker)
                yield outcome(experiment, store, future.result)
    finally:
        busy = [worker for _, worker in running.values()]
        for worker in busy:
            worker.ask_to_end()
        for worker in [*idle, *busy]:
            worker.join()


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


def _work(experiment: Experiment, store: Path, device: str) -> str | None:
    try:
        return carry_out(experiment, store, device)
    except BaseException:  # asked to end
        os._exit(STOPPED)


def _devices() -> list[str]:
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]


def _default_workers() -> int:
    return torch.cuda.device_count() or len(os.sched_getaffinity(0))
