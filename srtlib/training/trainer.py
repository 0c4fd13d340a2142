"""The training loop: batches by index from the device, one encoding of each item, resumable at any step.

Everything random at step t follows from (seed, t), and an epoch's order from (seed, epoch): a resumed training
continues exactly where it was, with no random state to restore.
"""

import math
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from srtlib.data.dataset import PARTS, Dataset
from srtlib.extensions import look_up
from srtlib.model.encoders import encoder_class
from srtlib.model.flops import BatchShape, paper_total_flops, training_flops
from srtlib.model.making import check_size, new_model
from srtlib.model.memory import largest_batch, pick_device
from srtlib.model.origin import Origin
from srtlib.model.packing import Batch, Epoch, Sequences
from srtlib.model.srt import SRT, part_of
from srtlib.params import Recipe
from srtlib.recipes import usual_batch_size
from srtlib.runs.store import Run, read_summary, run_id
from srtlib.training import distributed
from srtlib.training.checkpoint import load_checkpoint, remove_checkpoints, save_checkpoint, sweep
from srtlib.training.identity import Tuning, config_of
from srtlib.training.losses import NEGATIVES, OBJECTIVES, NegativeSampler
from srtlib.training.objective import Objective
from srtlib.training.optimisation import follow_schedule, make_optimizer, running_mean
from srtlib.training.progress import DivergedError, Progress
from srtlib.training.signals import Request, Stopped, stop_signal
from srtlib.training.validation import Judge


def train(
    recipe: Recipe,
    dataset: Dataset,
    runs: Path,
    panel: Dataset | None = None,
    tuning: Tuning | None = None,
    device: str | None = None,
    checkpoint_seconds: float = 60.0,
    progress_bar: bool = True,
) -> tuple[SRT, dict[str, Any]]:
    """Train an SRT on the training part of `dataset` and record the run in the store `runs`.

    A run of the same configuration that was interrupted is resumed; a finished one is not trained again; one that
    another process is at is waited for. Under torchrun the processes share each batch (DDP) and the first one evaluates
    and writes. Ctrl-C, SIGTERM and SIGHUP let the step end, write a checkpoint and raise Stopped, a KeyboardInterrupt.

    Args:
        recipe: model and training.
        dataset: what is trained on.
        runs: store of the runs, a folder.
        panel: the data set whose users and catalogue the run is judged on (default: `dataset`): validation after every
            `eval_every` epochs, test once, with the weights that were best on validation.
        tuning: where to start from and what to train, if not everything from random weights (see
            srtlib.studies.fine_tuning).
        device: such as "cuda:1" (default: a GPU if there is one).
        checkpoint_seconds: most seconds between checkpoints.
        progress_bar: show how far it is.

    Returns:
        The best model, and the run's summary (columns: see srtlib.runs).

    Raises DivergedError after ten bad steps in a row, naming the first, and where a validation finds numbers that are
    not finite; OSError where the store cannot be written; what was recorded before stays. Raises ValueError, before
    there is a run, for names that are not known, for an item encoder that lacks a parameter, and for data without a
    training target, or without anybody to judge it on.
    """
    _check(recipe, dataset, panel or dataset)
    config = config_of(dataset, recipe, panel, tuning)
    place = distributed.setup(pick_device(device))
    path = runs / run_id(config)
    with (
        _named(path),
        Run.open(runs, config, wait=True) if distributed.rank() == 0 else nullcontext() as run,
        torch.random.fork_rng(),
    ):
        distributed.barrier()  # the first process has the lock, or has failed
        if run:
            sweep(path)
        if read_summary(path).get("status") != "finished":
            trainer = Trainer(recipe, dataset, panel or dataset, path, run, tuning, place)
            try:
                trainer.fit(checkpoint_seconds, progress_bar)
            except DivergedError as error:
                message = f"run {path.name}: {error}. The last good checkpoint is kept in {path}"
                if run:
                    run.fail(message)
                raise DivergedError(message) from None
            trainer.finish()
            distributed.barrier()
    return SRT.from_pretrained(path / "model", place), read_summary(path)


