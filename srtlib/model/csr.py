"""Ragged rows, stored end to end: row r of a table is values[starts[r]:starts[r] + lengths[r]]."""

import torch
from torch import Tensor


def ranges(starts: Tensor, lengths: Tensor) -> Tensor:
    """Places of the values of some rows, one row after the other, int64 [lengths.sum()].

    Args:
        starts: int64 [rows], where each row begins.
        lengths: int64 [rows], how many values it has.

    >>> ranges(torch.tensor([7, 0]), torch.tensor([2, 3])).tolist()
    [7, 8, 0, 1, 2]
    """
    ends = torch.cumsum(lengths, 0)
    total = int(ends[-1]) if len(ends) else 0
    return torch.arange(total, device=lengths.device) + torch.repeat_interleave(starts - ends + lengths, lengths)


def ramp(lengths: Tensor) -> Tensor:
    """0..n-1 for each n of `lengths`, one after the other.

    >>> ramp(torch.tensor([2, 0, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    return ranges(torch.zeros_like(lengths), lengths)


def row_numbers(lengths: Tensor) -> Tensor:
    """The row that each value of rows of these lengths stands in.

    >>> row_numbers(torch.tensor([2, 0, 3])).tolist()
    [0, 0, 2, 2, 2]
    """
    return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
