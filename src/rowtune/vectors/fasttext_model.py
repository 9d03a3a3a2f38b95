"""fastText models (``.bin``): a word's vector is the mean of its row and of its n-grams' rows.

The layout is that of fastText's own ``FastText::saveModel``, versions 11 and 12, and of the files
before it had a magic number: settings, dictionary, input matrix; what follows is for training.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rowtune.vectors.subwords import ngrams_of_many
from rowtune.vectors.vectors import Progress
from rowtune.vectors.words import Words

_WORDS_AT_A_TIME = 4096
_VALUES_AT_A_TIME = 1 << 22
_END_OF_SENTENCE = b"</s>"
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class FastTextModel:
    """The words and rows of a model, mapped; `rows` composes vectors of any words, known or not.

    Parameters
    ----------
    words : Words
        The N words of the dictionary.
    inputs : float32 array, shape (N + buckets, D)
        A row for each word, then one for each bucket of n-grams.
    minn, maxn : int
        How long n-grams are, in characters; none if ``maxn`` is 0.
    bucket : int
        Into how many buckets n-grams are hashed.
    spells_end : bool
        Whether ``</s>`` has n-grams as well, as it had in the first versions.
    """

    words: Words
    inputs: Rows
    minn: int
    maxn: int
    bucket: int
    spells_end: bool = False

    @property
    def has_ngrams(self) -> bool:
        """Whether spelling counts: without n-grams an unknown word has no vector."""
        return 0 < self.maxn >= self.minn and self.bucket > 0

    def vectors(self, progress: Progress | None = None) -> Rows:
        """The vector of every word of the dictionary, shape (N, D)."""
        out = np.zeros((len(self.words), self.inputs.shape[1]), np.float32)
        raw = list(self.words.iter_raw())
        for start in range(0, len(raw), _WORDS_AT_A_TIME):
            part = raw[start : start + _WORDS_AT_A_TIME]
            stop = start + len(part)
            out[start:stop] = self._compose(part, np.arange(start, stop))
            if progress:
                progress("composing", stop, len(raw))
        return out

    def rows(self, words: Iterable[str | bytes]) -> Rows:
        """The vectors of any words, shape (len(words), D); zeros for one without any n-gram."""
        asked = list(Words.of(words).iter_raw())
        known = {raw: i for i, raw in enumerate(self.words.iter_raw())}
        own = np.array([known.get(raw, -1) for raw in asked], np.int64)
        return self._compose(asked, own)

    def _compose(self, words: list[bytes], own: NDArray[np.int64]) -> Rows:
        """Means of each word's own row (if ``own`` is not -1) and of its n-grams' rows."""
        count = len(words)
        ids, counts = np.zeros(0, np.int64), np.zeros(count, np.int64)
        if self.has_ngrams and count:
            ids, counts = ngrams_of_many(words, self.minn, self.maxn, self.bucket)
            whole = [word == _END_OF_SENTENCE and not self.spells_end for word in words]
            ids = ids[~np.repeat(whole, counts)] + len(self.words)
            counts[whole] = 0
        at = np.flatnonzero(own >= 0)
        ids = np.insert(ids, (np.cumsum(counts) - counts)[at], own[at])
        counts = counts + (own >= 0)
        sums = self._sums(ids, np.repeat(np.arange(count), counts), count)
        return sums * (np.float32(1) / np.maximum(counts, 1).astype(np.float32))[:, None]

    def _sums(self, ids: NDArray[np.int64], owner: NDArray[np.int64], count: int) -> Rows:
        """Sums of rows ``ids`` by owner, a bounded number of them at a time."""
        dim = self.inputs.shape[1]
        sums = np.zeros((count, dim), np.float32)
        step = max(1, _VALUES_AT_A_TIME // dim)
        with np.errstate(over="ignore", invalid="ignore"):  # as the file's own values have it
            for start in range(0, len(ids), step):
                whose = owner[start : start + step]
                firsts = np.flatnonzero(np.diff(whose, prepend=-1))
                rows = self.inputs[ids[start : start + step]]
                sums[whose[firsts]] += np.add.reduceat(rows, firsts, axis=0)
        return sums