class Trainer:
    """One run in progress: model, optimiser, where it stands, and the run's judge.

    Args:
        recipe, dataset, tuning, device: as in `train`.
        judged_on: whose users and catalogue the run is judged on.
        path: folder of the run.
        run: open for writing; None in all processes but the first, or where nothing is to be judged or recorded.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        judged_on: Dataset,
        path: Path,
        run: Run | None,
        tuning: Tuning | None,
        device: torch.device,
    ) -> None:
        self.params, self.path, self.device = recipe.train, path, device
        self.tuning = tuning = tuning or Tuning({})
        self.n_targets = dataset.n_targets
        self.model = (tuning.model or new_model(recipe.model, dataset, recipe.train.seed)).to(device)
        self.model.origin = Origin.of(dataset, judged_on)
        self.model.move_to(judged_on)
        self.judge = Judge(run, recipe.train, dataset, judged_on, self.model) if run else None
        self.loss = Objective(self.model, self.model.features(dataset), dataset.n_items, self.params)
        self.objective: nn.Module = self.loss
        self.frozen: set[str] = set()
        static = self.params.compile or (device.type == "cuda" and self.params.supervise == "all")
        trained_on = dataset.items, dataset.offsets, dataset.train_ends
        self.sequences = Sequences(*trained_on, recipe.model.max_len, device, static)
        self.sampler = NegativeSampler.of(dataset, self.params, device)
        self.optimizer = make_optimizer(self.model, self.params, tuning.rate)
        self.average = running_mean(self.model, self.params.average) if self.params.average else None
        self.judged = cast(SRT, self.average.module) if self.average else self.model  # what is validated and kept
        self.saved = nn.ModuleDict({"model": self.model, "average": self.average}) if self.average else self.model
        self.paper_flops_per_target = paper_total_flops(recipe.model, self.params.n_negatives) / 128
        self.at = Progress()
        self.asked, self.stop = Request(), False  # asked of this process; of any process
        self._resume()
        self.at.batch_size = self.at.batch_size or self._batch_size()
        if self.params.compile:
            self.loss.compile_transformer()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def _resume(self) -> None:
        state = load_checkpoint(self.checkpoints, self.path.name, self.saved, self.optimizer)
        if state is not None:
            if missing := asdict(self.at).keys() - state.keys():
                raise ValueError(
                    f"{self.checkpoints} was written by another version of srtlib "
                    f"(it lacks {', '.join(sorted(missing))}); remove it, and the run starts over"
                )
            self.at = Progress(**{name: state[name] for name in asdict(self.at)})
        distributed.barrier()
        if self.judge:
            # A checkpoint between an epoch's last step and its validation will validate again.
            self.judge.run.truncate(self.at.step - (self.at.batch > 0))

    def checkpoint(self) -> None:
        """Write where the training stands to the disk."""
        if self.judge:
            save_checkpoint(self.checkpoints, self.path.name, self.saved, self.optimizer, asdict(self.at))

    def fit(self, checkpoint_seconds: float, progress_bar: bool) -> None:
        """Train to the last epoch, validating and checkpointing on the way; a signal to stop leaves a checkpoint (and
        a second one ends at once).

        Args:
            checkpoint_seconds: most seconds between checkpoints.
            progress_bar: show how far it is.
        """
        saved = time.monotonic()
        bar = tqdm(
            total=round(self.params.epochs * max(1, self.n_targets)), initial=self.at.targets_seen, unit=" targets",
            unit_scale=True, disable=None if progress_bar and self.judge else True, desc=self.path.name,
            dynamic_ncols=True,
        )  # fmt: skip
        with bar, stop_signal() as self.asked:
            while self.at.epoch < self.params.epochs and not self._out_of_patience():
                epoch = self.epoch()
                while self.at.batch < len(epoch):
                    bar.update(self.step(epoch))
                    if self.judge:
                        bar.set_postfix_str(self.judge.status(self.at), refresh=False)
                    if self.stop or time.monotonic() - saved > checkpoint_seconds:
                        self.checkpoint()
                        saved = time.monotonic()
                    if self.stop:
                        raise Stopped(self.asked.number or signal.SIGTERM)
                self.at.epoch, self.at.batch = self.at.epoch + 1, 0
                at_validation = self.at.epoch % self.params.eval_every == 0 or self.at.epoch >= self.params.epochs
                if self.judge and at_validation:
                    self.judge.validate(self.judged, self.at, patient=self._more_to_unfreeze())
            if any(distributed.total([self.asked.number], self.device)):  # it came after the last step
                self.checkpoint()
                raise Stopped(self.asked.number or signal.SIGTERM)

    def finish(self) -> None:
        """Test the best weights and write the run's summary; the checkpoints go."""
        if self.judge:
            self.judge.finish(self.model.parameter_counts(), self.at, self.device)
            remove_checkpoints(self.checkpoints)

    def epoch(self) -> Epoch:
        """The batches of the epoch that it stands in; what is frozen in it takes no gradient."""
        self.model.train()
        self._freeze()
        generator = torch.Generator().manual_seed(mixed_seed(self.params.seed, self.at.epoch, 1))
        epoch = self.sequences.epoch(self.params.supervise, self.at.batch_size, generator)
        # A last batch of fewer windows than processes has nothing for some of them.
        cuts = [cut for cut in epoch.cuts if cut[1] - cut[0] >= distributed.world()]
        return replace(epoch, cuts=cuts[: max(1, round(self._part_of_epoch() * len(cuts)))])

    def step(self, epoch: Epoch) -> int:
        """One optimiser step on the epoch's next batch; returns the targets that it learnt from."""
        began = time.monotonic()
        rank, world = distributed.rank(), distributed.world()
        _seed(self.device, mixed_seed(self.params.seed, self.at.step, 2 + rank))
        batch = epoch.batch(self.at.batch, rank, world)
        part = self._part_of_epoch()
        share = (self.at.epoch + part * (self.at.batch + 1) / len(epoch)) / self.params.epochs
        n_steps = round(self.params.epochs * len(epoch) / part)
        follow_schedule(self.optimizer, self.params, self.at.epoch, share, n_steps)
        self.optimizer.zero_grad(set_to_none=True)
        mean, shape = self._loss(batch)
        own, n = len(batch.targets), epoch.n_targets(self.at.batch)
        loss = mean * (own * world / n)  # DDP averages over processes: the mean over all targets remains
        if self.tuning.penalty:
            loss = loss + self.tuning.penalty(self.model)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.params.clip_norm or math.inf)
        # The loss is read only now that all a GPU has to compute has been asked for.
        sums = [mean.item() * own, training_flops(self.model.params, shape, self.frozen), self.asked.number]
        loss_sum, flops, stop = distributed.total(sums, self.device)
        self.stop, value = stop > 0, loss_sum / n
        if self.at.sound(value, norm.item()):
            self.optimizer.step()
            self.at.good(value)
            if self.average:
                self.average.update_parameters(self.model)
        else:
            self.at.bad(value)
        self.at.step, self.at.batch = self.at.step + 1, self.at.batch + 1
        self.at.targets_seen += n
        self.at.flops += flops
        self.at.flops_paper += self.paper_flops_per_target * n
        self.at.wall_s += time.monotonic() - began
        return n

    def _part_of_epoch(self) -> float:
        """How much of the epoch it stands in is trained: all, but for the last of a broken number."""
        return min(1.0, self.params.epochs - self.at.epoch)

    def _loss(self, batch: Batch) -> tuple[Tensor, BatchShape]:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.params.precision == "bfloat16"):
            return self.objective(batch, *self.loss.draw(self.sampler, batch.targets))

    def _freeze(self) -> None:
        """Turn the gradients of this epoch's frozen parts off, of the others on."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(group["rates"][self.at.epoch] > 0)
        frozen = {part_of(name) for name, p in self.model.named_parameters() if not p.requires_grad}
        if distributed.world() > 1 and (frozen != self.frozen or self.objective is self.loss):
            self.objective = DistributedDataParallel(self.loss)  # it must know which gradients to expect
        self.frozen = frozen

    def _more_to_unfreeze(self) -> bool:
        """Whether a part's learning-rate factor has yet to change."""
        return any(len(set(group["rates"][self.at.epoch - 1 :])) > 1 for group in self.optimizer.param_groups)

    def _out_of_patience(self) -> bool:
        """Only the first process validates, but all must stop."""
        (waited,) = distributed.total([float(self.at.validations_since_best if self.judge else 0)], self.device)
        return 0 < self.params.patience <= waited

    def _batch_size(self) -> int:
        """The batch size asked for; `auto` is the largest that every process's GPU has memory for."""
        if self.params.batch_size != "auto":
            return self.params.batch_size
        usual = usual_batch_size(self.params.epochs * self.n_targets)
        if self.device.type == "cpu":
            warnings.warn(f"batch_size: auto fills a GPU's memory; on a CPU it is {usual}", stacklevel=2)
            return usual
        return distributed.least(largest_batch(self._try_batch, usual, self.n_targets), self.device)

    def _try_batch(self, batch_size: int) -> None:
        """A forward and a backward pass, with the optimiser's state in memory; nothing is learnt."""
        state = [torch.empty_like(p) for p in self.model.parameters() for _ in range(2)]
        with torch.random.fork_rng():
            epoch = self.sequences.epoch(self.params.supervise, batch_size, torch.Generator().manual_seed(0))
            self._loss(epoch.batch(0, distributed.rank(), distributed.world()))[0].backward()
        self.optimizer.zero_grad(set_to_none=True)
        del state


