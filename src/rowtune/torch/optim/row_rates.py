"""The option ``lr_scale`` of a group: a scale of the learning rate for each row of its block."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rowtune import checks
from rowtune.errors import RuleError, ShapeError
from rowtune.row_memory import RowMemory
from rowtune.torch import rooms


def check(group: dict[str, Any], is_rows: bool) -> None:
    """Refuse scales for anything but the rows of one block.

    Raises
    ------
    RuleError
        A group that is not one block.
    """
    if group["lr_scale"] is not None and (len(group["params"]) != 1 or not is_rows):
        raise RuleError(
            "lr_scale is for the rows of one block of a rowtune.torch embedding; give that block a "
            'group of its own: {"params": [embedding.block], "lr_scale": scale}'
        )


def check_numbers(group: dict[str, Any]) -> None:
    """Refuse numbers that no step could take, or fewer than there are rows: none can have been
    added yet.

    Raises
    ------
    RuleError, ShapeError
        See `scales`.
    """
    given = group["lr_scale"]
    if given is None:
        return
    block, numbers = group["params"][0], as_tensor(given)
    scales(numbers, block, np.dtype(np.float64))
    if len(numbers) < len(block):
        raise ShapeError(
            f"lr_scale has {len(numbers)} numbers for a block of {len(block)} rows; expected one "
            "for each, in the order of rows.ids"
        )


def as_tensor(given: Any) -> Tensor:
    """``given`` itself, or a tensor of its numbers."""
    if isinstance(given, Tensor):
        return given
    try:
        return torch.from_numpy(np.array(given, np.float64))
    except (TypeError, ValueError) as error:
        raise ShapeError(f"lr_scale is {given!r}; expected one number for each row") from error


def scales(given: Any, block: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Scales (k,) in ``dtype`` on the block's device, in memory of their own; rows that have been
    added since have 1.

    Raises
    ------
    RuleError, ShapeError
        Numbers outside 0 to 1, or more of them than the block has rows.
    """
    numbers = as_tensor(given).detach().cpu().double().numpy()
    count = len(block)
    if numbers.ndim != 1 or len(numbers) > count:
        raise ShapeError(
            f"lr_scale has shape {numbers.shape} for a block of {count} rows; expected one number "
            "for each, or fewer where rows were added since"
        )
    whole = np.ones(count, dtype)
    whole[: len(numbers)] = checks.scale(numbers, len(numbers), dtype)
    return torch.from_numpy(whole).to(block.device)


class RowRates:
    """The scales of the blocks of one optimizer, made anew where somebody has changed them."""

    def __init__(self) -> None:
        self._made: dict[Tensor, tuple[tuple[Any, ...], Tensor]] = {}
        self._memories: dict[Tensor, RowMemory] = {}

    def of(self, block: Tensor, given: Any, dtype: np.dtype[Any]) -> tuple[Tensor | None, bool]:
        """The scales of ``block``, and whether they are others than at the last call."""
        old = self._made.get(block)
        if given is None:
            self._made.pop(block, None)
            return None, old is not None
        known = (given, getattr(given, "_version", None), dtype, block.device)
        if old is not None and isinstance(given, Tensor) and _same(old[0], known):
            if len(old[1]) < len(block):  # rows have been added, which owe nothing yet
                memory = self._memories.setdefault(block, RowMemory())
                old = known, rooms.grown(memory, "scale", old[1], len(block), 1)
                self._made[block] = old
            return old[1], False
        made = scales(given, block, dtype)
        self._made[block] = known, made
        return made, old is None or not torch.equal(old[1], made)


def _same(old: tuple[Any, ...], new: tuple[Any, ...]) -> bool:
    return old[0] is new[0] and old[1:] == new[1:]
