"""Texts as ids: rows of the table first, then a row for each word that training texts teach."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rowtune.learn import tokens
from rowtune.learn.nearest import usable
from rowtune.learn.result import Coverage
from rowtune.learn.stream import BREAK, Stream, read, settle
from rowtune.vectors import Vectors

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Bags:
    """Tokens of T texts, one after the other: text i has ``ids[offsets[i] : offsets[i + 1]]``.

    An id below ``known`` is a row of the table; ``known + j`` is new word j; -1 is a token that has
    no row. ``types`` number all tokens alike, for what needs no table.
    """

    ids: Ids
    types: Ids  # the same tokens as places in ``names``
    offsets: Ids  # (T + 1,)
    names: list[str]
    known: int  # rows of the table
    new: tuple[str, ...]  # words that the table lacks, most frequent first
    new_counts: tuple[int, ...]  # their occurrences in the training texts
    coverage: Coverage
    unusable: int  # distinct words left out, for their rows hold NaN, infinity or absurd values

    def __len__(self) -> int:
        return len(self.offsets) - 1


class Texts:
    """All texts, tokenised once as `rowtune.learn` does it; `bags` reads them for one split."""

    def __init__(self, vectors: Vectors, texts: Sequence[str]) -> None:
        self.vectors = vectors
        self._stream = read(((text,) for text in texts), tokens.prefers_lower(vectors.words))
        ends = np.flatnonzero(self._stream.ids == BREAK)
        self._starts = np.concatenate([[0], ends + 1])
        self._in_table = _Known(vectors)

    def bags(self, training: Ids, min_count: int) -> Bags:
        """Ids of all texts, where only the texts ``training`` decide which words get a row.

        A token stays whole where the table has it, or where it is a word that the training texts
        have ``min_count`` times; else it is read as its parts, as `extend` does.
        """
        known = self._in_table

        def frequent(token: str, count: int) -> bool:
            return token in known or (count >= min_count and _deserves_a_row(token))

        own = settle(self._part(training), frequent)
        fresh = [
            (token, int(count))
            for token, count in zip(own.types, own.counts, strict=True)
            if token not in known and frequent(token, int(count))
        ]
        fresh.sort(key=lambda pair: (-pair[1], pair[0]))
        number = {token: len(self.vectors) + i for i, (token, _) in enumerate(fresh)}
        whole = settle(self._stream, lambda token, _: token in known or token in number)
        return self._numbered(whole, number, [count for _, count in fresh])

    def _part(self, chosen: Ids) -> Stream:
        """The stream of some texts alone, with the counts that its types have there."""
        pieces = [self._stream.ids[self._starts[i] : self._starts[i + 1]] for i in chosen]
        ids = np.concatenate([np.empty(0, np.int32), *pieces])
        counts = np.bincount(ids[ids >= 0], minlength=len(self._stream.types))
        return Stream(ids, self._stream.types, counts.astype(np.int64))

    def _numbered(self, whole: Stream, number: dict[str, int], counts: list[int]) -> Bags:
        at = np.asarray(self.vectors.ids(whole.types, missing="ignore"), np.int64)
        known = np.flatnonzero(at >= 0)
        rows = self.vectors.matrix[at[known]]
        bad = ~usable(rows).any(axis=1) & (rows != 0).any(axis=1)
        words = np.array([tokens.has_letter(token) for token in whole.types], bool)
        before = words & (at >= 0)
        at[known[bad]] = -1
        for i in np.flatnonzero(at < 0).tolist():
            at[i] = number.get(whole.types[i], -1)
        after = before | (words & (at >= 0))
        marks = [words, before, after]
        coverage = Coverage(
            *(int(mark.sum()) for mark in marks), *(int(whole.counts[mark].sum()) for mark in marks)
        )
        breaks = whole.ids == BREAK
        types = np.asarray(whole.ids[~breaks], np.int64)
        lengths = np.diff(np.concatenate([[-1], np.flatnonzero(breaks)])) - 1
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Bags(
            at[types] if len(types) else types, types, offsets, whole.types, len(self.vectors),
            tuple(number), tuple(counts), coverage, int(bad.sum()),
        )  # fmt: skip


class _Known:
    """Whether the table has a token, asked once for each token and kept for the next split."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors
        self.found: dict[str, bool] = {}

    def __contains__(self, token: str) -> bool:
        known = self.found.get(token)
        if known is None:
            known = self.found[token] = token in self.vectors
        return known


def _deserves_a_row(token: str) -> bool:
    """Words, as `extend` has them, and pictures: an emoji judges more often than a word does."""
    return tokens.is_word(token) or (len(token) == 1 and unicodedata.category(token) == "So")
