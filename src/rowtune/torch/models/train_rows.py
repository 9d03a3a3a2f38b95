"""`train_rows`: of a model that somebody else trained, train the rows of some tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rowtune.errors import ShapeError
from rowtune.torch.init import Init
from rowtune.torch.models import vocabulary
from rowtune.torch.models.convert import converted, larger
from rowtune.torch.models.handle import Handle
from rowtune.torch.models.table_of_model import table_of
from rowtune.torch.models.token_rows import TokenRows, check_matrix


def train_rows(
    model: nn.Module,
    rows: Any = None,
    *,
    tokens: Sequence[Any] | Mapping[Any, str] | None = None,
    tokenizer: Any = None,
    init: Init | None = "mean",
    module: str | nn.Module | None = None,
    head: str | bool = "auto",
    freeze: bool = True,
    dtype: torch.dtype | None = None,
) -> Handle:
    """Train the rows of some tokens, and of the tied head, and nothing else.

    The modules that read the model's token table are replaced in place: the table is their base,
    which nothing writes, and the chosen rows are one parameter.

    Parameters
    ----------
    model : a transformers model, or any module
    rows : ids, boolean mask, or slice
        Rows that exist.
    tokens : sequence of str or AddedToken, or mapping from token to a description of it
        Rows by token, instead. Tokens that the tokenizer does not have are added to it, and the
        table is made larger where it has no row for them. Text matches inside longer words too;
        ``AddedToken(text, single_word=True)`` does not.
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
    dtype : torch.dtype, optional
        Of the trainable rows; the model's own where None. ``torch.float32`` lets rows of a model
        in half precision learn by steps that half precision would round away; the model reads them
        rounded to its dtype, and a merged table holds them so.

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
    if dtype is not None and not dtype.is_floating_point:
        raise ShapeError(f"dtype={dtype}; rows that train are floating point: torch.float32")
    if tokens is None:
        chosen = vocabulary.by_id(rows, known)
    else:
        chosen = vocabulary.by_token(tokens, tokenizer, known)
        if len(chosen.ids) and int(chosen.ids.max()) >= known:
            table = larger(model, module, int(chosen.ids.max()) + 1)
    order = chosen.ids.argsort()

    def first_rows(begin: Init | None, weight: torch.Tensor) -> TokenRows:
        first = vocabulary.first_rows(chosen, begin, weight.detach(), known)
        return TokenRows(first[order.to(first.device)].to(dtype))

    ids, rows, head_rows = chosen.ids[order], first_rows(init, table.weight), None
    if table.other_head is not None and (head is True or (head == "auto" and any(chosen.is_new))):
        other = table.other_head.module
        check_matrix(other, (other.out_features, other.in_features))
        # An array is of the embedding's rows.
        head_rows = first_rows(init if isinstance(init, str) else None, other.weight)
    parts = converted(table, ids, rows, head_rows)
    in_order = None if chosen.tokens is None else [chosen.tokens[i] for i in order.tolist()]
    return Handle(model, ids, in_order, parts, module, freeze)
