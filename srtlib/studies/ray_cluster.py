"""Experiments as tasks of a Ray cluster."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from srtlib.data.loading import SYNTHETIC
from srtlib.studies.experiments import Experiment, carry_out, outcome


def on_ray(todo: Sequence[Experiment], store: Path, num_gpus: float) -> Iterator[str | None]:
    """Each experiment's outcome as it ends: None, or one line about its failure.

    Raises RuntimeError without Ray, and ValueError where the cluster lacks the GPUs asked for.

    Args:
        todo: experiments, begun in this order.
        store: of the runs, under this path on every node.
        num_gpus: that an experiment takes, 0 to 1.
    """
    with _ray() as ray:
        if num_gpus > (there := ray.cluster_resources().get("GPU", 0)):
            raise ValueError(f"each experiment asks for num_gpus={num_gpus:g}, but Ray's cluster has {there:g}")
        names = {name: os.environ[name] for name in ("SRT_DATA", "SRT_HOME") if name in os.environ}
        # No retries: an experiment that is too large for a node's memory would be tried for ever.
        options = {"num_cpus": 1, "num_gpus": num_gpus, "max_retries": 0, "runtime_env": {"env_vars": names}}
        run = ray.remote(**options)(carry_out)
        device = "cuda" if num_gpus else "cpu"
        tasks = {run.remote(_with_whole_path(e), store, device): e for e in todo}
        waiting = list(tasks)
        while waiting:
            (task,), waiting = ray.wait(waiting)
            yield outcome(tasks[task], store, partial(ray.get, task))


@contextmanager
def _ray() -> Iterator[Any]:
    """The module, connected to a cluster."""
    try:
        import ray
    except ImportError:
        raise RuntimeError("engine ray needs the package ray; expected: pip install 'srtlib[cluster]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    connected = ray.is_initialized()
    if not connected:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    try:
        yield ray
    finally:
        if not connected:
            ray.shutdown()


def _with_whole_path(experiment: Experiment) -> Experiment:
    """Workers have another current directory."""
    folder = Path(experiment.dataset)
    is_path = experiment.dataset not in SYNTHETIC and folder.is_dir()
    return replace(experiment, dataset=str(folder.resolve())) if is_path else experiment
