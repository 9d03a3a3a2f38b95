"""From a word to its row: a sorted array of 64-bit hashes that can be memory-mapped.

A dict of 400,000 words takes 0.1 s to build and cannot be mapped from a file; this index is two
arrays, so a table that comes from the cache answers its first lookup in microseconds. Equal hashes
are told apart by the bytes themselves: a collision costs a comparison, never a wrong row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rowtune.vectors.words import Words, encode

_FACTOR = 0x9E3779B97F4A7C15  # odd, so that no power of it is 0 modulo 2**64
_MASK = (1 << 64) - 1
_WORDS_AT_A_TIME = 1 << 16  # keeps the temporaries of hashing near the caches
_LOOKUPS_BEFORE_DICT = 5_000  # from here on a dict repays the time it takes to build


def hash_one(word: bytes) -> int:
    """Sum of (byte + 1) x FACTOR^(position + 1), modulo 2**64."""
    total = 0
    for byte in reversed(word):
        total = ((total + byte + 1) * _FACTOR) & _MASK
    return total


def hash_words(words: Words) -> NDArray[np.uint64]:
    """`hash_one` of every word, shape (N,)."""
    out = np.empty(len(words), np.uint64)
    for start in range(0, len(words), _WORDS_AT_A_TIME):
        offsets = words.offsets[start : start + _WORDS_AT_A_TIME + 1]
        blob = words.blob[offsets[0] : offsets[-1]]
        offsets = offsets - offsets[0]
        lengths = np.diff(offsets)
        place = np.arange(len(blob)) - np.repeat(offsets[:-1], lengths)
        powers = np.full(int(lengths.max(initial=0)), _FACTOR, np.uint64).cumprod(dtype=np.uint64)
        sums = np.zeros(len(blob) + 1, np.uint64)
        np.cumsum((blob.astype(np.uint64) + np.uint64(1)) * powers[place], out=sums[1:])
        # Differences of running sums are right although the sums wrap around.
        out[start : start + len(lengths)] = sums[offsets[1:]] - sums[offsets[:-1]]
    return out


class WordIndex:
    """Looks words up in ``words``. Of a word that occurs twice the first row answers.

    Parameters
    ----------
    words : Words
        What to look up in.
    hashes, ids : arrays, shape (N,), or None
        The sorted hashes and the row of each, as an earlier index of the same words had them.
    """

    def __init__(
        self,
        words: Words,
        hashes: NDArray[np.uint64] | None = None,
        ids: NDArray[np.int64] | None = None,
    ) -> None:
        self._words = words
        if hashes is None or ids is None:
            unsorted = hash_words(words)
            # Stable: among equal hashes the first row of the file stays the first.
            ids = np.argsort(unsorted, kind="stable")
            hashes = unsorted[ids]
        self.hashes = hashes
        self.ids = ids
        self._lookups = 0
        self._dict: dict[bytes, int] | None = None

    def find(self, word: str | bytes) -> int:
        """The row of ``word``, or -1."""
        raw = encode(word)
        if self._dict is None:
            self._lookups += 1
            if self._lookups <= _LOOKUPS_BEFORE_DICT:
                return self._search(raw)
            self._dict = self._build_dict()
        return self._dict.get(raw, -1)

    def find_many(self, words: Sequence[str | bytes]) -> NDArray[np.int64]:
        """The row of each word, or -1; shape (len(words),)."""
        if self._dict is not None:
            get = self._dict.get
            return np.fromiter((get(encode(word), -1) for word in words), np.int64, len(words))
        asked = Words.of(words)
        wanted = hash_words(asked)
        at = np.searchsorted(self.hashes, wanted)
        found = at < len(self.hashes)
        found[found] = self.hashes[at[found]] == wanted[found]
        out = np.full(len(asked), -1, np.int64)
        for i in np.flatnonzero(found).tolist():
            out[i] = self._compare(int(at[i]), int(wanted[i]), asked.raw(i))
        return out

    def _search(self, raw: bytes) -> int:
        wanted = hash_one(raw)
        return self._compare(int(np.searchsorted(self.hashes, np.uint64(wanted))), wanted, raw)

    def _compare(self, at: int, wanted: int, raw: bytes) -> int:
        """Walk over the equal hashes from ``at`` until the bytes agree."""
        while at < len(self.hashes) and int(self.hashes[at]) == wanted:
            i = int(self.ids[at])
            if self._words.raw(i) == raw:
                return i
            at += 1
        return -1

    def _build_dict(self) -> dict[bytes, int]:
        rows: dict[bytes, int] = {}
        for i, raw in enumerate(self._words.iter_raw()):
            rows.setdefault(raw, i)
        return rows
