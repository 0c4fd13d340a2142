"""The training loop: batches by index from the device, one encoding of each item, resumable at any step.

Everything random at step t follows from (seed, t), and an epoch's order from (seed, epoch): a resumed training
continues exactly where it was, with no random state to restore.
"""

import math
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from srtlib import distributed
from srtlib.checkpoint import load_checkpoint, remove_checkpoints, save_checkpoint
from srtlib.data.dataset import Dataset
from srtlib.data.text import dataset_tokenizer
from srtlib.evaluate import metrics, ranks
from srtlib.flops import BatchShape, paper_total_flops, training_flops
from srtlib.losses import NegativeSampler, full_softmax, sampled_softmax
from srtlib.model import SRT, BagFeatures, Features, part_of
from srtlib.packing import Batch, Epoch, Sequences
from srtlib.params import ModelParams, Recipe, TrainParams
from srtlib.paths import project_root
from srtlib.runs import Run, read_summary, run_id

SELECT_BY = "ndcg@5"  # the best checkpoint is the one with the highest validation value of this
MAX_BAD_STEPS = 10  # steps with a non-finite loss or gradient in a row, skipped, before training stops


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient was not finite for too many steps in a row."""


class Objective(nn.Module):
    """The loss of a batch: encodes each item once, runs the transformer, scores targets against negatives."""

    def __init__(self, model: SRT, features: Features, n_items: int, params: TrainParams) -> None:
        super().__init__()
        self.model = model
        self.params = params
        self.n_items = n_items
        self.features = features

    def forward(self, batch: Batch, negative_ids: Tensor, log_q: Tensor) -> tuple[Tensor, BatchShape]:
        """Mean loss over the batch's targets, and what was computed on."""
        full = self.params.objective == "full_softmax"
        if full:
            used, places = torch.arange(self.n_items, device=batch.items.device), None
            inputs, targets = batch.items.long(), batch.targets.long()
        else:
            everything = torch.cat([batch.items.long(), batch.targets.long(), negative_ids.flatten()])
            used, places = torch.unique(everything, return_inverse=True)
            n_tokens, n_targets = len(batch.items), len(batch.targets)
            inputs, targets, negatives = places.split([n_tokens, n_targets, negative_ids.numel()])
        vectors = self.model.encode(self.features, used)
        outputs = self.model(F.embedding(inputs, vectors), batch.layout)
        if self.params.supervise == "last" or len(batch.supervised) < len(outputs):
            outputs = outputs[batch.supervised]
        if full:
            loss = full_softmax(outputs, vectors, targets)
        else:
            loss = sampled_softmax(
                outputs,
                F.embedding(targets, vectors),
                F.embedding(negatives.view(negative_ids.shape), vectors),
                batch.targets.long(),
                negative_ids,
                log_q,
                self.params.logq_on_positive,
            )
        return loss, self._shape(batch, used, negative_ids)

    def _shape(self, batch: Batch, used: Tensor, negative_ids: Tensor) -> BatchShape:
        n_scored = self.n_items if self.params.objective == "full_softmax" else negative_ids.shape[-1]
        item_tokens = 0
        if isinstance(self.features, BagFeatures):
            item_tokens = sum(int((o[used + 1] - o[used]).sum()) for o in self.features.offsets.values())
        return BatchShape(
            tokens=batch.layout.n_tokens,
            attention_pairs=batch.layout.attention_pairs,
            encoded_items=len(used),
            item_tokens=item_tokens,
            scored_pairs=len(batch.supervised) * n_scored,
        )


def always(part: str, epoch: int) -> float:
    """The learning-rate factor of training everything alike."""
    return 1.0


