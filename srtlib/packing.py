"""Sequences packed into batches: which tokens, at which positions, in which groups, predicting which targets.

A batch is an index operation on the data set's own arrays, on whatever device they live. Sequences of about the
same length stand together, so that dense causal attention pays for almost no padding and needs no mask; on CUDA
the same packed axis feeds variable-length attention.
Shapes: T packed tokens, S supervised positions, W windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from srtlib.data.dataset import Dataset, Split

# Sequences are padded to the next of these (and to multiples of 16 above): at most a quarter is padding.
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 50, 64)


@dataclass(frozen=True)
class Layout:
    """How the packed axis is made of sequences.

    groups: (sequences, padded length) of consecutive stretches, sum of products = T.
    positions: int64 [T], place in the sequence, from 0.
    """

    groups: list[tuple[int, int]]
    positions: Tensor

    @property
    def n_tokens(self) -> int:
        return len(self.positions)

    @property
    def attention_pairs(self) -> int:
        """Query-key pairs that dense attention computes: the sum of squared lengths."""
        return sum(n * length * length for n, length in self.groups)


@dataclass(frozen=True)
class Batch:
    """items: int32 [T]; supervised: int64 [S], places in T whose output predicts; targets: int32 [S]."""

    items: Tensor
    layout: Layout
    supervised: Tensor
    targets: Tensor


class Sequences:
    """A data set's interactions on a device, cut into windows and packed into batches."""

    def __init__(self, dataset: Dataset, max_len: int, device: torch.device | str = "cpu") -> None:
        self.items = torch.as_tensor(dataset.items.copy()).to(device)
        self.offsets = torch.as_tensor(dataset.offsets.copy()).to(device)
        self.max_len = max_len
        sizes = torch.arange(max_len + 1)
        known = torch.tensor([*(n for n in LENGTHS if n < max_len), max_len])
        self._padded = known[torch.searchsorted(known, sizes)].to(device)

    def epoch(self, supervise: str, batch_size: int, generator: torch.Generator) -> Epoch:
        """Every training target once, in random order, at most `batch_size` targets (or tokens) a batch."""
        starts, lengths = self._windows(supervise, generator)
        order = torch.randperm(len(starts), generator=generator).to(starts.device)
        starts, lengths = starts[order], lengths[order]
        cost = torch.ones_like(lengths) if supervise == "last" else self._padded[lengths]
        return Epoch(self, supervise, starts, lengths, _cut(cost, batch_size))

    def histories(self, dataset: Dataset, split: Split, batch_tokens: int) -> Iterator[tuple[Tensor, Batch]]:
        """Each user's last `max_len` items before the split's target: (user indices, batch), by rising length."""
        ends = torch.as_tensor(dataset.history_ends(split), device=self.items.device)
        lengths = (ends - self.offsets[:-1]).clamp(max=self.max_len)
        users = torch.argsort(lengths, stable=True)
        for first, last in _cut(self._padded[lengths[users]], batch_tokens):
            chosen = users[first:last]
            batch = self.pack(ends[chosen] - lengths[chosen], lengths[chosen], "last")
            yield chosen, batch

    def _windows(self, supervise: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Start and length of every window. `all`: stretches of at most max_len inputs, a user's long sequence
        cut at a random place each epoch. `last`: for each target the max_len inputs before it."""
        users_start = self.offsets[:-1]
        n_targets = self.offsets[1:] - users_start - 3
        if supervise == "last":
            starts_of = torch.repeat_interleave(users_start, n_targets)
            step = _ramp(n_targets)
            lengths = (step + 1).clamp(max=self.max_len)
            return starts_of + step + 1 - lengths, lengths
        shift = torch.randint(self.max_len, n_targets.shape, generator=generator).to(n_targets.device)
        shift = torch.where(n_targets > self.max_len, shift, 0)
        n_windows = (n_targets + shift + self.max_len - 1) // self.max_len
        begin = _ramp(n_windows) * self.max_len - torch.repeat_interleave(shift, n_windows)
        end = torch.minimum(begin + self.max_len, torch.repeat_interleave(n_targets, n_windows))
        begin = begin.clamp(min=0)
        return torch.repeat_interleave(users_start, n_windows) + begin, end - begin

    def pack(self, starts: Tensor, lengths: Tensor, supervise: str) -> Batch:
        """The batch of the windows that begin at `starts` in the interactions, int64 [W] both."""
        order = torch.argsort(lengths, stable=True)
        starts, lengths = starts[order], lengths[order]
        padded = self._padded[lengths]
        positions = _ramp(padded)
        length_of = torch.repeat_interleave(lengths, padded)
        rows = torch.repeat_interleave(starts, padded) + torch.minimum(positions, length_of - 1)
        # Padding repeats the last item after the last position: causal attention never looks at it.
        supervised_at = positions < length_of if supervise == "all" else positions == length_of - 1
        supervised = supervised_at.nonzero().squeeze(1)
        sizes, counts = torch.unique_consecutive(padded, return_counts=True)
        groups = list(zip(counts.tolist(), sizes.tolist(), strict=True))
        return Batch(
            items=self.items[rows],
            layout=Layout(groups, positions),
            supervised=supervised,
            targets=self.items[rows[supervised] + 1],
        )


@dataclass(frozen=True)
class Epoch:
    """One pass over the training targets: batch i is made when asked for, so that training can resume at any i.

    With `world` processes, process `rank` takes every world-th window of each batch.
    """

    sequences: Sequences
    supervise: str
    starts: Tensor
    lengths: Tensor
    cuts: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.cuts)

    def batch(self, i: int, rank: int = 0, world: int = 1) -> Batch:
        first, last = self.cuts[i]
        mine = slice(first + rank, last, world)
        return self.sequences.pack(self.starts[mine], self.lengths[mine], self.supervise)


def _ramp(counts: Tensor) -> Tensor:
    """0..n-1 for each n of `counts`, one after the other."""
    ends = torch.cumsum(counts, 0)
    return torch.arange(int(ends[-1]) if len(ends) else 0, device=counts.device) - torch.repeat_interleave(
        ends - counts, counts
    )


def _cut(costs: Tensor, budget: int) -> list[tuple[int, int]]:
    """Consecutive stretches of about equal cost, each within `budget` (an element dearer than that stands alone)."""
    if not len(costs):
        return []
    reached = torch.cumsum(costs, 0)
    total, dearest = int(reached[-1]), int(costs.max())
    n_stretches = math.ceil(total / max(1, budget - dearest + 1))
    stretch_of = (reached - 1) * n_stretches // total
    ends = torch.cumsum(torch.unique_consecutive(stretch_of, return_counts=True)[1], 0).tolist()
    return list(zip([0, *ends], ends, strict=False))
