"""What a table accepts from its user, checked before anything is written."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from rowtune.errors import FrozenRowError, NonFiniteError, RuleError, ShapeError
from rowtune.rows import Rows


def gradients(
    grads: ArrayLike, ids_shape: tuple[int, ...], width: int, dtype: DTypeLike
) -> NDArray[Any]:
    """Gradients as an array of n x width in ``dtype``, one row for each id.

    Raises
    ------
    ShapeError
        Not shaped as the lookup was, or not numbers.
    """
    given = _numbers(grads, "gradients")
    expected = (*ids_shape, width)
    if given.shape != expected and not (given.size == 0 and 0 in expected):
        raise ShapeError(
            f"gradients have shape {given.shape}; expected {expected}, "
            "as lookup(ids) of the same ids returned"
        )
    # Too large for the state's dtype becomes infinity here, and is refused as such by the step.
    with np.errstate(over="ignore"):
        flat = given.reshape(math.prod(ids_shape), width)
        # Read-only or unaligned arrays are other types to the compiler; it knows one kind.
        return np.require(flat, dtype=dtype, requirements=["C", "A", "W"])


def scale(given: ArrayLike, count: int, dtype: DTypeLike) -> NDArray[Any]:
    """Scales of the learning rate of ``count`` rows, as an array of its own in ``dtype``.

    Raises
    ------
    ShapeError
        Not one number for each trainable row.
    RuleError
        A number below 0, above 1, or NaN.
    """
    numbers = _numbers(given, "lr_scale")
    if numbers.shape != (count,):
        raise ShapeError(
            f"lr_scale has shape {numbers.shape}; expected ({count},), one number for each "
            "trainable row"
        )
    wrong = numbers[~((numbers >= 0) & (numbers <= 1))]
    if wrong.size:
        raise RuleError(f"lr_scale holds {wrong[0]}; expected numbers from 0 (frozen) to 1")
    return np.array(numbers, dtype=dtype, order="C")


def values(
    new: ArrayLike, ids_shape: tuple[int, ...], width: int, dtype: DTypeLike, check_finite: bool
) -> NDArray[Any]:
    """Values for some rows as an array of n x width in ``dtype``.

    Raises
    ------
    ShapeError
        Not ids.shape + (width,), or not numbers.
    NonFiniteError
        NaN or infinity, also where ``dtype`` is too small for a value.
    """
    given = _numbers(new, "values")
    expected = (*ids_shape, width)
    if given.shape != expected and not (given.size == 0 and 0 in expected):
        raise ShapeError(f"values have shape {given.shape}; expected {expected}")
    with np.errstate(over="ignore"):
        flat = np.ascontiguousarray(given.reshape(math.prod(ids_shape), width), dtype=dtype)
    if check_finite and not np.isfinite(flat).all():
        raise NonFiniteError(
            f"values hold NaN or infinity (as {flat.dtype}); nothing was changed. "
            "Pass check_finite=False if that is meant"
        )
    return flat


def all_trainable(rows: Rows, ids: ArrayLike) -> NDArray[np.int32]:
    """Slots of ids, flat; none of them frozen.

    Raises
    ------
    FrozenRowError
        Names the first frozen id and how many there are.
    """
    slots = rows.slots(ids).reshape(-1)
    frozen = np.flatnonzero(slots < 0)
    if frozen.size:
        first = np.asarray(ids).reshape(-1)[frozen[0]]
        raise FrozenRowError(
            f"row {first} is frozen ({frozen.size} of {slots.size} given are); "
            "nothing was changed. Only rows that were chosen with train= can be written"
        )
    return slots


def _numbers(given: ArrayLike, what: str) -> NDArray[Any]:
    try:
        array = np.asarray(given)
    except ValueError as error:  # a ragged list
        raise ShapeError(f"{what} are not one array: {error}") from None
    if array.dtype.kind not in "fiu":
        raise ShapeError(
            f"{what} have dtype {array.dtype}; expected floats (write .astype(numpy.float32))"
        )
    return array