@dataclass(frozen=True)
class Tuning:
    """How a training differs from one that starts at random and trains everything alike.

    record: what tells it from others; part of the run's configuration, under "transfer". model: the weights to start
    from. rate: the learning-rate factor of a part of the model (`srtlib.model.part_of`) in an epoch, 0 for frozen.
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
    flops: float = 0.0
    flops_paper: float = 0.0
    targets_seen: int = 0
    wall_s: float = 0.0
    bad_steps: int = 0
    bad_in_a_row: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_step: int = 0
    validations_since_best: int = 0
    best: dict[str, float] = field(default_factory=dict)


def config_of(
    dataset: Dataset, recipe: Recipe, panel: Dataset | None = None, tuning: Tuning | None = None
) -> dict[str, Any]:
    """What identifies a run: data, model, training, who it is evaluated on, and where it starts from."""
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
        "train": recipe.train.model_dump(exclude={"seed"}),
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
    what to train, if not everything from random weights (see srtlib.transfer). Returns the best model and the run's
    summary (columns: see srtlib.runs).

    A run of the same configuration that was interrupted is resumed; a finished one is not trained again. Under
    torchrun the processes share each batch (DDP) and the first one evaluates and writes. Raises NonFiniteLossError
    after ten non-finite steps in a row, naming the step; the last good checkpoint stays.
    """
    config = config_of(dataset, recipe, panel, tuning)
    place = distributed.setup(pick_device(device))
    path = runs / run_id(config)
    with Run.open(runs, config) if distributed.rank() == 0 else nullcontext() as run, torch.random.fork_rng():
        distributed.barrier()  # the first process has the lock, or has failed
        if read_summary(path).get("status") != "finished":
            trainer = Trainer(recipe, dataset, panel or dataset, path, run, tuning or Tuning({}), place)
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
        tuning: Tuning,
        device: torch.device,
    ) -> None:
        self.params, self.path, self.run, self.tuning, self.device = recipe.train, path, run, tuning, device
        self.model = (tuning.model or new_model(recipe.model, dataset, recipe.train.seed)).to(device)
        self.loss = Objective(self.model, self.model.features(dataset), dataset.n_items, self.params)
        self.objective: nn.Module = self.loss
        self.frozen: set[str] = set()
        self.sequences = Sequences(dataset, recipe.model.max_len, device)
        self.sampler = NegativeSampler(dataset.train_counts, self.params.negatives, device)
        self.optimizer = make_optimizer(self.model, self.params, tuning.rate)
        self.judged_on = judged_on
        self.judged_features = self.model.features(judged_on)
        self.paper_flops_per_target = paper_total_flops(recipe.model, self.params.n_negatives) / 128
        self.at = Progress()
        self.resume()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def resume(self) -> None:
        state = load_checkpoint(self.checkpoints, self.model, self.optimizer)
        if state is not None:
            self.at = Progress(**{name: state[name] for name in asdict(self.at)})
        distributed.barrier()
        if self.run:
            # A checkpoint between an epoch's last step and its validation will validate again.
            self.run.truncate(self.at.step - (self.at.batch > 0))

    def checkpoint(self) -> None:
        if self.run:
            save_checkpoint(self.checkpoints, self.at.step, self.model, self.optimizer, asdict(self.at))

    def fit(self, checkpoint_seconds: float, progress_bar: bool) -> None:
        """Train to the last epoch, validating and checkpointing on the way; Ctrl-C leaves a checkpoint."""
        saved = time.monotonic()
        total = self.params.epochs * max(1, int((self.sequences.offsets.diff() - 3).sum()))
        bar = tqdm(
            total=total, initial=self.at.targets_seen, unit=" targets", unit_scale=True,
            disable=None if progress_bar and self.run else True, desc=self.path.name, dynamic_ncols=True,
        )  # fmt: skip
        try:
            while self.at.epoch < self.params.epochs:
                epoch = self._epoch()
                self._freeze()
                while self.at.batch < len(epoch):
                    bar.update(self._step(epoch))
                    bar.set_postfix_str(self._status(), refresh=False)
                    if time.monotonic() - saved > checkpoint_seconds:
                        self.checkpoint()
                        saved = time.monotonic()
                self.at.epoch, self.at.batch = self.at.epoch + 1, 0
                if self.at.epoch % self.params.eval_every == 0 or self.at.epoch == self.params.epochs:
                    self._validate()
                    if self._out_of_patience():
                        break
        except KeyboardInterrupt:
            self.checkpoint()
            raise
        finally:
            bar.close()

    def finish(self) -> None:
        """Test the best weights once and write the summary."""
        if self.run is None:
            return
        best = SRT.from_pretrained(self.path / "model", self.device)
        rows = [row for row in self.run.rows() if f"valid_{SELECT_BY}" in row]
        self.run.finish(
            {
                "params": self.model.parameter_counts(),
                "flops": self.at.flops,
                "flops_paper": self.at.flops_paper,
                "targets_seen": self.at.targets_seen,
                "wall_s": round(self.at.wall_s, 3),
                "bad_steps": self.at.bad_steps,
                "best_step": self.at.best_step,
                "valid": {k: max(row[f"valid_{k}"] for row in rows) for k in self.at.best},
                "valid_final": {k: rows[-1][f"valid_{k}"] for k in self.at.best},
                "test": metrics(self._ranks(best, "test")),
                "test_unseen": metrics(self._ranks(best, "test", exclude_seen=True)),
                **provenance(self.device),
            }
        )
        remove_checkpoints(self.checkpoints)

    def _epoch(self) -> Epoch:
        generator = torch.Generator().manual_seed(_mix(self.params.seed, self.at.epoch, 1))
        epoch = self.sequences.epoch(self.params.supervise, self.params.batch_size, generator)
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
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.params.precision == "bfloat16"):
            loss, shape = self.objective(batch, self._negatives(batch), self.sampler.log_q)
        own = len(batch.targets)
        loss_sum, n, flops = distributed.total(
            [loss.item() * own, own, training_flops(self.model.params, shape, self.frozen)], self.device
        )
        loss = loss * (own * world / n)  # DDP averages over processes: the mean over all targets remains
        if self.tuning.penalty:
            loss = loss + self.tuning.penalty(self.model)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.params.clip_norm)
        value = loss_sum / n
        if math.isfinite(value) and bool(torch.isfinite(norm)):
            self.optimizer.step()
            self.at.loss_sum, self.at.loss_steps = self.at.loss_sum + value, self.at.loss_steps + 1
            self.at.bad_in_a_row = 0
        else:
            self._bad_step(value)
        self.at.step, self.at.batch = self.at.step + 1, self.at.batch + 1
        self.at.targets_seen += int(n)
        self.at.flops += flops
        self.at.flops_paper += self.paper_flops_per_target * n
        self.at.wall_s += time.monotonic() - began
        return int(n)

    def _negatives(self, batch: Batch) -> Tensor:
        if self.params.objective == "full_softmax":
            return torch.empty(0, dtype=torch.long, device=self.device)
        k = self.params.n_negatives
        return self.sampler.draw((k,) if self.params.shared_negatives else (len(batch.targets), k))

    def _bad_step(self, loss: float) -> None:
        self.at.bad_steps, self.at.bad_in_a_row = self.at.bad_steps + 1, self.at.bad_in_a_row + 1
        if self.at.bad_in_a_row >= MAX_BAD_STEPS:
            first = self.at.step + 1 - self.at.bad_in_a_row
            raise NonFiniteLossError(
                f"run {self.path.name}: loss {loss} or its gradient is not finite since step {first} "
                f"({self.at.bad_in_a_row} steps in a row); expected finite: lower the learning rate. "
                f"The last good checkpoint is kept in {self.path}"
            )

    def _validate(self) -> None:
        if self.run is None:
            return
        values = metrics(self._ranks(self.model, "valid"))
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

    def _ranks(self, model: SRT, split: str, exclude_seen: bool = False) -> Any:
        return ranks(model, self.judged_on, split, self.params.protocol, exclude_seen, features=self.judged_features)

    def _status(self) -> str:
        parts = [f"loss {self.at.loss_sum / max(1, self.at.loss_steps):.3f}"]
        if self.at.best:
            parts.append(f"best {SELECT_BY} {self.at.best[SELECT_BY]:.4f}")
        if self.at.bad_steps:
            parts.append(f"{self.at.bad_steps} bad steps skipped")
        return ", ".join(parts)


