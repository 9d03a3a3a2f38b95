"""Words as sparse rows of character n-grams.

N-grams are told apart by a 64-bit hash and numbered densely, so that two of them practically never
share a coefficient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rowtune.learn.sparse import Sparse
from rowtune.signals import returned


class NGrams:
    """The n-grams of ``words`` that at least ``min_words`` of them share, numbered."""

    def __init__(
        self, words: Sequence[str], shortest: int = 3, longest: int = 6, min_words: int = 2
    ) -> None:
        self.shortest, self.longest = shortest, longest
        starts, hashes = self._hashes(words)
        unique, inverse, shared = np.unique(hashes, return_inverse=True, return_counts=True)
        keep = shared >= min_words
        self.known = unique[keep]
        number = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)
        # Rare n-grams say more, as rare terms do in retrieval.
        self.value = np.ones(len(self.known), np.float32)
        self.matrix = self._rows(starts, number[inverse])

    def encode(self, words: Sequence[str]) -> Sparse:
        """Rows for other words; n-grams never seen have no column and are dropped."""
        starts, hashes = self._hashes(words)
        at = np.minimum(np.searchsorted(self.known, hashes), max(len(self.known) - 1, 0))
        number = np.where(self.known[at] == hashes, at, -1) if len(self.known) else at * 0 - 1
        return self._rows(starts, number.astype(np.int32))

    def _hashes(self, words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        text = "".join(f"<{word}>" for word in words)
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        ends = np.cumsum([len(word) + 2 for word in words], dtype=np.int64)
        return returned(_hash, points, np.concatenate([[0], ends]), self.shortest, self.longest)  # type: ignore[no-any-return]

    def _rows(self, starts: NDArray[np.int64], number: NDArray[np.int32]) -> Sparse:
        keep = number >= 0
        kept = np.concatenate([[0], np.cumsum(keep)])[starts]
        columns = number[keep]
        lengths = np.diff(kept)
        # Equal length for every word: long words would otherwise weigh as their n-gram count.
        scale = 1 / np.sqrt(np.maximum(lengths, 1)).astype(np.float32)
        return Sparse(kept, columns, np.repeat(scale, lengths), len(self.known))


@njit(cache=True, nogil=True)
def _hash(points: Any, edges: Any, shortest: int, longest: int) -> Any:
    words = len(edges) - 1
    starts = np.zeros(words + 1, np.int64)
    for w in range(words):
        length = edges[w + 1] - edges[w]
        total = 1  # the whole word
        for n in range(shortest, longest + 1):
            total += max(0, length - n + 1)
        starts[w + 1] = starts[w] + total
    hashes = np.empty(starts[-1], np.uint64)
    for w in range(words):
        at = starts[w]
        begin, end = edges[w], edges[w + 1]
        for first in range(begin, end):
            value = np.uint64(14695981039346656037)  # FNV-1a, 64 bits
            for last in range(first, end):
                value = (value ^ np.uint64(points[last])) * np.uint64(1099511628211)
                n = last - first + 1
                if shortest <= n <= longest:
                    hashes[at] = value
                    at += 1
                if last - first + 1 >= longest and first != begin:
                    break
            if first == begin:
                hashes[at] = value ^ np.uint64(1)
                at += 1
    return starts, hashes
