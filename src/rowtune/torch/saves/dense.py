"""All of a training that has no rows: dense parameters, buffers, what is remembered of them, and
the options of the optimizer's groups, as numbers in JSON.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from rowtune.errors import CheckpointError
from rowtune.torch.optim import RowOptimizer
from rowtune.torch.parameter import RowParameter
from rowtune.torch.saves.blocks import as_numbers, from_numbers

Arrays = dict[str, NDArray[Any]]
_TENSOR, _TUPLE = "tensor", "tuple"


class Dense:
    """The dense rest of a model and its optimizer."""

    def __init__(self, model: nn.Module, optimizer: RowOptimizer | None) -> None:
        _refuse_own_state(model)
        self._optimizer = optimizer
        self._tensors = dict(_tensors(model))
        self._names = {id(p): name for name, p in model.named_parameters()}
        if optimizer is not None:
            self._check_known(optimizer)

    def _check_known(self, optimizer: RowOptimizer) -> None:
        for number, group in enumerate(optimizer.param_groups):
            for place, parameter in enumerate(group["params"]):
                if id(parameter) not in self._names:
                    raise CheckpointError(
                        f"parameter {place} of the optimizer's group {number}, of shape "
                        f"{tuple(parameter.shape)}, is none of the model's; save the model that "
                        "the optimizer was made for"
                    )

    # --- saving --------------------------------------------------------------------------------

    def arrays(self) -> tuple[Arrays, dict[str, Any]]:
        """Arrays by name, and what JSON holds beside them."""
        arrays: Arrays = {}
        said: dict[str, Any] = {
            "tensors": {name: _put(arrays, f"model.{name}", t) for name, t in self._tensors.items()}
        }
        if self._optimizer is not None:
            said["groups"] = [
                self._group(number, group, arrays)
                for number, group in enumerate(self._optimizer.param_groups)
            ]
            said["state"] = {
                self._names[id(p)]: {
                    key: _value(arrays, f"state.{self._names[id(p)]}.{key}", value)
                    for key, value in state.items()
                }
                for p, state in self._optimizer.state.items()
                if not isinstance(p, RowParameter)
            }
        return arrays, said

    def _group(self, number: int, group: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
        options = {
            key: _value(arrays, f"group{number}.{key}", value)
            for key, value in group.items()
            if key != "params"
        }
        return {"params": [self._names[id(p)] for p in group["params"]], "options": options}

    # --- loading -------------------------------------------------------------------------------

    def check(self, said: dict[str, Any]) -> None:
        """Refuse the dense rest of another model or optimizer.

        Raises
        ------
        CheckpointError
            Nothing is changed.
        """
        saved = {key: (dtype, shape) for key, (_, _, dtype, shape) in said["tensors"].items()}
        own = {key: (_name(t.dtype), list(t.shape)) for key, t in self._tensors.items()}
        for key in sorted({*saved, *own}):
            if saved.get(key) != own.get(key):
                raise CheckpointError(
                    f"the save holds {_kind(saved.get(key))} as {key}, and this model has "
                    f"{_kind(own.get(key))}; make the model that was saved"
                )
        if self._optimizer is None:
            return
        if "groups" not in said:
            raise CheckpointError(
                "the save holds no optimizer; load it without one, and begin with a new one"
            )
        groups = [group["params"] for group in said["groups"]]
        here = [[self._names[id(p)] for p in g["params"]] for g in self._optimizer.param_groups]
        if groups != here:
            raise CheckpointError(
                f"the save's optimizer has the parameters {groups}, group by group, and this one "
                f"{here}; make it with the same groups"
            )

    @torch.no_grad()
    def take(self, arrays: Arrays, said: dict[str, Any]) -> None:
        """Copy parameters and buffers, and replace the optimizer's options and dense state."""
        for key, tensor in self._tensors.items():
            tensor.copy_(_get(arrays, said["tensors"][key]))
        if self._optimizer is None:
            return
        names = [name for group in said["groups"] for name in group["params"]]
        numbers = {name: number for number, name in enumerate(names)}
        states = {
            numbers[name]: {key: _back(arrays, value) for key, value in state.items()}
            for name, state in said["state"].items()
        }
        groups = [
            {
                "params": [numbers[name] for name in group["params"]],
                **{key: _back(arrays, value) for key, value in group["options"].items()},
            }
            for group in said["groups"]
        ]
        # torch's own: that of a row optimizer would bring rows up to date by what they owed here.
        Optimizer.load_state_dict(self._optimizer, {"state": states, "param_groups": groups})
        for p, state in self._optimizer.state.items():
            for key, value in states.get(numbers[self._names[id(p)]], {}).items():
                # torch casts to the dtype of the parameter; what was saved is what goes on.
                if isinstance(value, Tensor) and value.dtype != state[key].dtype:
                    state[key] = value.to(state[key].device)


def _tensors(model: nn.Module) -> Any:
    """Dense parameters, and the buffers that a state dict has."""
    for name, parameter in model.named_parameters():
        if not isinstance(parameter, RowParameter):
            yield name, parameter
    for prefix, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                yield f"{prefix}.{name}" if prefix else name, buffer


def _refuse_own_state(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise CheckpointError(
                f"{name or 'the model'}, a {type(module).__name__}, has a state of its own kind "
                "(get_extra_state); save it yourself and leave the module out, or put it in extra"
            )


def _put(arrays: Arrays, key: str, tensor: Tensor) -> list[Any]:
    """Keep a tensor; how to get it back. What NumPy has not is kept as bytes."""
    plain = tensor.detach().cpu()
    shape = list(plain.shape)
    try:
        arrays[key] = as_numbers(plain)
        if arrays[key].dtype.kind not in "fiub":
            raise TypeError
    except TypeError:
        arrays[key] = plain.contiguous().reshape(-1).view(torch.uint8).numpy()
    return [_TENSOR, key, _name(tensor.dtype), shape]


def _get(arrays: Arrays, how: list[Any]) -> Tensor:
    _, key, dtype_name, shape = how
    array, dtype = arrays[key], getattr(torch, dtype_name)
    if array.dtype == np.uint8 and dtype != torch.uint8:
        return torch.from_numpy(array).view(dtype).reshape(shape)
    return from_numbers(array, dtype)


def _value(arrays: Arrays, key: str, value: Any) -> Any:
    """An option or a number as JSON has it; tensors beside it."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        return _put(arrays, key, value)
    if isinstance(value, tuple):
        parts = [_value(arrays, f"{key}.{i}", each) for i, each in enumerate(value)]
        return [_TUPLE, *parts]
    if isinstance(value, list) and all(isinstance(x, float | int) for x in value):
        return _put(arrays, key, torch.tensor(value, dtype=torch.float64))
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list) and all(isinstance(x, str) for x in value):
        return ["list", *value]
    raise CheckpointError(
        f"{key} is a {type(value).__name__}; expected numbers, text, tensors and tuples of them"
    )


def _back(arrays: Arrays, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if value[0] == _TENSOR:
        return _get(arrays, value)
    parts = [_back(arrays, each) for each in value[1:]]
    return tuple(parts) if value[0] == _TUPLE else parts


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _kind(kind: Any) -> str:
    return "nothing" if kind is None else f"{kind[0]} of shape {tuple(kind[1])}"
