"""Devices, and what fits in their memory: data that live there or stay where they are, and the largest batch."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SHARE = 0.5  # of the free memory that one array of data may take; the rest is for the model and its batches


def pick_device(device: torch.device | str | None = None) -> torch.device:
    """The device asked for, else a CUDA GPU if there is one, else the CPU; ValueError for one that is not there."""
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if chosen.type == "meta":
            raise RuntimeError("it holds no numbers")
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError):
        n = torch.cuda.device_count()
        found, expected = (f"{n} GPUs", f"cpu or cuda:0 to cuda:{n - 1}") if n else ("no GPU", "cpu")
        raise ValueError(f"device {device!r} is not there: torch finds {found}; expected {expected}") from None
    return chosen


def free_bytes(device: torch.device) -> float:
    """Free memory of a GPU. A CPU reads arrays where they are, so nothing has to fit: infinity."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def resident(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on the device if it fits (`SHARE`), else where it is: in main memory, or mapped from its file.

    On a CPU nothing is copied. Index the result with `take`.

    Args:
        array: of any shape; kept as it is, so do not write to it.
        device: where it is wanted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it cannot be written: nobody does
        here = torch.from_numpy(array)
    return here.to(device) if array.nbytes <= SHARE * free_bytes(device) else here


def take(values: Tensor, rows: Tensor) -> Tensor:
    """values[rows] on the device of `rows`, wherever the values are.

    Args:
        values: of any shape, such as `resident` returns.
        rows: int, of any shape.

    >>> take(torch.tensor([5, 6, 7]), torch.tensor([2, 0]))
    tensor([7, 5])
    """
    return values[rows.to(values.device)].to(rows.device)


def largest_batch(attempt: Callable[[int], object], start: int, most: int) -> int:
    """The largest of start, start x 2^n (up to `most`) that `attempt` carries out within memory.

    Doubles from `start`, or halves if that is too much already. Raises what `attempt` raises when not even 1 fits.

    Args:
        attempt: carries out a batch of so many; torch.OutOfMemoryError says that it does not fit.
        start: the first size tried.
        most: no larger one is.

    >>> largest_batch(lambda size: bytearray(size), 4, 20)
    16
    """
    size = start
    while not _fits(attempt, size):
        if size == 1:
            attempt(size)
        size //= 2
        most = size  # twice that is known not to fit
    while 2 * size <= most and _fits(attempt, 2 * size):
        size *= 2
    return size


def _fits(attempt: Callable[[int], object], size: int) -> bool:
    try:
        attempt(size)
    except torch.OutOfMemoryError:
        return False
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return True
