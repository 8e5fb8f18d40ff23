"""A stand-in for a GPU: a device of its own, whose tensors' values the CPU holds.

What mixes tensors of both devices fails, as it does on a GPU; what never does gives the CPU's own numbers. PyTorch's
device "lazy" is taken for it, which is in every build and which nothing here uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

FAR = torch.device("lazy", 0)
BRIDGES = {"_to_copy", "copy_"}  # what goes from one device to the other


class Far(torch.Tensor):
    """A tensor on that device.

    Args:
        held: its values.
    """

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[attr-defined]

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Far:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=FAR,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an operator of PyTorch gives, on the device where its inputs are.

    Raises:
        RuntimeError: they are on two.
    """
    given = tree_leaves((args, kwargs))
    far = [each for each in given if isinstance(each, Far)]
    near = [each for each in given if isinstance(each, torch.Tensor) and not isinstance(each, Far)]
    name, device = func.overloadpacket.__name__, kwargs.get("device")
    if far and name not in BRIDGES and any(each.ndim for each in near):  # a single number may come from the CPU
        raise RuntimeError(f"{name} is given tensors of two devices: {[tuple(each.shape) for each in near]} is here")
    stays_far = bool(far) if device is None else torch.device(device).type == FAR.type
    here_args, here_kwargs = tree_map_only(Far, lambda each: each.held, (args, dict(kwargs)))
    out = func(*here_args, **(here_kwargs | ({} if device is None else {"device": torch.device("cpu")})))
    if not stays_far:
        return out
    known = {id(each.held): each for each in far}  # what is changed in place stays itself
    return tree_map_only(torch.Tensor, lambda each: known[id(each)] if id(each) in known else Far(each), out)


class _Pretended(TorchDispatchMode):
    """Takes what is made there, or moved there, to that device."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return computed(func, args, kwargs or {})


class _Told(TorchFunctionMode):
    """Takes lists there and back, too, which PyTorch does without asking a dispatcher."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is torch.Tensor.tolist:
            return args[0].cpu().tolist()
        if func is torch.tensor and (device := given.pop("device", None)) is not None:
            return func(*args, **given).to(device)
        return func(*args, **(kwargs or {}))


@contextmanager
def pretended() -> Iterator[str]:
    """Meanwhile there is such a device, of this name; a parameter that moves there stays itself, as on a GPU."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _Pretended(), _Told():
            yield FAR.type
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