def make_optimizer(
    model: SRT, params: TrainParams, rate: Callable[[str, int], float] = always
) -> torch.optim.Optimizer:
    """Adam or AdamW, fused. AdamW leaves vectors (biases, norms) undecayed; Adam decays all, as the authors do.

    Parameters are grouped by their weight decay and their learning-rate factors, one per epoch, under "rates".
    """
    groups: dict[Any, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        decay = params.weight_decay if params.optimizer == "adam" or parameter.dim() > 1 else 0.0
        rates = [rate(part_of(name), epoch) for epoch in range(params.epochs)]
        group = groups.setdefault((decay, *rates), {"params": [], "weight_decay": decay, "rates": rates})
        group["params"].append(parameter)
    if params.optimizer == "adam":
        return torch.optim.Adam(list(groups.values()), lr=params.learning_rate, fused=True)
    return torch.optim.AdamW(list(groups.values()), lr=params.learning_rate, betas=(0.9, 0.98), fused=True)


def learning_rate_factor(share: float, params: TrainParams) -> float:
    """Learning rate over its peak when `share` of the training is done.

    linear: up over `warmup`, then down to 0. one_cycle: two half cosines, from 1/25 up over `warmup`, then down
    to 1/250,000 (torch's OneCycleLR).

    >>> learning_rate_factor(0.5, TrainParams(warmup=0.5))
    1.0
    """
    if params.schedule == "linear":
        return share / params.warmup if share < params.warmup else (1 - share) / (1 - params.warmup)
    start, end = 1 / 25, 1 / 250_000
    if share < params.warmup:
        return start + (1 - start) * (1 - math.cos(math.pi * share / params.warmup)) / 2
    return end + (1 - end) * (1 + math.cos(math.pi * (share - params.warmup) / (1 - params.warmup))) / 2


def record_untrained(
    store: Path, config: dict[str, Any], rank: Callable[[str, bool], np.ndarray], params: dict[str, int]
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


def _mix(seed: int, number: int, purpose: int) -> int:
    """A seed for one step or epoch: distinct purposes and numbers give unrelated streams."""
    return (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + purpose * 0x94D049BB133111EB) % (1 << 63)
