"""Compiled walks of skip-gram over a thinned stream, each of which moves one side only.

While one side of the model is frozen, every row of the other is a regression of its own: no two of
them meet in memory. So the moving rows fall into a fixed number of parts, each walked by one thread
in the order of the text, without a lock or a race, and a result has the same bits on any number of
threads. (Both sides at once, as word2vec moves them, would be a race between threads.)

Rows move by Adagrad with one sum of squared errors per row: rare words need large steps, frequent
ones small steps, and nobody has to plan a schedule over a stream of unknown length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

SPAN = np.float32(8.0)  # beyond it the sigmoid is 0 or 1 to three digits: word2vec stops at 6
CELLS = 4096
_PER_UNIT = np.float32(CELLS / 16.0)
# Reassociation lets the sum run in vectors; NaN, infinity and signed zero keep their meaning.
_ANY_ORDER = {"reassoc"}


def sigmoid_table() -> np.ndarray[Any, np.dtype[np.float32]]:
    """The logistic function at the middle of each of `CELLS` cells of -`SPAN`..`SPAN`."""
    width = 2 * float(SPAN) / CELLS
    middle = -float(SPAN) + width * (np.arange(CELLS) + 0.5)
    table: np.ndarray[Any, np.dtype[np.float32]] = (1 / (1 + np.exp(-middle))).astype(np.float32)
    return table


@njit(cache=True, nogil=True)
def mix(state: Any) -> Any:
    """One output of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) for a uint64 state."""
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


GAMMA = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True, fastmath=_ANY_ORDER)
def dot(x: Any, y: Any) -> Any:
    """The product of two rows."""
    total = np.float32(0)
    for d in range(len(x)):
        total += x[d] * y[d]
    return total


@njit(cache=True, nogil=True)
def _push(
    moving: Any, frozen: Any, label: Any, squares: Any, at: int, rate: Any, table: Any
) -> None:
    """One step of logistic regression: ``moving`` towards ``label`` at the point ``frozen``."""
    score = min(max(dot(moving, frozen), -SPAN), SPAN)
    cell = min(np.int64((score + SPAN) * _PER_UNIT), CELLS - 1)
    error = label - table[cell]
    squares[at] += error * error
    step = rate * error / np.sqrt(squares[at])
    for d in range(len(moving)):
        moving[d] += step * frozen[d]


@njit(cache=True, nogil=True)
def thin(ids: Any, keep: Any, seed: Any) -> Any:
    """The tokens that subsampling leaves, breaks included; type c stays with ``keep[c]`` / 2^32."""
    out = np.empty(len(ids), np.int32)
    size = 0
    state = seed
    for t in range(len(ids)):
        state += GAMMA
        if ids[t] >= 0 and (mix(state) >> np.uint64(32)) >= keep[ids[t]]:
            continue
        out[size] = ids[t]
        size += 1
    return out[:size]


@njit(cache=True, nogil=True)
def reach(seed: Any, t: int, window: int) -> Any:
    """How far the window reaches at token t: 1 to ``window``, all alike likely, as in word2vec."""
    drawn = mix(seed + np.uint64(t) * GAMMA) >> np.uint64(32)
    return 1 + np.int64((drawn * np.uint64(window)) >> np.uint64(32))


@njit(cache=True, nogil=True)
def draw(state: Any, bar: Any, other: Any, begin: int, end: int) -> Any:
    """A type of the alias table begin..end (Walker, 1977; Vose, 1991) from 64 random bits."""
    bits = mix(state)
    cell = begin + np.int64(((bits >> np.uint64(32)) * np.uint64(end - begin)) >> np.uint64(32))
    return cell if (bits & np.uint64(0xFFFFFFFF)) < bar[cell] else other[cell]


@njit(cache=True, nogil=True)
def move_contexts(
    ids: Any,
    centre: Any,
    slot: Any,
    rows: Any,
    contexts: Any,
    squares: Any,
    edges: Any,
    bar: Any,
    other: Any,
    share: Any,
    window: int,
    negatives: int,
    rate: Any,
    table: Any,
    seed: Any,
    part: int,
) -> int:
    """Move the contexts of one part; ``rows`` stay. Returns the pairs that it saw.

    Parameters
    ----------
    ids : (tokens,) int32, thinned
    centre : (types,) int32, the row of a type among ``rows``; -1 where it is no centre
    slot : (types,) int32, the row of a type among ``contexts``; -1 where it is no context
    edges : (parts + 1,) int64: part p owns contexts edges[p]..edges[p + 1]
    bar, other : alias tables, one for each part
    share : float64, what part of all negatives falls on this part
    """
    begin, end = edges[part], edges[part + 1]
    state = mix(seed + np.uint64(part + 1))
    pairs = 0
    owed = 0.0
    for t in range(len(ids)):
        if ids[t] < 0 or centre[ids[t]] < 0:
            continue
        row = rows[centre[ids[t]]]
        far = reach(seed, t, window)
        found = 0
        for side in (-1, 1):
            for step in range(1, far + 1):
                at = t + side * step
                if at < 0 or at >= len(ids) or ids[at] < 0:
                    break
                c = slot[ids[at]]
                if c < 0 or ids[at] == ids[t]:
                    continue
                found += 1
                if begin <= c < end:
                    _push(contexts[c], row, np.float32(1), squares, c, rate, table)
        pairs += found
        # Each part draws its share for every centre, whichever part owns the pairs themselves.
        owed += found * negatives * share
        while owed >= 1:
            owed -= 1
            state += GAMMA
            c = draw(state, bar, other, begin, end)
            _push(contexts[c], row, np.float32(0), squares, c, rate, table)
    return pairs


@njit(cache=True, nogil=True)
def move_rows(
    ids: Any,
    target: Any,
    slot: Any,
    rows: Any,
    contexts: Any,
    squares: Any,
    edges: Any,
    bar: Any,
    other: Any,
    window: int,
    negatives: int,
    rate: Any,
    table: Any,
    seed: Any,
    part: int,
    parts: int,
) -> int:
    """Move the rows of one part's targets; ``contexts`` stay. Returns the pairs that it saw.

    ``target`` is the row of each type among ``rows``, -1 where it is no target; one alias table
    spans all contexts (``edges`` has two entries). For the rest see `move_contexts`.
    """
    state = mix(seed + np.uint64(part + 1))
    pairs = 0
    for t in range(len(ids)):
        if ids[t] < 0:
            continue
        s = target[ids[t]]
        if s < 0 or s % parts != part:
            continue
        row = rows[s]
        far = reach(seed, t, window)
        for side in (-1, 1):
            for step in range(1, far + 1):
                at = t + side * step
                if at < 0 or at >= len(ids) or ids[at] < 0:
                    break
                c = slot[ids[at]]
                if c < 0 or ids[at] == ids[t]:
                    continue
                pairs += 1
                _push(row, contexts[c], np.float32(1), squares, s, rate, table)
                for _ in range(negatives):
                    state += GAMMA
                    c = draw(state, bar, other, edges[0], edges[1])
                    _push(row, contexts[c], np.float32(0), squares, s, rate, table)
    return pairs
