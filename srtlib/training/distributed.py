"""The few collective operations that training on several devices needs; without torchrun they do nothing."""

import os

import torch
import torch.distributed as dist


def setup(device: torch.device) -> torch.device:
    """Join torchrun's process group, if there is one (NCCL on GPUs, gloo on CPUs); the device of this process."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def rank() -> int:
    """This process's number, from 0.

    >>> rank()
    0
    """
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Number of processes.

    >>> world()
    1
    """
    return dist.get_world_size() if dist.is_initialized() else 1


def total(values: list[float], device: torch.device) -> list[float]:
    """Each value summed over the processes.

    Args:
        values: of this process, as many in each.
        device: of this process.

    >>> total([1.0, 2.5], torch.device("cpu"))
    [1.0, 2.5]
    """
    if world() == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(tensor)
    return tensor.tolist()


def least(value: int, device: torch.device) -> int:
    """The smallest of the processes' values.

    Args:
        value: of this process.
        device: of this process.

    >>> least(3, torch.device("cpu"))
    3
    """
    if world() == 1:
        return value
    tensor = torch.tensor(value, device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MIN)
    return int(tensor)


def barrier() -> None:
    """Wait until every process is here."""
    if world() > 1:
        dist.barrier()
