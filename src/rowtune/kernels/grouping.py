"""Group the positions of a batch by slot, without looking at anything of the table's size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

_FEWEST_BITS, _MOST_BITS = 4, 11  # of a digit: its counters fit the first-level cache


class Groups(NamedTuple):
    """The trainable positions of a batch, by slot."""

    unique: NDArray[np.int32]  # (u,) touched slots, ascending
    starts: NDArray[np.int64]  # (u + 1,) where each slot's positions begin and end in `order`
    order: NDArray[np.int64]  # positions in the batch; those of one slot keep their order
    longest: int  # positions of the most frequent slot


def group(slots: NDArray[np.int32]) -> Groups:
    """Sort the trainable positions of a batch by slot; -1 (frozen) is left out."""
    keys, order, largest = _drop_frozen(slots)
    # A digit with far more values than there are keys would only count zeros.
    bits = min(max(len(keys).bit_length(), _FEWEST_BITS), _MOST_BITS)
    shift = 0
    while largest >> shift:
        keys, order = _sort_by_digit(keys, order, shift, bits)
        shift += bits
    unique, starts, longest = _boundaries(keys)
    return Groups(unique, starts, order, longest)


def group_unique(slots: NDArray[np.int32]) -> Groups:
    """The same where slots ascend and none comes twice: nothing to sort."""
    unique, order = _keep_trainable(slots)
    starts = np.arange(len(unique) + 1)
    return Groups(unique, starts, order, min(1, len(unique)))


@numba.njit(nogil=True)
def _keep_trainable(slots: Any) -> Any:
    unique = np.empty(slots.shape[0], np.int32)
    order = np.empty(slots.shape[0], np.int64)
    kept = 0
    for position in range(slots.shape[0]):
        if slots[position] >= 0:
            unique[kept] = slots[position]
            order[kept] = position
            kept += 1
    return unique[:kept], order[:kept]


@numba.njit(nogil=True)
def _drop_frozen(slots: Any) -> Any:
    keys = np.empty(slots.shape[0], np.int32)
    order = np.empty(slots.shape[0], np.int64)
    kept = 0
    largest = 0
    for position in range(slots.shape[0]):
        slot = slots[position]
        keys[kept] = slot
        order[kept] = position
        if slot >= 0:
            kept += 1
            largest = max(largest, slot)
    return keys[:kept], order[:kept], largest


@numba.njit(nogil=True)
def _sort_by_digit(keys: Any, order: Any, shift: int, bits: int) -> Any:
    """One stable pass of a radix sort."""
    digits = 1 << bits
    places = np.zeros(digits, np.int64)
    for key in keys:
        places[(key >> shift) & (digits - 1)] += 1
    total = 0
    for digit in range(digits):
        here = places[digit]
        places[digit] = total
        total += here
    sorted_keys = np.empty_like(keys)
    sorted_order = np.empty_like(order)
    for i in range(keys.shape[0]):
        digit = (keys[i] >> shift) & (digits - 1)
        place = places[digit]
        places[digit] = place + 1
        sorted_keys[place] = keys[i]
        sorted_order[place] = order[i]
    return sorted_keys, sorted_order


@numba.njit(nogil=True)
def _boundaries(keys: Any) -> Any:
    unique = np.empty(keys.shape[0], np.int32)
    starts = np.empty(keys.shape[0] + 1, np.int64)
    groups = 0
    longest = 0
    for i in range(keys.shape[0]):
        if i == 0 or keys[i] != keys[i - 1]:
            unique[groups] = keys[i]
            starts[groups] = i
            groups += 1
    starts[groups] = keys.shape[0]
    for g in range(groups):
        longest = max(longest, starts[g + 1] - starts[g])
    return unique[:groups], starts[: groups + 1], longest
