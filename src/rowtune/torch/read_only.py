"""Tensors that refuse writes, and so do all views of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rowtune.errors import FrozenRowError

# Of functions that end in an underscore, those that write nothing.
_HARMLESS = {"requires_grad_", "retain_grad_", "share_memory_"}
_WRITE = {"__setitem__", "__set__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__",
          "__ifloordiv__", "__imod__", "__iand__", "__ior__", "__ixor__", "__ilshift__",
          "__irshift__", "set_data", "__dlpack__", "to_dlpack"}  # fmt: skip


# Which write to some of their arguments, and do not say so even in their schemas.
_STATISTICS = {"batch_norm", "instance_norm", "native_batch_norm", "cudnn_batch_norm"}


class ReadOnly(Tensor):
    """A tensor that refuses what would write into it; other operations give plain tensors, but for
    views, which refuse as well.
    """

    refusal = "this tensor is read-only"
    watched = False  # whether functions are watched that write without saying so in their names

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = _written(getattr(func, "__name__", ""), args, kwargs)
        if target is not None:
            raise FrozenRowError(target.refusal)
        with torch._C.DisableTorchFunctionSubclass(), _watch(args, kwargs):
            result = func(*args, **kwargs)
        owners = {_memory_of(tensor): type(tensor) for tensor in _all_guarded(args, kwargs)}
        if isinstance(result, Iterator):  # a loop over the rows
            return iter([_guarded(part, owners) for part in result])
        return _guarded(result, owners)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """In a file it is a tensor as any other, which `torch.load` opens without asking."""
        return plain(self).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A copy of one's own, to write to."""
        if id(self) not in memo:
            memo[id(self)] = plain(self).clone()
        copied: Tensor = memo[id(self)]
        return copied


class _NoWrites(TorchDispatchMode):
    """Sees every operator that runs, and which of its arguments it writes to."""

    def __init__(self, guarded: list[ReadOnly]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._memory = {_memory_of(tensor): tensor for tensor in guarded}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {
            **dict(zip((a.name for a in func._schema.arguments), args, strict=False)),
            **kwargs,
        }
        for argument in func._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._check(given.get(argument.name))
        return func(*args, **kwargs)

    def _check(self, written: Any) -> None:
        for tensor in written if isinstance(written, (tuple, list)) else [written]:
            if isinstance(tensor, Tensor) and _memory_of(tensor) in self._memory:
                raise FrozenRowError(self._memory[_memory_of(tensor)].refusal)


def _watch(args: Any, kwargs: Any) -> Any:
    watched = [tensor for tensor in _all_guarded(args, kwargs) if tensor.watched]
    return _NoWrites(watched) if watched else nullcontext()


def plain(tensor: Any) -> Any:
    """The same tensor without its guard, for those who write nothing."""
    if not isinstance(tensor, ReadOnly):
        return tensor
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.as_subclass(Tensor)


def _written(name: str, args: Any, kwargs: Any) -> ReadOnly | None:
    """The guarded tensor into which a call of a function by that name would write."""
    found = _first_guarded(kwargs.get("out"))
    if found is not None:
        return found
    name = name.split(".", maxsplit=1)[0]  # of an operator's overload
    if name in _STATISTICS:
        return _first_guarded([*args, *kwargs.values()])
    in_place = name.endswith("_") and not name.endswith("__") and name not in _HARMLESS
    if in_place or name in _WRITE or kwargs.get("inplace") is True:
        # Functions such as torch.nn.init's give their tensor by name.
        return _first_guarded(args[0] if args else next(iter(kwargs.values()), None))
    return None


def _first_guarded(tensors: Any) -> ReadOnly | None:
    several = tensors if isinstance(tensors, (tuple, list)) else [tensors]
    return next((t for t in several if isinstance(t, ReadOnly)), None)


def _memory_of(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunctionSubclass():
        if tensor.layout != torch.strided or tensor.is_meta:
            return 0
        return tensor.untyped_storage().data_ptr()


def _all_guarded(args: Any, kwargs: Any) -> Iterator[ReadOnly]:
    """Those among arguments, and in lists of them: a view may be of any."""
    for argument in (*args, *kwargs.values()):
        for one in argument if isinstance(argument, (tuple, list)) else (argument,):
            if isinstance(one, ReadOnly):
                yield one


def _guarded(result: Any, owners: dict[int, type[ReadOnly]]) -> Any:
    """A result that shares the memory of one of the ``owners`` refuses writes too."""
    if isinstance(result, (tuple, list)) and not hasattr(result, "_fields"):
        return type(result)(_guarded(part, owners) for part in result)
    if isinstance(result, Tensor) and not isinstance(result, ReadOnly):
        with torch._C.DisableTorchFunctionSubclass():
            kind = owners.get(_memory_of(result))
            return result if kind is None else result.as_subclass(kind)
    if type(result).__module__ == "numpy" and hasattr(result, "flags"):
        result.flags.writeable = False
    return result
