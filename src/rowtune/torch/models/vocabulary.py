"""Tokens and the ids of their rows, in the user's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rowtune import rows as row_choice
from rowtune.errors import IdError, ShapeError
from rowtune.torch.init import Init, rows_around_mean, rows_like

_NAMES = ("mean", "normal", "kaiming", "zeros", "subwords", "description")


class Chosen(NamedTuple):
    """The rows that will train.

    Attributes
    ----------
    ids : int64 (k,), in the user's order
    tokens : list of str, or None where rows were named by id
    pieces : for each row the ids that its token was cut into, before it was added; or None
    is_new : for each row whether nothing is known of it yet
    """

    ids: Tensor
    tokens: list[str] | None
    pieces: list[list[int]] | None
    is_new: list[bool]


def by_id(ids: Any, num_rows: int) -> Chosen:
    """Rows that exist, by ids, a mask or a slice.

    Raises
    ------
    IdError, ShapeError
        As `rowtune.Rows` does.
    """
    on_host = ids.cpu().numpy() if isinstance(ids, Tensor) else ids
    sorted_ids = row_choice.Rows(num_rows, on_host).ids  # refuses what is wrong
    in_order = sorted_ids
    if not isinstance(on_host, str | slice):
        given = row_choice.as_ids(on_host) if not _is_mask(on_host) else sorted_ids
        in_order = given.astype("int64")
    return Chosen(torch.from_numpy(in_order.copy()), None, None, [False] * len(in_order))


def by_token(tokens: Sequence[Any] | Mapping[Any, str], tokenizer: Any, known_rows: int) -> Chosen:
    """Rows of tokens; those that the tokenizer does not have are added to it.

    Parameters
    ----------
    tokens : sequence of str or AddedToken, or mapping from token to a description of it
    known_rows : int
        Rows of the table as it is: tokens may have ids behind it.

    Raises
    ------
    IdError
        A token that is named twice, or empty.
    ShapeError
        There is no tokenizer.
    """
    if tokenizer is None:
        raise ShapeError("tokens need the model's tokenizer: train_rows(model, tokens=..., "
                         "tokenizer=tokenizer)")  # fmt: skip
    # Text, or an AddedToken, which says more of where it matches.
    words = [getattr(token, "content", token) for token in tokens]
    given = dict(zip(words, tokens, strict=True))
    wrong = [w for w in words if not isinstance(w, str) or not w]
    if wrong:
        raise IdError(f"tokens name {wrong[0]!r}; expected text that is not empty")
    if len(set(words)) < len(words):
        twice = next(w for i, w in enumerate(words) if w in words[:i])
        raise IdError(f"tokens name {twice!r} twice; name each one once")
    texts = [tokens[given[w]] for w in words] if isinstance(tokens, Mapping) else words
    # Before they are added: afterwards each is one piece.
    pieces = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    before = set(tokenizer.get_vocab())
    missing = [w for w in words if w not in before]
    if missing:
        tokenizer.add_tokens([given[w] for w in missing])
    ids = [int(i) for i in tokenizer.convert_tokens_to_ids(words)]
    new = [w not in before or i >= known_rows for w, i in zip(words, ids, strict=True)]
    return Chosen(torch.tensor(ids, dtype=torch.int64), words, pieces, new)


def first_rows(chosen: Chosen, init: Init | None, table: Tensor, known_rows: int) -> Tensor:
    """What the chosen rows (k, D) begin with, in the user's order.

    Rows that exist begin as they are, unless ``init`` is an array, which is for all of them.

    Parameters
    ----------
    init : "mean", "normal", "zeros", "subwords", "description", array of k x D, or None
        Of new rows. "mean" is that of the table, with a little noise; "normal" is drawn with the
        mean and spread of the table, column by column. "subwords" is the mean of the rows of the
        pieces that the tokenizer cut a token into, "description" that of the words of its
        description.

    Raises
    ------
    ShapeError
        No such init, or one for tokens where rows were named by id.
    """
    rows = table.index_select(0, chosen.ids.to(table.device)).clone()
    if init is None:
        return rows
    if not isinstance(init, str):
        return rows_like(init, len(rows), table)
    _check_name(chosen, init)
    if not any(chosen.is_new):
        return rows
    new = torch.tensor(chosen.is_new, dtype=torch.bool, device=table.device)
    if init in ("subwords", "description"):
        fresh = _means_of_pieces(chosen, init, table, known_rows)[new]
    else:
        is_known = torch.arange(len(table), device=table.device) < known_rows
        is_known[chosen.ids[new.cpu()].to(table.device)] = False
        count = int(new.sum())
        fresh = (
            rows_around_mean(count, table, is_known, 1.0)
            if init == "normal"
            else rows_like(init, count, table, is_known)
        )
    rows[new] = fresh
    return rows


def _check_name(chosen: Chosen, init: str) -> None:
    if init not in _NAMES:
        raise ShapeError(f"init={init!r}; expected one of {', '.join(_NAMES)}, or an array of rows")
    if init in ("subwords", "description") and chosen.pieces is None:
        raise ShapeError(
            f'init="{init}" is for tokens: train_rows(model, tokens=..., tokenizer=...)'
        )


def _means_of_pieces(chosen: Chosen, init: str, table: Tensor, known_rows: int) -> Tensor:
    if init == "subwords":
        _refuse_whole(chosen)
    means = []
    for pieces in chosen.pieces or []:
        known = [i for i in pieces if i < known_rows]
        found = table[torch.tensor(known, dtype=torch.int64, device=table.device)]
        if not known:
            found = rows_around_mean(1, table[:known_rows], None, 0.0)
        means.append(found.to(torch.float32).mean(0))
    return torch.stack(means).to(table.dtype) if means else table[:0].clone()


def _refuse_whole(chosen: Chosen) -> None:
    for row, (pieces, is_new) in enumerate(zip(chosen.pieces or [], chosen.is_new, strict=True)):
        if is_new and pieces == [int(chosen.ids[row])]:
            raise ShapeError(
                f"the tokenizer has {(chosen.tokens or [])[row]!r} already, and cuts it no more, "
                'which init="subwords" needs; give it a tokenizer without the new tokens, or an '
                "array of rows"
            )


def _is_mask(given: Any) -> bool:
    return bool(np.asarray(given).dtype == np.bool_)
