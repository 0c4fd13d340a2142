"""A device that is none: its tensors compute on the CPU, are said to be elsewhere, and do not mix with the CPU's.

What runs on it finds its tensors where it needs them on a GPU too. It goes by the name of torch's device `meta`, the
one that torch needs no driver for.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import pytest
import torch
from torch import Tensor
from torch.optim import optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta")
aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}  # by a CPU's indices too


class Elsewhere(Tensor):
    """A tensor of the device."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Self:
        like: dict[str, Any] = {"dtype": inner.dtype, "requires_grad": inner.requires_grad, "device": DEVICE}
        made = Tensor._make_wrapper_subclass(cls, inner.size(), inner.stride(), inner.storage_offset(), **like)
        made.inner = inner
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{function} is called outside of the device's context")


class _Device(TorchDispatchMode):
    """Carries out every operation on the CPU."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        own = {id(x.inner): x for x in tensors if isinstance(x, Elsewhere)}
        self._check(function, args, tensors, bool(own))
        asked = kwargs.get("device")
        to_cpu = torch.device(asked).type == "cpu" if asked else False
        if function is aten.copy_.default:
            to_cpu = not isinstance(args[0], Elsewhere)
        if asked:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        found = function(*_inner(args), **_inner(kwargs))
        if to_cpu or not (own or asked):
            return found
        return tree_map_only(Tensor, lambda x: own[id(x)] if id(x) in own else Elsewhere(x), found)

    def _check(self, function: Any, args: Any, tensors: list[Tensor], some_elsewhere: bool) -> None:
        if any(x.is_meta and not isinstance(x, Elsewhere) for x in tensors):
            raise RuntimeError(
                f"{function} of a tensor without numbers: make it by torch.full, or send it there by `to`"
            )
        if function in INDEXED:
            mixed = some_elsewhere and not isinstance(args[0], Elsewhere)
        else:
            here = any(x.dim() > 0 and not isinstance(x, Elsewhere) for x in tensors)  # a number may come from the CPU
            mixed = some_elsewhere and here and function not in COPIES
        if mixed:
            places = [f"{tuple(x.shape)} on {x.device}" for x in tensors]
            raise RuntimeError(f"{function} of tensors on two devices: {', '.join(places)}")


def _inner(tree: Any) -> Any:
    return tree_map_only(Elsewhere, lambda x: x.inner, tree)


@contextmanager
def pretend_gpu() -> Iterator[None]:
    """A context in which tensors can be on `DEVICE`."""
    with pytest.MonkeyPatch.context() as patch, _Device():
        known = [*optimizer._get_fused_kernels_supported_devices(), DEVICE.type]
        patch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: known)
        patch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
        yield
