"""Which modules stand in a model: its own, those that read trainable rows, or merged ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rowtune.errors import FrozenRowError
from rowtune.torch.models.convert import Converted, Module
from rowtune.torch.models.table_of_model import Reader, put
from rowtune.torch.models.token_head import TokenHead
from rowtune.torch.models.token_rows import TokenEmbedding
from rowtune.torch.parameter import RowParameter


class Placement:
    """The places of a model in which modules were converted.

    Attributes
    ----------
    parts : list of Converted
    """

    def __init__(self, model: nn.Module, parts: list[Converted]) -> None:
        self.model, self.parts = model, parts

    def blocks(self) -> dict[str, Module]:
        """A module for each parameter, by the name that it has in files."""
        first = self.parts[0].module
        of = {"embedding": first}
        for part in self.parts:
            if part.module.block is not first.block:
                of["head"] = part.module
        return of

    def has_tied_head(self) -> bool:
        """Whether a head reads the embedding's own rows."""
        rows = self.parts[0].module.block
        return any(isinstance(m, TokenHead) and m.block is rows for _, m in self.parts)

    def put_ours(self) -> None:
        """The modules that read trainable rows."""
        for reader, module in self.parts:
            put(self.model, reader.name, module)
        for owner in _owners(self.model):
            for name, stand_in in _STAND_INS.items():
                if hasattr(owner, name):
                    setattr(owner, name, stand_in)

    def put_originals(self) -> None:
        """The model's own, without the rows."""
        self._let_go()
        for reader, module in self.parts:
            put(self.model, reader.name, _original(reader, module))

    def put_merged(self) -> None:
        """The model's own classes, over tables in which the trained rows are in their places."""
        self._let_go()
        merged: dict[RowParameter, nn.Parameter] = {}
        for reader, module in self.parts:
            if module.block not in merged:
                with torch.no_grad():
                    merged[module.block] = nn.Parameter(module.whole(), requires_grad=False)
            plain = _twin(_original(reader, module))
            plain._parameters["weight"] = merged[module.block]
            put(self.model, reader.name, plain)

    def _let_go(self) -> None:
        for owner in _owners(self.model):
            for name in _STAND_INS:
                owner.__dict__.pop(name, None)


class _Tied:
    """In the place of ``tie_weights``: what was tied reads the same rows already."""

    def __call__(self, *_: Any, **__: Any) -> None:
        return None


class _Refusal:
    """In the place of ``resize_token_embeddings``, which would put a plain table in ours' place."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise FrozenRowError(
            "this model's token rows have been chosen by train_rows, and resizing would drop them; "
            "add tokens by handle.grow(tokens, tokenizer), or call handle.merge() before resizing"
        )


_STAND_INS = {"resize_token_embeddings": _Refusal(), "tie_weights": _Tied()}


def _owners(model: nn.Module) -> list[nn.Module]:
    """The model, and the one that an adapter library has wrapped."""
    inner: Any = getattr(model, "get_base_model", None)
    return [model] if inner is None else [model, inner()]


def _original(reader: Reader, module: Module) -> nn.Module:
    """The module that was there, on the device and in the mode of what is there now."""
    dtype = module.reads_as if isinstance(module, TokenEmbedding) else module.base.dtype
    assert module.base is not None
    original: nn.Module = reader.module
    return original.to(module.base.device, dtype).train(module.training)


def _twin(original: nn.Module) -> nn.Module:
    """A module as the original, with parameters of its own to put in."""
    plain = original.__class__.__new__(original.__class__)
    plain.__dict__.update(original.__dict__)
    plain._parameters = dict(original._parameters)
    return plain
