"""The training step on a GPU: is it right, how fast is it, and how long would the paper's whole grid take?

    python benchmarks/gpu.py                # on a CUDA GPU, some minutes; writes results/gpu.jsonl
    python benchmarks/gpu.py --device cpu   # the same on a CPU with small settings, to see that it runs

Needs torch, numpy, and the small lazy-loader and platformdirs, beside this checkout (which need not be installed).
Three parts, each a kind of JSON line:

- check: loss and gradient of one batch against float32 on the CPU (another layout, another attention), by precision and
  with and without torch.compile. The exit code is 1 if any is off.
- speed: targets/s, share of the measured matmul peak that the step's exact FLOPs reach, and peak memory, for d = 64 to
  1024 (2 layers, d_ff = 4 d, 1,000 shared negatives), with and without torch.compile.
- grid: targets/s of each width and depth that the authors ran (d_ff = d, 300 shared negatives; they ran 100 and 300),
  and the hours that all their 119 runs of 50 epochs would take at that speed, training alone.

Data are synthetic: users of 1 to 200 interactions, items with 12 title tokens of 30,000 and a Zipf-like popularity.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, cycle, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from common import record
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from srtlib.model.encoders import BagFeatures
from srtlib.model.flops import training_flops
from srtlib.model.packing import Batch, Sequences
from srtlib.model.srt import SRT
from srtlib.training.losses import NegativeSampler
from srtlib.training.objective import Objective
from srtlib.training.optimisation import make_optimizer

EPOCHS = 50
# (width, layers) -> training targets of an epoch, summed over the authors' runs of that shape (their recorded store).
GRID = {
    (32, 1): 2_604_482, (32, 2): 2_604_482,
    (64, 1): 2_604_482, (64, 2): 54_232_960, (64, 4): 34_612_437, (64, 8): 2_524_461,
    (128, 2): 27_116_480, (128, 4): 27_116_480, (128, 8): 21_519_620,
    (256, 8): 10_759_810, (256, 16): 6_682_146, (256, 24): 3_012_891,
}  # fmt: skip
VOCABULARY, TOKENS, MAX_LEN = 30_000, 12, 50
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}  # relative error of the gradient


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    checked: tuple[int, ...] = (64, 256)
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    precision: str = "bfloat16"
    batch: int = 16_384
    steps: int = 30
    warm_up: int = 10
    items: int = 1_000_000


ON_CPU = Settings(checked=(64,), widths=(64,), precision="float32", batch=1024, steps=2, warm_up=1, items=10_000)


class Data:
    """Synthetic interactions and the features of the items, on a device."""

    def __init__(self, n_items: int) -> None:
        rng = np.random.default_rng(0)
        lengths = 3 + np.minimum(rng.geometric(0.12, size=n_items // 4), 197)
        popularity = 1 / (np.arange(n_items) + 100.0)
        self.n_items = n_items
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.items = rng.choice(n_items, size=self.offsets[-1], p=popularity / popularity.sum()).astype(np.int32)
        self.train_counts = np.bincount(self.items, minlength=n_items)
        self.ids = torch.as_tensor(rng.integers(0, VOCABULARY, n_items * TOKENS, dtype=np.int32))

    def features(self, device: torch.device) -> BagFeatures:
        offsets = torch.arange(self.n_items + 1) * TOKENS
        return BagFeatures({"title": self.ids.to(device)}, {"title": offsets.to(device)})


class Step:
    """A model, its optimiser and its data on a device; `run` is one whole training step."""

    def __init__(
        self,
        data: Data,
        device: torch.device,
        d_model: int,
        n_layers: int = 2,
        d_ff: int = 4,
        n_negatives: int = 1000,
        precision: str = "float32",
        dropout: float = 0.1,
        static: bool = True,
        compiled: bool = False,
    ) -> None:
        self.device, self.precision = device, precision
        model: Any = SimpleNamespace(
            d_model=d_model, n_layers=n_layers, n_heads=max(1, d_model // 64), d_ff=d_ff * d_model, max_len=MAX_LEN,
            dropout=dropout, attention_dropout=0.0, norm="pre", norm_eps=1e-12, encoder="token_bag", start="random",
            fields={"title": TOKENS}, vector_dim=0, initialisation="xavier", feed_forward="gelu",
            qk_norm=False, temperature=0.0, positions="absolute", residual_scale=False, neighbours=False,
        )  # fmt: skip
        train: Any = SimpleNamespace(
            objective="sampled_softmax", supervise="all", logq_on_positive=False, n_negatives=n_negatives,
            optimizer="adamw", learning_rate=1e-3, weight_decay=0.01, epochs=1, in_batch=False,
        )  # fmt: skip
        torch.manual_seed(0)
        tokenizer: Any = SimpleNamespace(get_vocab_size=lambda: VOCABULARY)
        self.model = SRT(model, tokenizer).to(device)
        self.train, self.compiled = train, compiled
        self.objective = Objective(self.model, data.features(device), data.n_items, train)
        if compiled:
            self.objective.compile_transformer()
        self.sampler = NegativeSampler(data.train_counts, "popularity", device)
        self.sequences = Sequences(data.items, data.offsets, data.offsets[1:] - 2, MAX_LEN, device, static)
        self.optimizer = make_optimizer(self.model, train)

    def loss(self, batch: Batch, negatives: Tensor) -> tuple[Tensor, int]:
        """The loss, and the step's exact FLOPs."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            loss, shape = self.objective(batch, negatives, self.sampler.log_q)
        return loss, training_flops(self.model.params, shape)

    def run(self, batch: Batch) -> int:
        """One step as the training loop takes it, down to looking at the loss; returns its FLOPs."""
        self.optimizer.zero_grad(set_to_none=True)
        loss, flops = self.loss(batch, self.sampler.draw((self.train.n_negatives,)))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if not np.isfinite(loss.item() + norm.item()):
            raise RuntimeError(f"loss {loss.item()} with gradient norm {norm.item()}: expected finite numbers")
        self.optimizer.step()
        return flops

    def about(self) -> dict[str, Any]:
        params = self.model.params
        return {
            "d_model": params.d_model, "n_layers": params.n_layers, "d_ff": params.d_ff,
            "n_negatives": self.train.n_negatives, "precision": self.precision, "compile": self.compiled,
        }  # fmt: skip


