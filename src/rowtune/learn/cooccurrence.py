"""Which words stand near which: a sparse matrix of positive pointwise mutual information.

Each thread fills rows of its own from the places of a word in the text, with one dense row to
count in, so memory follows the entries that stay and not the pairs that were seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rowtune.kernels.threads import for_each_chunk
from rowtune.learn.sparse import Sparse
from rowtune.signals import returned

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

WINDOW = 5
_CHUNKS = 64  # of the rows; fixed, so that results do not depend on the number of threads
_CONTEXTS = 50_000  # most frequent types that are contexts
_PLACES = 5_000  # of one word that are looked at, evenly spread: more say little that is new
_POWER = 0.75  # flattens the counts of contexts (Levy, Goldberg and Dagan, TACL 2015, section 3.2)


def associations(
    stream: NDArray[np.int32], counts: Ids, targets: Ids, min_count: int, window: int = WINDOW
) -> Sparse:
    """How much more often than by chance each context stands near each target.

    Entry (w, c) is log(p(c | w) / p(c)) where that is positive: p(c | w) is c's share of what
    stands around w, a neighbour at distance s counting 1 / s, and p(c) grows with c's count to the
    power 0.75.

    Parameters
    ----------
    stream : (tokens,) int32
        Type ids; negative values end a document.
    counts : (types,) int64
    targets : (n,) int64, types, each once
    min_count : int
        Types seen less often are no contexts.

    Returns
    -------
    Sparse, (targets, contexts); contexts in falling order of count.
    """
    frequent = np.flatnonzero(counts >= max(min_count, 1))
    contexts = frequent[np.argsort(-counts[frequent], kind="stable")][:_CONTEXTS]
    column = np.full(len(counts), -1, np.int32)
    column[contexts] = np.arange(len(contexts), dtype=np.int32)
    flat = counts[contexts] ** _POWER
    chance = (flat / max(flat.sum(), 1)).astype(np.float32)
    slot = np.full(len(counts), -1, np.int32)
    slot[targets] = np.arange(len(targets), dtype=np.int32)
    every = np.maximum(-(-counts[targets] // _PLACES), 1)  # of a frequent word, each n-th place
    edges = np.concatenate([[0], np.cumsum(-(-counts[targets] // every))]).astype(np.int64)
    places = np.empty(int(edges[-1]), np.int64)
    _find(stream, slot, every, edges[:-1].copy(), places)
    bounds = np.searchsorted(edges, np.linspace(0, edges[-1], _CHUNKS + 1)[1:-1])
    bounds = np.concatenate([[0], np.minimum(bounds, len(targets)), [len(targets)]])
    found: list[Any] = [None] * _CHUNKS

    def work(chunk: int) -> None:
        begin, end = int(bounds[chunk]), int(bounds[chunk + 1])
        found[chunk] = returned(
            _associate, stream, column, chance, places, edges[begin : end + 1], window
        )

    for_each_chunk(work, _CHUNKS)
    lengths, columns, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Sparse(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), columns, values, len(contexts)
    )


@njit(cache=True, nogil=True)
def _find(stream: Any, slot: Any, every: Any, at: Any, places: Any) -> None:
    """Write the places of each target into its part of ``places``, which begins at ``at``."""
    seen = np.zeros(len(every), np.int64)
    for t in range(len(stream)):
        if stream[t] < 0:
            continue
        s = slot[stream[t]]
        if s < 0:
            continue
        if seen[s] % every[s] == 0:
            places[at[s]] = t
            at[s] += 1
        seen[s] += 1


@njit(cache=True, nogil=True)
def _associate(
    stream: Any, column: Any, chance: Any, places: Any, edges: Any, window: int
) -> tuple[Any, Any, Any]:
    rows = len(edges) - 1
    lengths = np.zeros(rows, np.int64)
    mass = np.zeros(len(chance), np.float32)
    touched = np.empty(len(chance), np.int32)
    columns, values = np.empty(1024, np.int32), np.empty(1024, np.float32)
    used = 0
    for row in range(rows):
        number, total = 0, np.float32(0)
        for at in range(edges[row], edges[row + 1]):
            t = places[at]
            for side in (-1, 1):
                for step in range(1, window + 1):
                    other = t + side * step
                    if other < 0 or other >= len(stream) or stream[other] < 0:
                        break
                    c = column[stream[other]]
                    if c < 0 or stream[other] == stream[t]:
                        continue
                    if mass[c] == 0:
                        touched[number] = c
                        number += 1
                    mass[c] += np.float32(1) / np.float32(step)
                    total += np.float32(1) / np.float32(step)
        if used + number > len(columns):
            size = max(2 * len(columns), used + number)
            wider, longer = np.empty(size, np.int32), np.empty(size, np.float32)
            wider[:used], longer[:used] = columns[:used], values[:used]
            columns, values = wider, longer
        for i in range(number):
            c = touched[i]
            value = np.log(mass[c] / (total * chance[c]))
            mass[c] = 0
            if value > 0:
                columns[used], values[used] = c, value
                used += 1
                lengths[row] += 1
    return lengths, columns[:used].copy(), values[:used].copy()
