"""Ragged rows end to end (compressed sparse rows): row i is `values[offsets[i]:offsets[i + 1]]`."""

import numpy as np


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Where rows of these lengths begin, and the end of the last: int64 [rows + 1].

    >>> offsets_of(np.array([2, 0, 3])).tolist()
    [0, 2, 2, 5]
    """
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def row_numbers(lengths: np.ndarray) -> np.ndarray:
    """The row that each value belongs to: int64 [values].

    >>> row_numbers(np.array([2, 0, 3])).tolist()
    [0, 0, 2, 2, 2]
    """
    return np.repeat(np.arange(len(lengths)), lengths)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The places of the values of some rows, one row after the other: int64 [lengths.sum()].

    Args:
        starts: int64 [rows], where each row begins.
        lengths: int64 [rows], how many values it has.

    >>> ranges(np.array([7, 0]), np.array([2, 3])).tolist()
    [7, 8, 0, 1, 2]
    """
    return np.arange(lengths.sum()) + np.repeat(starts - offsets_of(lengths)[:-1], lengths)
