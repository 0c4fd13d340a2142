"""Ragged rows, stored end to end: row r of a table is values[starts[r]:starts[r] + lengths[r]]."""

import torch
from torch import Tensor


def places(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The values of some rows, one row after the other: of each the row, and where it stands, int64 [lengths.sum()].

    Args:
        starts: int64 [rows], where each row begins.
        lengths: int64 [rows], how many values it has.

    >>> [x.tolist() for x in places(torch.tensor([7, 0]), torch.tensor([2, 3]))]
    [[0, 0, 1, 1, 1], [7, 8, 0, 1, 2]]
    """
    total = int(lengths.sum())  # the one number that a GPU is waited for
    rows = torch.repeat_interleave(lengths, output_size=total)
    before = torch.cumsum(lengths, 0) - lengths
    return rows, torch.arange(total, device=lengths.device) + (starts - before).index_select(0, rows)


def ramp(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """0..n-1 for each n of `lengths`, one after the other: of each number the row, and the number.

    >>> [x.tolist() for x in ramp(torch.tensor([2, 0, 3]))]
    [[0, 0, 2, 2, 2], [0, 1, 0, 1, 2]]
    """
    return places(torch.zeros_like(lengths), lengths)
