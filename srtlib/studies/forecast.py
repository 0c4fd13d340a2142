"""What runs will cost, from a few steps of each on the machine that will train them."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from srtlib.data.dataset import Dataset
from srtlib.evaluation import evaluate
from srtlib.model.flops import training_flops
from srtlib.params import Recipe
from srtlib.studies.experiments import Experiment
from srtlib.training.trainer import Trainer, mixed_seed

STEPS = 4  # the first of them warms up


@dataclass(frozen=True)
class Cost:
    """Training FLOPs (exact for the steps that were taken, as many for all others) and seconds, evaluations included,
    of what is left of a run that is not stopped early; infinite where nothing could be measured."""

    flops: float = math.inf
    seconds: float = math.inf


def measure(experiment: Experiment, store: Path, device: str) -> Cost:
    """Take a few steps of a run, from its checkpoint if there is one, and evaluate once. Nothing is recorded.

    Args:
        experiment: the run.
        store: of the runs.
        device: such as "cpu".
    """
    torch.set_num_threads(1)
    sample, panel = experiment.data()
    params = experiment.recipe.train
    path = store / experiment.run_id()
    trainer = Trainer(experiment.recipe, sample, panel, path, None, None, torch.device(device))
    left = params.epochs * sample.n_targets - trainer.at.targets_seen
    began = time.monotonic()
    evaluate(trainer.model, panel, "valid", params.protocol)
    evaluations = (time.monotonic() - began) * (math.ceil((params.epochs - trainer.at.epoch) / params.eval_every) + 2)
    if left <= 0:
        return Cost(0.0, evaluations)
    n, flops, seconds = _few_steps(trainer)
    return Cost(flops / n * left, seconds / n * left + evaluations)


def flops_per_target(recipe: Recipe, dataset: Dataset) -> float:
    """Exact training FLOPs per target, counted over the first batches of a training; nothing is computed on them.

    Args:
        recipe: model and training.
        dataset: what is trained on.
    """
    trainer = Trainer(recipe, dataset, dataset, Path("nowhere"), None, None, torch.device("cpu"))
    epoch, targets, flops = trainer.epoch(), 0, 0
    with torch.random.fork_rng(devices=[]):
        for i in range(min(1, len(epoch) - 1), min(STEPS, len(epoch))):
            torch.manual_seed(mixed_seed(recipe.train.seed, i, 2))  # the negatives of that step
            batch = epoch.batch(i)
            negatives, _ = trainer.loss.draw(trainer.sampler, batch.targets)
            targets += len(batch.targets)
            flops += training_flops(recipe.model, trainer.loss.shape(batch, negatives))
    return flops / targets


def _few_steps(trainer: Trainer) -> tuple[float, float, float]:
    """Targets, FLOPs and seconds of the next steps, the first of which warms up."""
    steps = []
    epoch = trainer.epoch()
    for _ in range(min(STEPS, len(epoch) - trainer.at.batch)):
        before = trainer.at.flops, trainer.at.wall_s
        n = trainer.step(epoch)
        steps.append((n, trainer.at.flops - before[0], trainer.at.wall_s - before[1]))
    n, flops, seconds = (sum(column) for column in zip(*(steps[1:] or steps), strict=True))
    return n, flops, seconds


class Timetable:
    """When the runs of a sweep start and end: what is left of them, and of its budget.

    Args:
        costs: by run id.
        n_workers: runs at a time.
        budget: seconds from now, if there is an end.
    """

    def __init__(self, costs: Mapping[str, Cost], n_workers: int, budget: float | None = None) -> None:
        self._seconds = {name: cost.seconds for name, cost in costs.items() if math.isfinite(cost.seconds)}
        self._n_workers = n_workers
        self._end = math.inf if budget is None else time.monotonic() + budget
        self._started: dict[str, float] = {}
        self._taken: dict[str, float] = {}

    def may_start(self, run_id: str) -> bool:
        """Whether a run ends in time, as far as its cost is known; if so, it counts as started."""
        now = time.monotonic()
        if now + self._pace() * self._seconds.get(run_id, 0.0) > self._end:
            return False
        self._started[run_id] = now
        return True

    def ended(self, run_id: str) -> None:
        """Count a run as done; how long it took corrects what is expected of the others."""
        self._taken[run_id] = time.monotonic() - self._started[run_id]

    @property
    def over(self) -> bool:
        """Whether the budget is used up."""
        return time.monotonic() >= self._end

    def left(self) -> float:
        """Seconds until the last run ends, if all workers have something to do until then."""
        expected = self._pace() * sum(s for name, s in self._seconds.items() if name not in self._taken)
        running = sum(time.monotonic() - t for name, t in self._started.items() if name not in self._taken)
        return max(0.0, expected - running) / self._n_workers

    def _pace(self) -> float:
        """Seconds taken over seconds expected, of the runs that have ended."""
        expected = sum(self._seconds.get(name, 0.0) for name in self._taken)
        return sum(self._taken[name] for name in self._taken if name in self._seconds) / expected if expected else 1.0
