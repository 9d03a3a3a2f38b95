"""A patch: the trained rows of a table, and the fingerprint of the base they belong to."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import PatchError

# What NumPy has no dtype for travels as its bits.
_BITS = {"bfloat16": np.dtype(np.uint16)}


@dataclass(frozen=True)
class Patch:
    """Trained rows of one table, as they are in a file.

    ``rows[i]`` belongs to id ``ids[i]``; with ``columns`` it holds those only.
    """

    ids: NDArray[np.int64]  # (k,) ascending
    rows: NDArray[Any]  # (k, D), or (k, columns)
    fingerprint: str  # of the base
    shape: tuple[int, int]  # of the table with the patch on it: rows that were added count
    base_rows: int  # rows of the base; the rest were added
    columns: NDArray[np.int64] | None = None
    added: NDArray[Any] | None = None  # (added rows, D), with columns: their frozen ones are here
    rule: str | None = None
    steps: NDArray[np.int32] | None = None  # (k,), with the state
    state: dict[str, NDArray[Any]] = field(default_factory=dict)
    frozen: str = ""  # fingerprint of the base in which the patch's rows are zeros, if it is known
    tokens: list[str] | None = None  # what the rows stand for, in the order of ids
    bits_of: str = ""  # "bfloat16" where rows and added are the bits of that, as uint16

    @property
    def dtype_name(self) -> str:
        """Of the table, as a reader would write it."""
        return self.bits_of or str(self.rows.dtype)


def check_fingerprint(patch: Patch, path: str | os.PathLike[str], own: str) -> None:
    """Raise `PatchError` where ``own``, a table's fingerprint, is not that of the patch's base."""
    if patch.fingerprint != own:
        raise PatchError(
            f"{path} was trained on another base (fingerprint {patch.fingerprint[:12]}..., "
            f"this one has {own[:12]}...); pass force=True to use it all the same"
        )


def check_fits(
    patch: Patch,
    path: str | os.PathLike[str],
    shape: tuple[int, int],
    dtype_name: str,
    ids: NDArray[np.int64],
    columns: NDArray[np.int64] | None,
) -> None:
    """Raise `PatchError` unless a table trains the very rows and columns that the patch holds."""
    same_columns = (
        patch.columns is columns
        if patch.columns is None or columns is None
        else np.array_equal(patch.columns, columns)
    )
    if (
        patch.shape == shape
        and patch.dtype_name == dtype_name
        and np.array_equal(patch.ids, ids)
        and same_columns
    ):
        return
    raise PatchError(
        f"{path} holds {len(patch.ids)} rows of a {patch.shape} {patch.dtype_name} table; this one "
        f"trains {len(ids)} rows of {shape} {dtype_name}, and they are not the same. "
        "rowtune.apply_patch puts a patch on a base"
    )


def check_whole(patch: Patch, path: str | os.PathLike[str]) -> None:
    """The parts of a patch must fit each other, whoever wrote it."""
    ids, rows, (num_rows, width) = patch.ids, patch.rows, patch.shape
    columns, added = patch.columns, num_rows - patch.base_rows
    fits = (
        _are_ascending(ids, num_rows)
        and (columns is None or _are_ascending(columns, width))
        and (
            rows.dtype.kind == "f" if not patch.bits_of else _BITS.get(patch.bits_of) == rows.dtype
        )
        and rows.shape == (len(ids), width if columns is None else len(columns))
        and (patch.tokens is None or len(patch.tokens) == len(ids))
        and 0 <= added <= len(ids)
        # Rows that were added all train: they are the last ids, and no other.
        and np.array_equal(ids[len(ids) - added :], np.arange(patch.base_rows, num_rows))
        and (patch.added is None or patch.added.shape == (added, width))
        and (patch.added is not None) == (columns is not None and added > 0)
        and all(_is_state(a, rows.shape) for a in patch.state.values())
        and (patch.steps is None or _are_steps(patch.steps, len(ids)))
    )
    if not fits:
        raise PatchError(f"{path} is damaged: its ids, rows and shape do not fit each other")


def _is_state(array: NDArray[Any], shape: tuple[int, ...]) -> bool:
    """As wide as the rows, or one number for each."""
    return array.dtype.kind == "f" and array.shape in (shape, (shape[0], 1))


def _are_steps(steps: NDArray[Any], count: int) -> bool:
    return steps.shape == (count,) and steps.dtype == np.int32 and bool((steps >= 0).all())


def _are_ascending(ids: NDArray[Any], size: int) -> bool:
    return (
        ids.ndim == 1
        and ids.dtype == np.int64
        and not bool((np.diff(ids) <= 0).any())
        and (len(ids) == 0 or bool(ids[0] >= 0 and ids[-1] < size))
    )
