"""`train_rows`: of a model that somebody else trained, train the rows of some tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rowtune.errors import ShapeError
from rowtune.torch.init import Init
from rowtune.torch.models import vocabulary
from rowtune.torch.models.handle import Handle, Module
from rowtune.torch.models.table_of_model import ModelTable, Reader, table_of
from rowtune.torch.models.token_rows import TokenEmbedding, TokenHead, TokenRows


def train_rows(
    model: nn.Module,
    rows: Any = None,
    *,
    tokens: Sequence[str] | Mapping[str, str] | None = None,
    tokenizer: Any = None,
    init: Init | None = "mean",
    module: str | nn.Module | None = None,
    head: str | bool = "auto",
    freeze: bool = True,
) -> Handle:
    """Train the rows of some tokens, and of the tied head, and nothing else.

    The modules that read the model's token table are replaced in place: the table is their base,
    which nothing writes, and the chosen rows are one parameter.

    Parameters
    ----------
    model : a transformers model, or any module
    rows : ids, boolean mask, or slice
        Rows that exist.
    tokens : sequence of str, or mapping from token to a description of it
        Rows by token, instead. Tokens that the tokenizer does not have are added to it, and the
        table of a transformers model is made larger where it has no row for them.
    tokenizer : a transformers tokenizer
    init : "mean", "normal", "zeros", "subwords", "description", array (k, D), or None
        What rows of new tokens begin with; see `rowtune.torch.models.vocabulary.first_rows`. Rows
        that exist begin as they are. An array is for all rows, in your order.
    module : str or Module, optional
        The embedding, where it is not the model's input embedding.
    head : "auto", True or False
        A tied head follows the embedding. True: the same rows of a head that has a table of its
        own train as well, as rows of their own. "auto": they do where tokens are new, since nobody
        could ever say them otherwise. False: such a head stays.
    freeze : bool
        Give all other parameters ``requires_grad = False``. What adapters (PEFT) train goes on
        training.

    Raises
    ------
    IdError, ShapeError
        No such row, token or embedding; an embedding that does more than look rows up and scale
        them. The model is as it was then, but for tokens that were added.
    """
    if (rows is None) == (tokens is None):
        raise ShapeError("train_rows takes rows=... (ids) or tokens=..., one of the two")
    if head not in ("auto", True, False):
        raise ShapeError(f'head={head!r}; expected "auto", True or False')
    table = table_of(model, module)
    known = len(table.weight)
    if tokens is None:
        chosen = vocabulary.by_id(rows, known)
    else:
        chosen = vocabulary.by_token(tokens, tokenizer, known)
        if len(chosen.ids) and int(chosen.ids.max()) >= known:
            table = larger(model, module, int(chosen.ids.max()) + 1)
    order = chosen.ids.argsort()
    ids = chosen.ids[order]
    _refuse_padding(table, ids)
    first = vocabulary.first_rows(chosen, init, table.weight.detach(), known)
    first = first[order.to(first.device)]
    converted = _converted(table, ids, TokenRows(first))
    other = table.other_head
    if other is not None and (head is True or (head == "auto" and any(chosen.is_new))):
        of_head = vocabulary.first_rows(
            chosen, None if not isinstance(init, str) else init, other.module.weight.detach(), known
        )
        own = TokenRows(of_head[order.to(of_head.device)])
        converted.append((other, TokenHead(other.module, ids, own)))
    if freeze:
        _freeze(model)
    in_order = None if chosen.tokens is None else [chosen.tokens[i] for i in order.tolist()]
    return Handle(model, ids, in_order, converted)


def _converted(table: ModelTable, ids: Tensor, rows: TokenRows) -> list[tuple[Reader, Module]]:
    made: dict[int, Module] = {}  # one for each module, which may have several names
    for reader in table.embeddings:
        if id(reader.module) not in made:
            made[id(reader.module)] = TokenEmbedding.over(reader.module, ids, rows)
    for reader in table.tied_heads:
        if id(reader.module) not in made:
            made[id(reader.module)] = TokenHead(reader.module, ids, rows)
    return [(r, made[id(r.module)]) for r in (*table.embeddings, *table.tied_heads)]


def larger(model: nn.Module, module: str | nn.Module | None, num_rows: int) -> ModelTable:
    """Make the token table of a transformers model ``num_rows`` long, with zeros.

    Raises
    ------
    ShapeError
        The model cannot do that.
    """
    resize: Any = getattr(model, "resize_token_embeddings", None)
    if resize is None or module is not None:
        raise ShapeError(
            f"the table has no rows for the new tokens (they need {num_rows}), and this model has "
            "no resize_token_embeddings; make its embedding larger first"
        )
    before = len(table_of(model).weight)
    resize(num_rows, mean_resizing=False)
    table = table_of(model)
    weights = [table.weight]
    if table.other_head is not None:
        weights.append(table.other_head.module.weight)
    with torch.no_grad():
        # Not what the resizing draws: a file of rows knows its base by every byte.
        for weight in weights:
            weight[before:] = 0
    return table


def _refuse_padding(table: ModelTable, ids: Tensor) -> None:
    for reader in table.embeddings:
        padding = getattr(reader.module, "padding_idx", None)
        if padding is not None and bool((ids == padding).any()):
            raise ShapeError(
                f"row {padding} is the padding row of {reader.name}, which never trains; leave it "
                "out"
            )


def _freeze(model: nn.Module) -> None:
    """All parameters, but for those of adapters, which know what they freeze."""
    if hasattr(model, "peft_config"):
        return
    for parameter in model.parameters():
        parameter.requires_grad_(False)