def _check(recipe: Recipe, dataset: Dataset, judged_on: Dataset) -> None:
    encoder_class(recipe.model)
    check_size(recipe.model)
    look_up(OBJECTIVES, recipe.train.objective, "objective")
    look_up(NEGATIVES, recipe.train.negatives, "negatives")
    if not dataset.n_targets:
        why = (
            f"no user has two interactions before the first of the cuts {dataset.cuts}; expected some"
            if dataset.cuts
            else "no user has more than three interactions, of which the last two are for validation and test; "
            "expected users with four or more"
        )
        raise ValueError(f"{dataset.name} has no training target: {why}")
    for part in PARTS:
        judged_on.with_target(part)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of the operating system is said of the run (a full disk names no file)."""
    try:
        yield
    except OSError as error:
        raise OSError(f"run {path}: {error}; what it recorded before is kept") from error


def _seed(device: torch.device, number: int) -> None:
    """Seed what draws on a device; torch.manual_seed takes long where there is no GPU."""
    seed = torch.default_generator.manual_seed if device.type == "cpu" else torch.manual_seed
    seed(number)


def mixed_seed(seed: int, number: int, purpose: int) -> int:
    """A seed for one step or epoch: distinct purposes and numbers give unrelated streams.

    Args:
        seed: of the run.
        number: of the step or epoch.
        purpose: what the stream is for.
    """
    return (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + purpose * 0x94D049BB133111EB) % (1 << 63)
