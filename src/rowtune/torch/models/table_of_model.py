"""Which modules of a model read its token table: embeddings and heads, by the weight they share."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from rowtune.errors import ShapeError
from rowtune.torch.models.ranks import check_table
from rowtune.torch.row_module import RowModule


class Reader(NamedTuple):
    """A module that reads a table, and where it is in the model."""

    name: str
    module: Any


class ModelTable(NamedTuple):
    """The table of a model's tokens, and all that read it."""

    weight: Tensor
    embeddings: list[Reader]
    tied_heads: list[Reader]
    other_head: Reader | None  # whose weight is another one


def table_of(model: nn.Module, module: str | nn.Module | None = None) -> ModelTable:
    """The token table of ``model``: that of ``module``, of a transformers model's input embedding,
    or of the one embedding that there is.

    Raises
    ------
    ShapeError
        There is none, more than one, or it has been converted before.
    """
    chosen = _embedding(model, module)
    if isinstance(chosen, RowModule):
        raise ShapeError(
            "this embedding's rows have been chosen already; merge() or remove() that handle first"
        )
    weight = chosen.weight
    check_table(weight)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise ShapeError(f"{type(chosen).__name__} has no table of two dimensions")
    readers = [
        Reader(name, other)
        for name, other in model.named_modules(remove_duplicate=False)
        if name and _same(getattr(other, "_parameters", {}).get("weight"), weight)
    ]
    if not readers:
        raise ShapeError(
            f"the table's module is no part of this {type(model).__name__}, and could not be "
            "replaced in it; put a lone embedding into another module: torch.nn.Sequential(it)"
        )
    unknown = [r for r in readers if not isinstance(r.module, nn.Embedding | nn.Linear)]
    if unknown:
        kinds = ", ".join(f"{r.name} ({type(r.module).__name__})" for r in unknown)
        raise ShapeError(
            f"{kinds} shares the table too, and is neither an nn.Embedding nor an nn.Linear: its "
            "rows would not train there"
        )
    return ModelTable(
        weight,
        [r for r in readers if isinstance(r.module, nn.Embedding)],
        [r for r in readers if isinstance(r.module, nn.Linear)],
        _other_head(model, weight),
    )


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` in the place that has this name."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


def _embedding(model: nn.Module, module: str | nn.Module | None) -> Any:
    if isinstance(module, str):
        return model.get_submodule(module)
    if module is not None:
        return module
    ask: Any = getattr(model, "get_input_embeddings", None)
    if ask is not None:
        return ask()
    found = {
        name: m for name, m in model.named_modules() if isinstance(m, nn.Embedding | RowModule)
    }
    if len(found) == 1:
        return next(iter(found.values()))
    names = ", ".join(found) or "none"
    raise ShapeError(f"which embedding? This model has: {names}. Say it: module='...'")


def _other_head(model: nn.Module, weight: Tensor) -> Reader | None:
    ask: Any = getattr(model, "get_output_embeddings", None)
    head = None if ask is None else ask()
    if not isinstance(head, nn.Linear) or _same(head.weight, weight):
        return None
    name = next(name for name, module in model.named_modules() if module is head)
    return Reader(name, head)


def _same(one: Tensor | None, other: Tensor) -> bool:
    """Whether two weights are one: the same tensor, or the same memory."""
    if one is None or one.shape != other.shape:
        return False
    return one is other or (not one.is_meta and one.data_ptr() == other.data_ptr() != 0)