def check(data: Data, device: torch.device, settings: Settings, compiled: bool) -> Iterator[dict[str, Any]]:
    """Loss and gradient of one batch of windows, against float32 on the CPU in buckets."""
    tokens = 2048

    def found(step: Step) -> tuple[float, Tensor]:
        epoch = step.sequences.epoch("all", tokens, torch.Generator().manual_seed(0))
        starts, lengths = epoch.starts[:150], epoch.lengths[:150]
        batch = step.sequences.pack(starts, lengths, "all", tokens if step.sequences.block else 0)
        loss, _ = step.loss(batch, torch.arange(1000, device=step.device))
        loss.backward()
        return loss.item(), torch.cat([p.grad.flatten().cpu() for p in step.model.parameters() if p.grad is not None])

    for d_model, precision in product(settings.checked, TOLERANCE):
        loss, gradient = found(Step(data, torch.device("cpu"), d_model, dropout=0.0, static=False))
        step = Step(data, device, d_model, precision=precision, dropout=0.0, compiled=compiled)
        row = {"what": "check", **step.about()}
        try:
            other, other_gradient = found(step)
        except Exception as error:
            yield {**row, "error": _first_line(error), "passed": False}
            continue
        off = float((other_gradient - gradient).norm() / gradient.norm())
        passed = off < TOLERANCE[precision]
        yield {**row, "loss_error": abs(other - loss) / loss, "gradient_error": off, "passed": passed}


