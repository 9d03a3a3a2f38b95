"""All of a training that has no rows: dense parameters, buffers, what is remembered of them, and
the options of the optimizer's groups, as numbers in JSON.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.weak import WeakIdKeyDictionary

from rowtune.checkpoints.part import UNCHECKED
from rowtune.errors import CheckpointError
from rowtune.torch.optim import RowOptimizer
from rowtune.torch.parameter import RowParameter
from rowtune.torch.saves.values import Arrays, back, get, name_of, put, value_of

_known: Any = WeakIdKeyDictionary()


class Dense:
    """The dense rest of a model and its optimizer."""

    def __init__(
        self, model: nn.Module, optimizer: RowOptimizer | None, unchecked: str | None = None
    ) -> None:
        _refuse_own_state(model)
        self._optimizer, self._unchecked = optimizer, unchecked
        self._tensors = dict(_tensors(model))
        self._names = {id(p): name for name, p in model.named_parameters()}
        # What an optimizer holds in the place of parameters, where TorchRec has them all.
        groups = [] if optimizer is None else optimizer.param_groups
        nothing = (
            p for g in groups for p in g["params"] if isinstance(p, RowParameter) and not len(p)
        )
        self._names = {id(p): "" for p in nothing} | self._names
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

    def arrays(self, save_frozen: bool) -> tuple[Arrays, dict[str, Any]]:
        """Arrays by name, and what JSON holds beside them: of parameters that are frozen only
        their fingerprints, unless they are asked for.
        """
        arrays: Arrays = {}
        frozen = {} if save_frozen else self._frozen()
        said: dict[str, Any] = {
            "frozen": {
                name: UNCHECKED + self._unchecked if self._unchecked else fingerprint(tensor)
                for name, tensor in frozen.items()
            },
            "tensors": {
                name: put(arrays, f"model.{name}", tensor)
                for name, tensor in self._tensors.items()
                if name not in frozen
            },
        }
        if self._optimizer is not None:
            said["groups"] = [
                self._group(number, group, arrays)
                for number, group in enumerate(self._optimizer.param_groups)
            ]
            said["state"] = {
                self._names[id(p)]: {
                    key: value_of(arrays, f"state.{self._names[id(p)]}.{key}", value)
                    for key, value in state.items()
                }
                for p, state in self._optimizer.state.items()
                if not isinstance(p, RowParameter)
            }
        return arrays, said

    def _group(self, number: int, group: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
        options = {
            key: value_of(arrays, f"group{number}.{key}", value)
            for key, value in group.items()
            if key != "params"
        }
        return {"params": [self._names[id(p)] for p in group["params"]], "options": options}

    def _frozen(self) -> dict[str, Tensor]:
        """Parameters that nothing trains: no gradient is asked for, and the optimizer has none."""
        groups = [] if self._optimizer is None else self._optimizer.param_groups
        stepped = {id(p) for group in groups for p in group["params"]}
        return {
            name: tensor
            for name, tensor in self._tensors.items()
            if isinstance(tensor, nn.Parameter)
            and not (tensor.requires_grad or id(tensor) in stepped)
        }

    # --- loading -------------------------------------------------------------------------------

    def check(self, said: dict[str, Any]) -> None:
        """Refuse the dense rest of another model or optimizer.

        Raises
        ------
        CheckpointError
            Nothing is changed.
        """
        saved = {key: (dtype, shape) for key, (_, _, dtype, shape) in said["tensors"].items()}
        frozen = said["frozen"]
        self._check_frozen(frozen)
        own = {
            key: (name_of(t.dtype), list(t.shape))
            for key, t in self._tensors.items()
            if key not in frozen
        }
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

    def _check_frozen(self, frozen: dict[str, str]) -> None:
        for name, known in frozen.items():
            tensor = self._tensors.get(name)
            if tensor is not None and (self._unchecked or known.startswith(UNCHECKED)):
                continue
            if tensor is None or fingerprint(tensor) != known:
                what = "other bits" if tensor is not None else "no such parameter"
                raise CheckpointError(
                    f"{name} was frozen when this was saved, so it is not in there, and this model "
                    f"has {what}; make the model from the same weights, or save with "
                    "save_frozen=True"
                )

    @torch.no_grad()
    def take(self, arrays: Arrays, said: dict[str, Any]) -> None:
        """Copy parameters and buffers, and replace the optimizer's options and dense state."""
        for key, how in said["tensors"].items():
            self._tensors[key].copy_(get(arrays, how))
        if self._optimizer is None:
            return
        names = [name for group in said["groups"] for name in group["params"]]
        numbers = {name: number for number, name in enumerate(names)}
        states = {
            numbers[name]: {key: back(arrays, value) for key, value in state.items()}
            for name, state in said["state"].items()
        }
        groups = [
            {
                "params": [numbers[name] for name in group["params"]],
                **{key: back(arrays, value) for key, value in group["options"].items()},
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


def fingerprint(tensor: Tensor) -> str:
    """SHA-256, in hex, of dtype, shape and bytes; once in a process while nobody writes it."""
    known = _known.get(tensor)
    if known is None or known[0] != tensor._version:
        plain = tensor.detach().cpu().contiguous()
        digest = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
        known = _known[tensor] = tensor._version, digest.hexdigest()
    return str(known[1])


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


def _kind(kind: Any) -> str:
    return "nothing" if kind is None else f"{kind[0]} of shape {tuple(kind[1])}"
