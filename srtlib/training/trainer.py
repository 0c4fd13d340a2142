"""The training loop: batches by index from the device, one encoding of each item, resumable at any step.

Everything random at step t follows from (seed, t), and an epoch's order from (seed, epoch): a resumed training
continues exactly where it was, with no random state to restore.
"""

import math
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from srtlib.data.dataset import Dataset, Split
from srtlib.data.text import dataset_tokenizer
from srtlib.evaluation import metrics, ranks
from srtlib.model.flops import BatchShape, paper_total_flops, training_flops
from srtlib.model.folder import items_table, write_card, write_items
from srtlib.model.memory import largest_batch
from srtlib.model.packing import Batch, Epoch, Sequences
from srtlib.model.srt import SRT, part_of
from srtlib.params import ModelParams, Recipe
from srtlib.paths import project_root
from srtlib.recipes import usual_batch_size
from srtlib.runs.store import Run, read_summary, run_id
from srtlib.training import distributed
from srtlib.training.checkpoint import load_checkpoint, remove_checkpoints, save_checkpoint, stop_signal
from srtlib.training.losses import NegativeSampler
from srtlib.training.objective import Objective, always, learning_rate_factor, make_optimizer

SELECT_BY = "ndcg@5"  # the best checkpoint is the one with the highest validation value of this
MAX_BAD_STEPS = 10  # bad steps in a row, skipped, before training stops
SPIKE = 3.0  # a loss above this multiple of its running mean makes a bad step, as a non-finite loss or gradient does
SPIKE_STEPS = 100  # the running mean's memory; no loss is a spike before so many


class DivergedError(RuntimeError):
    """The loss or its gradient was not finite, or the loss far above its running mean, too many steps in a row."""


@dataclass(frozen=True)
class Tuning:
    """How a training differs from one that starts at random and trains everything alike.

    record: what tells it from others; part of the run's configuration, under "transfer". model: the weights to start
    from. rate: the learning-rate factor of a part of the model (`part_of`) in an epoch, 0 for frozen.
    penalty: added to the loss of every step.
    """

    record: dict[str, Any]
    model: SRT | None = None
    rate: Callable[[str, int], float] = always
    penalty: Callable[[SRT], Tensor] | None = None


