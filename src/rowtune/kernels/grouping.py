"""Group the positions of a batch by slot, without looking at anything of the table's size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.signals import returned

_FEWEST_BITS, _MOST_BITS = 4, 11  # of a digit: its counters fit the first-level cache
_LOW = np.int64(0xFFFFFFFF)


class Groups(NamedTuple):
    """The trainable positions of a batch, by slot."""

    unique: NDArray[np.int32]  # (u,) touched slots, ascending
    starts: NDArray[np.int64]  # (u + 1,) where each slot's positions begin and end in `order`
    order: NDArray[np.int64]  # positions in the batch; those of one slot keep their order
    longest: int  # positions of the most frequent slot


def group(slots: NDArray[np.int32]) -> Groups:
    """Sort the trainable positions of a batch by slot; -1 (frozen) is left out."""
    return Groups(*returned(group_slots, slots))


def group_unique(slots: NDArray[np.int32]) -> Groups:
    """The same where slots ascend and none comes twice: nothing to sort."""
    unique, order = returned(_keep_trainable, slots)
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
def group_slots(slots: Any) -> Any:
    """A radix sort of pairs of slot and position, each pair one number: half the memory traffic."""
    pairs = np.empty(slots.shape[0], np.int64)
    kept: Any = 0
    largest: Any = 0
    for position in range(slots.shape[0]):
        slot = np.int64(slots[position])
        pairs[kept] = (slot << 32) | position
        kept += slot >= 0
        largest = max(largest, slot)
    pairs = pairs[:kept]
    slot_bits, most = _bit_length(largest), _bit_length(kept)
    # A digit with far more values than there are pairs would only count zeros.
    most = min(max(most, _FEWEST_BITS), _MOST_BITS)
    passes = (slot_bits + most - 1) // most
    bits = (slot_bits + passes - 1) // max(passes, 1)
    other = np.empty_like(pairs)
    for digit in range(passes):
        _sort_by_digit(pairs, other, 32 + digit * bits, bits)
        pairs, other = other, pairs
    return _boundaries(pairs, other)


@numba.njit(nogil=True)
def _bit_length(number: int) -> int:
    bits = 0
    while number >> bits:
        bits += 1
    return bits


@numba.njit(nogil=True)
def _sort_by_digit(pairs: Any, out: Any, shift: int, bits: int) -> None:
    """One stable pass."""
    digits = 1 << bits
    places = np.zeros(digits, np.int64)
    for pair in pairs:
        places[(pair >> shift) & (digits - 1)] += 1
    total = 0
    for digit in range(digits):
        here = places[digit]
        places[digit] = total
        total += here
    for pair in pairs:
        digit = (pair >> shift) & (digits - 1)
        out[places[digit]] = pair
        places[digit] += 1


@numba.njit(nogil=True)
def _boundaries(pairs: Any, order: Any) -> Any:
    """The groups of sorted pairs; ``order`` is memory of the same length, to be written."""
    unique = np.empty(pairs.shape[0], np.int32)
    starts = np.empty(pairs.shape[0] + 1, np.int64)
    groups = 0
    longest = 0
    last = np.int64(-1)
    for i in range(pairs.shape[0]):
        slot = pairs[i] >> 32
        order[i] = pairs[i] & _LOW
        # Written each time, and kept where a new slot begins: a branch here is hard to foretell.
        unique[groups] = slot
        starts[groups] = i
        groups += slot != last
        last = slot
    starts[groups] = pairs.shape[0]
    for g in range(groups):
        longest = max(longest, starts[g + 1] - starts[g])
    return unique[:groups], starts[: groups + 1], order, longest
