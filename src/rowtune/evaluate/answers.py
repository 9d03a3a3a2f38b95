"""The rows that answer analogy questions best, by both measures in one pass over a table.

For D values in a row, questions times rows times D multiplications would be needed if each question
were a vector of its own. Questions share their words: cosines of rows to those words are one small
matrix product, and both measures are sums and products of three of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rowtune.learn.nearest import unit, usable
from rowtune.learn.row_blocks import over_blocks
from rowtune.vectors import Vectors

Ids = NDArray[np.int64]
_TILE, _WORDS = 8192, 1024  # cosines held at once: 32 MB
_RUN = 64  # rows whose greatest value is compared first: most runs hold no better answer
_FINITE = {"nnan", "nsz"}  # rows are finite when they get here


def best_rows(
    vectors: Vectors,
    questions: Ids,
    limit: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> Ids:
    """The answers by 3CosAdd and by 3CosMul, (2, Q); of equal ones the first; -1 for none.

    Rows of the three words of a question are no answers to it. Neither are rows without a
    direction (zero, NaN, infinity), nor later rows of a word that occurs twice.

    Parameters
    ----------
    questions : (Q, 3) int64, the rows of a, b and c, all of them usable
    limit : answer from the first so many rows
    """
    groups = [_Group.of(vectors, questions, chosen) for chosen in _grouped(questions)]
    again = _later_twins(vectors)
    for start in range(0, limit, _TILE):
        rows = np.arange(start, min(start + _TILE, limit))
        unit_rows = unit(usable(vectors.matrix[start : start + len(rows)]))
        fit = unit_rows.any(axis=1) & ~np.isin(rows, again)
        unit_rows, rows = unit_rows[fit], rows[fit]
        for group in groups:
            group.see(unit_rows, rows)
        if progress:
            progress("answering", min(start + _TILE, limit), limit)
    answers = np.full((2, len(questions)), -1, np.int64)
    for group in groups:
        answers[:, group.chosen] = group.who
    return answers


@dataclass
class _Group:
    """Questions with few enough words between them, and their best answers so far."""

    chosen: Ids
    own: Ids  # (q, 3) rows of a, b and c
    at: NDArray[np.int32]  # (q, 3) the same as places in ``words``
    words: NDArray[np.float32]  # (words, D) unit rows
    best: NDArray[np.float32]  # (2, q)
    who: Ids  # (2, q)

    @classmethod
    def of(cls, vectors: Vectors, questions: Ids, chosen: Ids) -> _Group:
        own = questions[chosen]
        distinct, at = np.unique(own, return_inverse=True)
        words = unit(usable(vectors.matrix[distinct]))
        best = np.full((2, len(own)), -np.inf, np.float32)
        who = np.full((2, len(own)), -1, np.int64)
        return cls(chosen, own, at.reshape(own.shape).astype(np.int32), words, best, who)

    def see(self, unit_rows: NDArray[np.float32], rows: Ids) -> None:
        """Take these rows of the table into account."""
        similar = self.words @ unit_rows.T
        over_blocks(_answer, len(self.own), similar, rows, self.own, self.at, self.best, self.who)


def _grouped(questions: Ids) -> Iterator[Ids]:
    """Runs of questions with at most `_WORDS` different words."""
    begin, seen = 0, set[int]()
    for i, own in enumerate(questions.tolist()):
        if len(seen.union(own)) > _WORDS:
            yield np.arange(begin, i)
            begin, seen = i, set()
        seen.update(own)
    if begin < len(questions):
        yield np.arange(begin, len(questions))


def _later_twins(vectors: Vectors) -> Ids:
    """Rows whose word an earlier row has already."""
    index = vectors.word_index
    same = np.flatnonzero(index.hashes[1:] == index.hashes[:-1])
    ids = np.unique(np.concatenate([index.ids[same], index.ids[same + 1]]))
    first = index.find_many([vectors.words.raw(i) for i in ids.tolist()])
    later: Ids = ids[first != ids]
    return later


@njit(cache=True, nogil=True, fastmath=_FINITE)
def _answer(
    begin: int, end: int, similar: Any, rows: Any, own: Any, at: Any, best: Any, who: Any
) -> None:
    one, little = np.float32(1), np.float32(1.002)
    for q in range(begin, end):
        a, b, c = similar[at[q, 0]], similar[at[q, 1]], similar[at[q, 2]]
        for start in range(0, len(rows), _RUN):
            stop = min(start + _RUN, len(rows))
            top_sum = np.float32(-np.inf)
            top_product = np.float32(-np.inf)
            for j in range(start, stop):
                # 3CosMul is of cosines moved to 0..1, and 0.001 keeps its divisor from zero; a
                # common factor is left out.
                top_sum = max(top_sum, b[j] - a[j] + c[j])
                top_product = max(top_product, (one + b[j]) * (one + c[j]) / (little + a[j]))
            if top_sum <= best[0, q] and top_product <= best[1, q]:
                continue
            for j in range(start, stop):
                row = rows[j]
                if row == own[q, 0] or row == own[q, 1] or row == own[q, 2]:
                    continue
                total = b[j] - a[j] + c[j]
                if total > best[0, q]:
                    best[0, q] = total
                    who[0, q] = row
                product = (one + b[j]) * (one + c[j]) / (little + a[j])
                if product > best[1, q]:
                    best[1, q] = product
                    who[1, q] = row
