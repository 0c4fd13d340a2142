"""Sequences packed into batches: which tokens, at which positions, in which groups, predicting which targets.

Which rows a batch takes is computed on the CPU, so that no GPU is waited for; its items are an index operation on the
data set's own array, on whatever device that lives. There are two layouts:

- buckets (on a CPU): sequences of about the same length stand together, so that dense causal attention pays for almost
  no padding and needs no mask;
- static (on a GPU, and for torch.compile): sequences stand end to end, and the rest up to a fixed number of tokens is
  filled with sequences of one token: every batch has the same shape.

Shapes: T packed tokens, S supervised positions, W windows; C tokens of a block, at least as long as any sequence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from srtlib.model.csr import places, ramp
from srtlib.model.memory import resident, take

BLOCK = 128  # a static batch is a multiple of this

# Sequences are padded to the next of these (and to multiples of 16 above): at most a quarter is padding.
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 50, 64)


@dataclass(frozen=True)
class Layout:
    """How the packed axis is made of sequences.

    groups: (sequences, padded length) of consecutive stretches, sum of products = T; empty where static.
    positions: int64 [T], place in the sequence, from 0.
    attention_pairs: query-key pairs of dense attention, the sum of squared lengths (padded ones in buckets).
    mask: bool [T / C, 1, C, 2 C] where static: which tokens of its own block and the one before a query sees.
    """

    groups: list[tuple[int, int]]
    positions: Tensor
    attention_pairs: int
    mask: Tensor | None = None

    @property
    def n_tokens(self) -> int:
        return len(self.positions)

    @classmethod
    def buckets(cls, groups: list[tuple[int, int]], positions: Tensor) -> Layout:
        """The layout of padded sequences, the same length side by side.

        Args:
            groups: (sequences, padded length) of each stretch.
            positions: int64 [T], place in the sequence, from 0.

        >>> Layout.buckets([(2, 3)], torch.arange(3).repeat(2)).attention_pairs
        18
        """
        return cls(groups, positions, sum(n * length * length for n, length in groups))

    @classmethod
    def static(cls, positions: Tensor, block: int, attention_pairs: int) -> Layout:
        """The layout of sequences end to end.

        Args:
            positions: int64 [T], place in the sequence, from 0.
            block: no sequence is longer, and it divides T.
            attention_pairs: query-key pairs, the sum of squared lengths.

        >>> Layout.static(torch.tensor([0, 1, 0, 1]), block=2, attention_pairs=8).mask.int().squeeze(1).tolist()
        [[[0, 0, 1, 0], [0, 0, 1, 1]], [[0, 0, 1, 0], [0, 0, 1, 1]]]
        """
        query = torch.arange(block, device=positions.device).unsqueeze(1)
        key = torch.arange(-block, block, device=positions.device)
        mask = visible(query, key, positions.view(-1, block, 1)).unsqueeze(1)
        return cls([], positions, attention_pairs, mask)


def visible(query: Tensor, key: Tensor, position: Tensor) -> Tensor:
    """Whether a query sees a key. The arguments broadcast.

    Args:
        query: int, its place in T, or from any origin.
        key: int, its place from the same.
        position: int, the query's place in its sequence.
    """
    return (key <= query) & (key >= query - position)


@dataclass(frozen=True)
class Batch:
    """items: int32 [T]; supervised: int64 [S], places in T whose output predicts; targets: int32 [S], what it is to
    predict (empty where that is not known)."""

    items: Tensor
    layout: Layout
    supervised: Tensor
    targets: Tensor


class Sequences:
    """Sequences of items, on a device if they fit, cut into windows and packed into batches.

    Args:
        items: int32 [interactions], of all users end to end.
        offsets: int64 [users + 1], where each user's items begin.
        ends: int64 [users], where (exclusive) those end that may be looked at.
        max_len: the most items that a window has.
        device: where items and batches are wanted; where sequences start and how long they are stays in main memory.
        static: pack training batches into one fixed shape.
    """

    def __init__(
        self,
        items: np.ndarray,
        offsets: np.ndarray,
        ends: np.ndarray,
        max_len: int,
        device: torch.device | str = "cpu",
        static: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.items = resident(items, self.device)
        self.starts = torch.tensor(offsets[:-1])
        self.lengths = torch.tensor(ends) - self.starts
        self.max_len = max_len
        self.block = (max(BLOCK // 2, 1 << (max_len - 1).bit_length())) if static else 0
        sizes = torch.arange(max_len + 1)
        known = torch.tensor([*(n for n in LENGTHS if n < max_len), max_len])
        self._padded = known[torch.searchsorted(known, sizes)]

    def epoch(self, supervise: str, batch_size: int, generator: torch.Generator) -> Epoch:
        """Every item but a sequence's first as a target once, in random order.

        Args:
            supervise: "all" predicts at every position of a window, "last" at its last.
            batch_size: most tokens of a batch ("all"), or most targets ("last").
            generator: of the order, and of where long sequences are cut.
        """
        starts, lengths = self._windows(supervise, generator)
        order = torch.randperm(len(starts), generator=generator)
        starts, lengths = starts[order], lengths[order]
        tokens = lengths if self.block else self._padded[lengths]
        cost = torch.ones_like(lengths) if supervise == "last" else tokens
        return Epoch(self, supervise, batch_size, starts, lengths, _cut(cost, batch_size))

    def histories(self, batch_tokens: int, users: Tensor | None = None) -> Iterator[tuple[Tensor, Batch]]:
        """Each user's last `max_len` items: (users, batch without targets), by rising length.

        Args:
            batch_tokens: most tokens of a batch.
            users: int64, in main memory, whose (default: all); each has an item.
        """
        if users is None:
            users = torch.arange(len(self.starts))
        lengths = self.lengths[users].clamp(max=self.max_len)
        order = torch.argsort(lengths, stable=True)
        users, lengths = users[order], lengths[order]
        for first, last in _cut(self._padded[lengths], batch_tokens):
            chosen, sizes = users[first:last], lengths[first:last]
            rows, supervised, layout = self._place(self.starts[chosen] + self.lengths[chosen] - sizes, sizes, "last", 0)
            yield chosen, Batch(take(self.items, rows), layout, supervised, self.items.new_empty(0))

    def seen(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Every interaction of some users: (row among `users`, item), int64, on the device.

        Args:
            users: int64, in main memory, whose.
        """
        rows, found = map(self._send, places(self.starts[users], self.lengths[users]))
        return rows, take(self.items, found).long()

    def _windows(self, supervise: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Start and length of every window. `all`: stretches of at most max_len inputs, a long sequence cut at a
        random place each epoch. `last`: for each target the max_len inputs before it."""
        n_targets = (self.lengths - 1).clamp(min=0)
        if supervise == "last":
            user, step = ramp(n_targets)
            lengths = (step + 1).clamp(max=self.max_len)
            return self.starts[user] + step + 1 - lengths, lengths
        shift = torch.randint(self.max_len, n_targets.shape, generator=generator)
        shift = torch.where(n_targets > self.max_len, shift, 0)
        n_windows = (n_targets + shift + self.max_len - 1) // self.max_len
        user, window = ramp(n_windows)
        begin = window * self.max_len - shift[user]
        end = torch.minimum(begin + self.max_len, n_targets[user])
        begin = begin.clamp(min=0)
        return self.starts[user] + begin, end - begin

    def pack(self, starts: Tensor, lengths: Tensor, supervise: str, tokens: int = 0) -> Batch:
        """A batch of windows.

        Args:
            starts: int64 [W], where they begin in the interactions.
            lengths: int64 [W]; the item after each window is its last target.
            supervise: "all" or "last", as in `epoch`.
            tokens: size of a static batch; 0 packs into buckets.
        """
        rows, supervised, layout = self._place(starts, lengths, supervise, tokens)
        return Batch(take(self.items, rows), layout, supervised, take(self.items, rows[supervised] + 1))

    def _place(self, starts: Tensor, lengths: Tensor, supervise: str, tokens: int) -> tuple[Tensor, Tensor, Layout]:
        """Rows of the interactions [T], supervised places [S] and layout of `pack`."""
        order = torch.argsort(lengths, stable=True)
        starts, lengths = starts[order], lengths[order]
        padded = lengths if tokens else self._padded[lengths]
        window, positions = ramp(padded)
        last = (lengths - 1)[window]
        # Padding repeats the last item after the last position: causal attention never looks at it.
        rows = starts[window] + torch.minimum(positions, last)
        supervised_at = positions <= last if supervise == "all" else positions == last
        supervised = supervised_at.nonzero().squeeze(1)
        if tokens:
            rows, positions = (F.pad(x, (0, tokens - len(x))) for x in (rows, positions))
        rows, positions, supervised = map(self._send, (rows, positions, supervised))
        if tokens:
            layout = Layout.static(positions, self.block, int(lengths @ lengths))
        else:
            sizes, counts = torch.unique_consecutive(padded, return_counts=True)
            layout = Layout.buckets(list(zip(counts.tolist(), sizes.tolist(), strict=True)), positions)
        return rows, supervised, layout

    def _send(self, x: Tensor) -> Tensor:
        return x.to(self.device, non_blocking=True)


@dataclass(frozen=True)
class Epoch:
    """One pass over the training targets: batch i is made when asked for, so that training can resume at any i.

    With `world` processes, process `rank` takes every world-th window of each batch in order of length, so that all
    have about as much to do.
    """

    sequences: Sequences
    supervise: str
    batch_size: int
    starts: Tensor
    lengths: Tensor
    cuts: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.cuts)

    def n_targets(self, i: int) -> int:
        """Targets of batch i, of all processes.

        Args:
            i: from 0.
        """
        lengths = self.lengths[slice(*self.cuts[i])]
        return len(lengths) if self.supervise == "last" else int(lengths.sum())

    def batch(self, i: int, rank: int = 0, world: int = 1) -> Batch:
        """Batch i of the epoch, or one process's share of it.

        Args:
            i: from 0.
            rank: number of the process.
            world: how many processes share the batch.
        """
        starts, lengths = (x[slice(*self.cuts[i])] for x in (self.starts, self.lengths))
        if world > 1:
            mine = torch.argsort(lengths, stable=True)[rank::world]
            starts, lengths = starts[mine], lengths[mine]
        return self.sequences.pack(starts, lengths, self.supervise, self._tokens(world))

    def _tokens(self, world: int) -> int:
        """Tokens of a process's static batch: its share, and for the uneven last window; 0 in buckets."""
        block = self.sequences.block
        if not block:
            return 0
        share = self.batch_size if world == 1 else math.ceil(self.batch_size / world) + self.sequences.max_len
        unit = max(BLOCK, block)
        return math.ceil(share / unit) * unit


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
