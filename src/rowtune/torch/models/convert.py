"""Put modules that read trainable rows in the places of those that read a model's table."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rowtune.errors import ShapeError
from rowtune.torch.models.table_of_model import ModelTable, Reader, table_of
from rowtune.torch.models.token_head import TokenHead
from rowtune.torch.models.token_rows import TokenEmbedding
from rowtune.torch.parameter import RowParameter

Module = TokenEmbedding | TokenHead


class Converted(NamedTuple):
    """What a module was, and what reads the rows in its place."""

    reader: Reader
    module: Module


def converted(
    table: ModelTable, ids: Tensor, rows: RowParameter, head_rows: RowParameter | None
) -> list[Converted]:
    """A module for every reader of ``table``; the model is not touched.

    Parameters
    ----------
    ids : int64 (k,), ascending
    rows : (k, D)
    head_rows : (k, D) or None
        Those of a head with a table of its own; None leaves that head.

    Raises
    ------
    ShapeError
        A reader does more than can be kept, a padding row is among the ids, or that head is none.
    """
    _refuse_padding(table, ids)
    made: dict[int, Module] = {}  # one for each module, which may have several names
    for reader in table.embeddings:
        if id(reader.module) not in made:
            made[id(reader.module)] = TokenEmbedding.over(reader.module, ids, rows)
    first = next((m for m in made.values() if isinstance(m, TokenEmbedding)), None)
    for reader in table.tied_heads:
        if id(reader.module) not in made:
            made[id(reader.module)] = TokenHead(reader.module, ids, rows, first)
    all_readers = [*table.embeddings, *table.tied_heads]
    if table.other_head is not None and head_rows is not None:
        all_readers.append(table.other_head)
        head = table.other_head.module
        made[id(head)] = TokenHead(head, ids, head_rows)
    return [Converted(reader, made[id(reader.module)]) for reader in all_readers]


def larger(model: nn.Module, module: str | nn.Module | None, num_rows: int) -> ModelTable:
    """Make the token table ``num_rows`` long, with zeros: a transformers model's by its own means.

    Raises
    ------
    ShapeError
        A head shares the table, and the model cannot make it larger.
    """
    table = table_of(model, module)
    check_resizable(model, module, num_rows, bool(table.tied_heads))
    before = len(table.weight)
    if _resizes_itself(model, module):
        model.resize_token_embeddings(num_rows, mean_resizing=False)  # type: ignore[operator]
    else:
        _pad(table, num_rows)
    table = table_of(model, module)
    weights = [table.weight]
    if table.other_head is not None and len(table.other_head.module.weight) == num_rows:
        weights.append(table.other_head.module.weight)
    with torch.no_grad():
        # Not what the resizing draws: a file of rows knows its base by every byte.
        for weight in weights:
            weight[before:] = 0
    return table


def check_resizable(
    model: nn.Module, module: str | nn.Module | None, num_rows: int, is_tied: bool
) -> None:
    """Whether `larger` can do it, where a head shares the table or not.

    Raises
    ------
    ShapeError
    """
    if is_tied and not _resizes_itself(model, module):
        raise ShapeError(
            f"the table has no rows for the new tokens (they need {num_rows}), a head shares it, "
            "and this model has no resize_token_embeddings; make both larger first"
        )


def _resizes_itself(model: nn.Module, module: str | nn.Module | None) -> bool:
    return module is None and hasattr(model, "resize_token_embeddings")


def _pad(table: ModelTable, num_rows: int) -> None:
    """Where embeddings alone read the table."""
    weight = table.weight.detach()
    longer = weight.new_zeros(num_rows, weight.shape[1])
    longer[: len(weight)] = weight
    padded = nn.Parameter(longer, table.weight.requires_grad)
    for reader in table.embeddings:
        reader.module._parameters["weight"] = padded
        reader.module.num_embeddings = num_rows


def _refuse_padding(table: ModelTable, ids: Tensor) -> None:
    for reader in table.embeddings:
        padding = getattr(reader.module, "padding_idx", None)
        if padding is not None and bool((ids == padding).any()):
            raise ShapeError(
                f"row {padding} is the padding row of {reader.name}, which never trains; leave it "
                "out"
            )
