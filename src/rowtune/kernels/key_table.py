"""A hash table of 64-bit keys, compiled: a batch of keys at a time.

The table is an int64 array of C x 2, C a power of two: a key's bits, and what is known of it

* -1: the place is empty,
* 0 or more: the key's row,
* -1 - n: the key has been seen n times, and has no row yet.

A key stands at the place that its hash names or at the next that was free, so that most answers
are in one cache line. Places are asked for a few keys ahead, since they lie far apart in memory.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.threads import for_each_chunk

EMPTY = -1
_KEYS_AHEAD = 12
_KEYS_PER_CHUNK = 1 << 15
# The numbers of the mixing function of Steele, Lea & Flood, "Fast Splittable Pseudorandom Number
# Generators", OOPSLA 2014 (variant 13 of David Stafford): every bit of a key reaches every bit of
# its hash, whatever the keys have in common.
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def empty(places: int) -> NDArray[np.int64]:
    """A table of ``places``, a power of two."""
    return np.full((places, 2), EMPTY, np.int64)


def places_for(keys: int) -> int:
    """How many places a table of so many keys has: at most two thirds are taken."""
    return 1 << max(4, (keys * 3 // 2).bit_length())


def find(table: NDArray[np.int64], seed: np.uint64, keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """What is known of each of ``keys`` (n,), as above."""
    out = np.empty(len(keys), np.int64)

    def work(chunk: int) -> None:
        begin = chunk * _KEYS_PER_CHUNK
        _find(table, seed, keys, out, begin, min(begin + _KEYS_PER_CHUNK, len(keys)))

    for_each_chunk(work, -(-len(keys) // _KEYS_PER_CHUNK))
    return out


@numba.njit(nogil=True)
def _hash(key: Any, seed: Any) -> Any:
    x = np.uint64(key) ^ seed
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


@numba.njit(nogil=True)
def _first_place(table: Any, key: Any, seed: Any) -> Any:
    return np.int64(_hash(key, seed) & np.uint64(table.shape[0] - 1))


@numba.njit(nogil=True)
def _place_of(table: Any, key: Any, seed: Any) -> Any:
    """Where ``key`` is, or would be put."""
    place = _first_place(table, key, seed)
    while table[place, 1] != EMPTY and table[place, 0] != key:
        place = (place + 1) & (table.shape[0] - 1)
    return place


@numba.njit(nogil=True)
def _find(table: Any, seed: Any, keys: Any, out: Any, begin: int, end: int) -> None:
    for i in range(begin, end):
        if i + _KEYS_AHEAD < end:
            prefetch_row(table, _first_place(table, keys[i + _KEYS_AHEAD], seed))
        out[i] = table[_place_of(table, keys[i], seed), 1]


@numba.njit(nogil=True)
def count(
    table: Any, seed: Any, keys: Any, admit_at: int, sizes: Any, keys_of_rows: Any, counts: Any
) -> None:
    """Count each of ``keys`` (n,), in order; one that has been seen ``admit_at`` times has a row.

    Parameters
    ----------
    table : with room for all of them
    sizes : int64 array of 2: how many rows there are, and how many keys without one; raised
    keys_of_rows, counts : int64 arrays with room for n more rows: the key of each row, and how
        often it has been seen
    """
    for i in range(keys.shape[0]):
        if i + _KEYS_AHEAD < keys.shape[0]:
            prefetch_row(table, _first_place(table, keys[i + _KEYS_AHEAD], seed))
        place = _place_of(table, keys[i], seed)
        known = table[place, 1]
        if known >= 0:
            counts[known] += 1
            continue
        table[place, 0] = keys[i]
        sizes[1] += known == EMPTY
        seen = -known  # the times before, and this one
        if seen < admit_at:
            table[place, 1] = known - 1
            continue
        row = sizes[0]
        keys_of_rows[row] = keys[i]
        counts[row] = seen
        table[place, 1] = row
        sizes[0] += 1
        sizes[1] -= 1


@numba.njit(nogil=True)
def put(table: Any, seed: Any, keys: Any, known: Any) -> bool:
    """Put ``keys`` (n,) with what is ``known`` of each; whether none was there already."""
    for i in range(keys.shape[0]):
        if i + _KEYS_AHEAD < keys.shape[0]:
            prefetch_row(table, _first_place(table, keys[i + _KEYS_AHEAD], seed))
        place = _place_of(table, keys[i], seed)
        if table[place, 1] != EMPTY:
            return False
        table[place, 0] = keys[i]
        table[place, 1] = known[i]
    return True