def speeds(
    data: Data, device: torch.device, settings: Settings, peak: float, compiled: bool
) -> Iterator[dict[str, Any]]:
    """The library's own recipe by width; what torch.compile cannot do here is said and left out."""
    for d_model in settings.widths:
        step = Step(data, device, d_model, precision=settings.precision, compiled=compiled)
        try:
            yield {"what": "speed", **speed(step, settings, peak)}
        except Exception as error:
            yield {"what": "speed", **step.about(), "error": _first_line(error), "passed": False}


def grid(data: Data, device: torch.device, settings: Settings, peak: float) -> Iterator[dict[str, Any]]:
    """The authors' shapes, and the hours of all their runs."""
    seconds = 0.0
    for (d_model, n_layers), targets in GRID.items():
        row = speed(Step(data, device, d_model, n_layers, 1, 300, settings.precision), settings, peak)
        seconds += EPOCHS * targets / row["targets_per_s"]
        yield {"what": "grid", **row}
    yield {"what": "hours of the authors' 119 runs", "epochs": EPOCHS, "hours": seconds / 3600}


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def speed(step: Step, settings: Settings, peak: float) -> dict[str, Any]:
    """Targets/s, utilisation and peak memory of whole steps, batches made on the way."""
    epoch = step.sequences.epoch("all", settings.batch, torch.Generator().manual_seed(0))
    numbers = cycle(range(len(epoch)))

    def run(n: int) -> tuple[float, int, int]:
        _synchronise(step.device)
        began, targets, flops = time.perf_counter(), 0, 0
        for _ in range(n):
            batch = epoch.batch(next(numbers))
            targets, flops = targets + len(batch.targets), flops + step.run(batch)
        _synchronise(step.device)
        return time.perf_counter() - began, targets, flops

    run(settings.warm_up)
    if step.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, targets, flops = run(settings.steps)
    return {
        **step.about(),
        "batch_size": settings.batch,
        "targets_per_s": targets / seconds,
        "flops_per_s": flops / seconds,
        "utilisation": flops / seconds / peak,
        "peak_bytes": torch.cuda.max_memory_allocated() if step.device.type == "cuda" else None,
    }


def matmul_peak(device: torch.device, precision: str) -> float:
    """FLOP/s of a large square matrix product, the best of ten."""
    n = 8192 if device.type == "cuda" else 1024
    square = torch.randn(n, n, device=device, dtype=getattr(torch, precision))

    def seconds() -> float:
        _synchronise(device)
        began = time.perf_counter()
        _ = square @ square
        _synchronise(device)
        return time.perf_counter() - began

    return 2 * n**3 / min(seconds() for _ in range(10))


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ... or cpu (small settings)")
    device = torch.device(parser.parse_args().device)
    on_gpu = device.type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        sys.exit("gpu.py: this torch sees no CUDA GPU; expected one, or --device cpu")
    if on_gpu:
        torch.cuda.set_device(device.index or 0)
    settings = Settings() if on_gpu else ON_CPU
    data, peak = Data(settings.items), matmul_peak(device, settings.precision)
    rows: list[dict[str, Any]] = []
    name = torch.cuda.get_device_name(device) if on_gpu else "cpu"
    about = {"device": name, "cuda": torch.version.cuda, "numpy": np.__version__, "matmul_flops_per_s": peak}
    try:
        for row in chain(  # what waits for the compiler comes last, so that an interruption costs least
            check(data, device, settings, compiled=False),
            grid(data, device, settings, peak),
            speeds(data, device, settings, peak, compiled=False),
            check(data, device, settings, compiled=True),
            speeds(data, device, settings, peak, compiled=True),
        ):
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
            torch._dynamo.reset()
    finally:  # what was measured before an interruption counts
        record("gpu" if on_gpu else "gpu_on_cpu", [{**row, **about} for row in rows])
    if not all(row.get("passed", True) for row in rows):
        sys.exit("gpu.py: a part failed: see the rows with passed = false")


if __name__ == "__main__":
    main()