@dataclass
class Progress:
    """Where a training stands; all of it is in the checkpoint."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    batch_size: int = 0
    flops: float = 0.0
    flops_paper: float = 0.0
    targets_seen: int = 0
    wall_s: float = 0.0
    bad_steps: int = 0
    bad_in_a_row: int = 0
    good_steps: int = 0
    loss_mean: float = 0.0  # exponential running mean over good steps
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_step: int = 0
    validations_since_best: int = 0
    best: dict[str, float] = field(default_factory=dict)
    last: float = 0.0  # the last validation's value of SELECT_BY

    def sound(self, loss: float, gradient_norm: float) -> bool:
        """Whether a step may be taken: finite, and not a spike (`SPIKE` times the running mean).

        >>> at = Progress(good_steps=SPIKE_STEPS, loss_mean=2.0)
        >>> at.sound(5.9, 1.0), at.sound(6.1, 1.0), at.sound(2.0, math.inf)
        (True, False, False)
        """
        spike = self.good_steps >= SPIKE_STEPS and loss > SPIKE * self.loss_mean
        return math.isfinite(loss) and math.isfinite(gradient_norm) and not spike

    def good(self, loss: float) -> None:
        """Count a step that was taken."""
        self.good_steps, self.bad_in_a_row = self.good_steps + 1, 0
        self.loss_mean += (loss - self.loss_mean) / min(self.good_steps, SPIKE_STEPS)
        self.loss_sum, self.loss_steps = self.loss_sum + loss, self.loss_steps + 1


def config_of(
    dataset: Dataset, recipe: Recipe, panel: Dataset | None = None, tuning: Tuning | None = None
) -> dict[str, Any]:
    """What identifies a run: data, model, training, who it is evaluated on, and where it starts from; not what only
    makes it faster."""
    judged_on = panel or dataset
    return {
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "n_users": dataset.n_users,
            "n_items": dataset.n_items,
            "n_interactions": dataset.n_interactions,
            "n_targets": dataset.n_targets,
        },
        "panel": {
            "fingerprint": judged_on.fingerprint,
            "n_users": judged_on.n_users,
            "n_items": judged_on.n_items,
        },
        "recipe": recipe.name,
        "model": recipe.model.model_dump(),
        "train": recipe.train.model_dump(exclude={"seed", "compile"}),
        "seed": recipe.train.seed,
        **({"transfer": tuning.record} if tuning else {}),
    }


def new_model(params: ModelParams, dataset: Dataset, seed: int = 0) -> SRT:
    """A freshly initialised SRT whose tokenizer is learnt from the data set's text."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if params.encoder != "token_bag":
            return SRT(params)
        return SRT(params, dataset_tokenizer(dataset, params.vocab_size))


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

    panel: the data set whose users and catalogue the run is judged on (default: `dataset`): validation after every
    `eval_every` epochs, test once, with the weights that were best on validation. tuning: where to start from and
    what to train, if not everything from random weights (see srtlib.studies.fine_tuning). Returns the best model and
    the run's summary (columns: see srtlib.runs).

    A run of the same configuration that was interrupted is resumed; a finished one is not trained again. Under
    torchrun the processes share each batch (DDP) and the first one evaluates and writes. Ctrl-C lets the step end,
    writes a checkpoint and raises KeyboardInterrupt. Raises DivergedError after ten bad steps in a row, naming the
    first, and OSError where the store cannot be written; what was recorded before stays.
    """
    config = config_of(dataset, recipe, panel, tuning)
    place = distributed.setup(pick_device(device))
    path = runs / run_id(config)
    with (
        _named(path),
        Run.open(runs, config) if distributed.rank() == 0 else nullcontext() as run,
        torch.random.fork_rng(),
    ):
        distributed.barrier()  # the first process has the lock, or has failed
        if read_summary(path).get("status") != "finished":
            trainer = Trainer(recipe, dataset, panel or dataset, path, run, tuning, place)
            trainer.fit(checkpoint_seconds, progress_bar)
            trainer.finish()
            distributed.barrier()
    return SRT.from_pretrained(path / "model", place), read_summary(path)


class Trainer:
    """One run in progress: model, optimiser, where it stands, and the folder and run that it writes to (the run is
    None in all processes but the first)."""

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
        self.params, self.path, self.run, self.device = recipe.train, path, run, device
        self.tuning = tuning = tuning or Tuning({})
        self.model = (tuning.model or new_model(recipe.model, dataset, recipe.train.seed)).to(device)
        self.loss = Objective(self.model, self.model.features(dataset), dataset.n_items, self.params)
        self.objective: nn.Module = self.loss
        self.frozen: set[str] = set()
        static = self.params.compile or (device.type == "cuda" and self.params.supervise == "all")
        trained_on = dataset.items, dataset.offsets, dataset.train_ends
        self.sequences = Sequences(*trained_on, recipe.model.max_len, device, static)
        self.sampler = NegativeSampler(dataset.train_counts, self.params.negatives, device)
        self.optimizer = make_optimizer(self.model, self.params, tuning.rate)
        self.dataset, self.judged_on = dataset, judged_on
        self.judged_features = self.model.features(judged_on)
        self.paper_flops_per_target = paper_total_flops(recipe.model, self.params.n_negatives) / 128
        self.at = Progress()
        self.stopping, self.stop = Event(), False  # asked of this process; of any process
        self.resume()
        self.at.batch_size = self.at.batch_size or self._batch_size(dataset.n_targets)
        if self.params.compile:
            self.loss.compile_transformer()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def resume(self) -> None:
        state = load_checkpoint(self.checkpoints, self.path.name, self.model, self.optimizer)
        if state is not None:
            if missing := asdict(self.at).keys() - state.keys():
                raise ValueError(
                    f"{self.checkpoints} was written by another version of srtlib "
                    f"(it lacks {', '.join(sorted(missing))}); remove it, and the run starts over"
                )
            self.at = Progress(**{name: state[name] for name in asdict(self.at)})
        distributed.barrier()
        if self.run:
            # A checkpoint between an epoch's last step and its validation will validate again.
            self.run.truncate(self.at.step - (self.at.batch > 0))

    def checkpoint(self) -> None:
        if self.run:
            save_checkpoint(self.checkpoints, self.path.name, self.model, self.optimizer, asdict(self.at))

    def fit(self, checkpoint_seconds: float, progress_bar: bool) -> None:
        """Train to the last epoch, validating and checkpointing on the way; Ctrl-C leaves a checkpoint (and a second
        one ends at once)."""
        saved = time.monotonic()
        total = self.params.epochs * max(1, self.dataset.n_targets)
        bar = tqdm(
            total=total, initial=self.at.targets_seen, unit=" targets", unit_scale=True,
            disable=None if progress_bar and self.run else True, desc=self.path.name, dynamic_ncols=True,
        )  # fmt: skip
        with bar, stop_signal() as self.stopping:
            while self.at.epoch < self.params.epochs:
                epoch = self._epoch()
                while self.at.batch < len(epoch):
                    bar.update(self._step(epoch))
                    bar.set_postfix_str(self._status(), refresh=False)
                    if self.stop or time.monotonic() - saved > checkpoint_seconds:
                        self.checkpoint()
                        saved = time.monotonic()
                    if self.stop:
                        raise KeyboardInterrupt
                self.at.epoch, self.at.batch = self.at.epoch + 1, 0
                if self.at.epoch % self.params.eval_every == 0 or self.at.epoch == self.params.epochs:
                    self._validate()
                    if self._out_of_patience():
                        break

    def finish(self) -> None:
        """Test the best weights once, complete the model folder and write the summary."""
        if self.run is None:
            return
        best = SRT.from_pretrained(self.path / "model", self.device)
        rows = [row for row in self.run.rows() if f"valid_{SELECT_BY}" in row]
        summary = {
            "params": self.model.parameter_counts(),
            "flops": self.at.flops,
            "flops_paper": self.at.flops_paper,
            "targets_seen": self.at.targets_seen,
            "wall_s": round(self.at.wall_s, 3),
            "bad_steps": self.at.bad_steps,
            "batch_size": self.at.batch_size,
            "best_step": self.at.best_step,
            "valid": {k: max(row[f"valid_{k}"] for row in rows) for k in self.at.best},
            "valid_final": {k: rows[-1][f"valid_{k}"] for k in self.at.best},
            "test": metrics(self._ranks(best, "test")),
            "test_unseen": metrics(self._ranks(best, "test", exclude_seen=True)),
            **provenance(self.device),
        }
        write_items(self.path / "model", items_table(self.judged_on, self.dataset))
        write_card(self.path / "model", self.run.config, summary)
        self.run.finish(summary)
        remove_checkpoints(self.checkpoints)

    def _epoch(self) -> Epoch:
        self._freeze()
        generator = torch.Generator().manual_seed(_mix(self.params.seed, self.at.epoch, 1))
        epoch = self.sequences.epoch(self.params.supervise, self.at.batch_size, generator)
        # A last batch of fewer windows than processes has nothing for some of them.
        return replace(epoch, cuts=[cut for cut in epoch.cuts if cut[1] - cut[0] >= distributed.world()])

    def _freeze(self) -> None:
        """Turn the gradients of this epoch's frozen parts off, of the others on."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(group["rates"][self.at.epoch] > 0)
        frozen = {part_of(name) for name, p in self.model.named_parameters() if not p.requires_grad}
        if distributed.world() > 1 and (frozen != self.frozen or self.objective is self.loss):
            self.objective = DistributedDataParallel(self.loss)  # it must know which gradients to expect
        self.frozen = frozen

    def _out_of_patience(self) -> bool:
        """Only the first process validates, but all must stop."""
        (waited,) = distributed.total([float(self.at.validations_since_best if self.run else 0)], self.device)
        return 0 < self.params.patience <= waited

    def _step(self, epoch: Epoch) -> int:
        """One optimiser step; returns the targets that it learnt from."""
        began = time.monotonic()
        rank, world = distributed.rank(), distributed.world()
        torch.manual_seed(_mix(self.params.seed, self.at.step, 2 + rank))
        batch = epoch.batch(self.at.batch, rank, world)
        share = (self.at.epoch + (self.at.batch + 1) / len(epoch)) / self.params.epochs
        for group in self.optimizer.param_groups:
            rate = self.params.learning_rate * group["rates"][self.at.epoch]
            group["lr"] = rate * learning_rate_factor(share, self.params)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss, shape = self._loss(batch)
        own = len(batch.targets)
        loss_sum, n, flops, stop = distributed.total(
            [
                loss.item() * own,
                own,
                training_flops(self.model.params, shape, self.frozen),
                self.stopping.is_set(),
            ],
            self.device,
        )
        self.stop = stop > 0
        loss = loss * (own * world / n)  # DDP averages over processes: the mean over all targets remains
        if self.tuning.penalty:
            loss = loss + self.tuning.penalty(self.model)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.params.clip_norm)
        value = loss_sum / n
        if self.at.sound(value, norm.item()):
            self.optimizer.step()
            self.at.good(value)
        else:
            self._bad_step(value)
        self.at.step, self.at.batch = self.at.step + 1, self.at.batch + 1
        self.at.targets_seen += int(n)
        self.at.flops += flops
        self.at.flops_paper += self.paper_flops_per_target * n
        self.at.wall_s += time.monotonic() - began
        return int(n)

    def _loss(self, batch: Batch) -> tuple[Tensor, BatchShape]:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.params.precision == "bfloat16"):
            return self.objective(batch, self._negatives(batch), self.sampler.log_q)

    def _batch_size(self, n_targets: int) -> int:
        """The batch size asked for; `auto` is the largest that every process's GPU has memory for."""
        if self.params.batch_size != "auto":
            return self.params.batch_size
        usual = usual_batch_size(n_targets)
        if self.device.type == "cpu":
            warnings.warn(f"batch_size: auto fills a GPU's memory; on a CPU it is {usual}", stacklevel=2)
            return usual
        return distributed.least(largest_batch(self._try_batch, usual, n_targets), self.device)

    def _try_batch(self, batch_size: int) -> None:
        """A forward and a backward pass, with the optimiser's state in memory; nothing is learnt."""
        state = [torch.empty_like(p) for p in self.model.parameters() for _ in range(2)]
        with torch.random.fork_rng():
            epoch = self.sequences.epoch(self.params.supervise, batch_size, torch.Generator().manual_seed(0))
            self._loss(epoch.batch(0, distributed.rank(), distributed.world()))[0].backward()
        self.optimizer.zero_grad(set_to_none=True)
        del state

    def _negatives(self, batch: Batch) -> Tensor:
        if self.params.objective == "full_softmax":
            return torch.empty(0, dtype=torch.long, device=self.device)
        k = self.params.n_negatives
        return self.sampler.draw((k,) if self.params.shared_negatives else (len(batch.targets), k))

    def _bad_step(self, loss: float) -> None:
        self.at.bad_steps, self.at.bad_in_a_row = self.at.bad_steps + 1, self.at.bad_in_a_row + 1
        if self.at.bad_in_a_row >= MAX_BAD_STEPS:
            first = self.at.step + 1 - self.at.bad_in_a_row
            raise DivergedError(
                f"run {self.path.name}: loss {loss:.4g} or its gradient is not finite, or above {SPIKE:g} times its "
                f"running mean {self.at.loss_mean:.4g}, since step {first} ({self.at.bad_in_a_row} steps in a row): "
                f"lower the learning rate. The last good checkpoint is kept in {self.path}"
            )

    def _validate(self) -> None:
        if self.run is None:
            return
        values = metrics(self._ranks(self.model, "valid"))
        self.at.last = values[SELECT_BY]
        if values[SELECT_BY] > self.at.best.get(SELECT_BY, -1.0):
            self.at.best, self.at.best_step, self.at.validations_since_best = values, self.at.step, 0
            self.model.save_pretrained(self.path / "model")
        elif all(len(set(group["rates"][self.at.epoch - 1 :])) == 1 for group in self.optimizer.param_groups):
            self.at.validations_since_best += 1  # counted once nothing is left to be unfrozen
        loss = self.at.loss_sum / max(1, self.at.loss_steps)
        self.at.loss_sum, self.at.loss_steps = 0.0, 0
        self.run.log(
            {
                "step": self.at.step,
                "epoch": self.at.epoch,
                "flops": self.at.flops,
                "flops_paper": self.at.flops_paper,
                "targets_seen": self.at.targets_seen,
                "train_loss": loss,
                "wall_s": round(self.at.wall_s, 3),
                **{f"valid_{name}": value for name, value in values.items()},
            }
        )

    def _ranks(self, model: SRT, split: Split, exclude_seen: bool = False) -> Any:
        return ranks(model, self.judged_on, split, self.params.protocol, exclude_seen, features=self.judged_features)

    def _status(self) -> str:
        parts = [f"loss {self.at.loss_sum / max(1, self.at.loss_steps):.3f}"]
        if self.at.best:
            parts.append(f"{SELECT_BY} {self.at.last:.4f} (best {self.at.best[SELECT_BY]:.4f})")
        if self.at.bad_steps:
            parts.append(f"{self.at.bad_steps} bad steps skipped")
        return ", ".join(parts)


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


def pick_device(device: str | None = None) -> torch.device:
    """The device asked for, else a CUDA GPU if there is one, else the CPU."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


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


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of the operating system is said of the run (a full disk names no file)."""
    try:
        yield
    except OSError as error:
        raise OSError(f"run {path}: {error}; what it recorded before is kept") from error


def _mix(seed: int, number: int, purpose: int) -> int:
    """A seed for one step or epoch: distinct purposes and numbers give unrelated streams."""
    return (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + purpose * 0x94D049BB133111EB) % (1 << 63)
