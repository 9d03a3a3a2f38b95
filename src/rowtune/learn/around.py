"""What lies around a word: nearest rows by cosine, sums of words, and words spelled like it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.missing import reason
from rowtune.learn.nearest import unit, usable
from rowtune.vectors import Vectors
from rowtune.vectors.vectors import Progress

_ROWS_AT_A_TIME = 1 << 15
_WORDS_FOR_LETTERS = 20_000
_LETTERS = 64
Term = tuple[str, int]  # a word, and +1 or -1


@dataclass(frozen=True)
class Around:
    """The neighbours of one query, best first."""

    terms: tuple[Term, ...]
    neighbours: tuple[tuple[str, float], ...]


def parse_query(arguments: Sequence[str], known: Vectors) -> list[list[Term]]:
    """Queries as they are typed: words, or sums such as ``king - man + woman``.

    Words with ``+`` or ``-`` between each two are one sum; in one argument with blanks around the
    signs they are one too. Everything else is a query of one word.
    """
    signs = {"+": 1, "-": -1}
    if len(arguments) > 2 and len(arguments) % 2 and set(arguments[1::2]) <= set(signs):
        first, rest = arguments[0], zip(arguments[1::2], arguments[2::2], strict=True)
        return [[(first, 1), *((word, signs[sign]) for sign, word in rest)]]
    queries: list[list[Term]] = []
    for argument in arguments:
        pieces = argument.split()
        is_sum = len(pieces) > 2 and argument not in known
        queries += parse_query(pieces, known) if is_sum else [[(argument, 1)]]
    return queries


def around(
    vectors: Vectors,
    queries: Sequence[Sequence[Term]],
    k: int = 10,
    progress: Progress | None = None,
) -> list[Around]:
    """The ``k`` rows with the greatest cosine to each query; its own words are left out.

    A query is the sum of its words' rows, each of length 1 and with its sign (3CosAdd of Levy and
    Goldberg, CoNLL 2014). Rows with NaN or infinity count as zeros, which are near nothing.

    Raises
    ------
    WordError
        For a word that the table lacks.
    """
    targets = np.zeros((len(queries), vectors.dim), np.float32)
    own: list[NDArray[np.int64]] = []
    for q, terms in enumerate(queries):
        ids = vectors.ids([word for word, _ in terms])
        signs = np.array([sign for _, sign in terms], np.float32)
        targets[q] = signs @ unit(usable(vectors.matrix[ids]))
        own.append(ids)
    targets = unit(targets)
    cosines = np.empty((len(queries), len(vectors)), np.float32)
    for start in range(0, len(vectors), _ROWS_AT_A_TIME):
        rows = unit(usable(vectors.matrix[start : start + _ROWS_AT_A_TIME]))
        cosines[:, start : start + len(rows)] = targets @ rows.T
        if progress:
            progress("comparing", start + len(rows), len(vectors))
    found = []
    for terms, ids, near in zip(queries, own, cosines, strict=True):
        near[ids] = -np.inf
        best = _greatest(near, min(k, len(near) - len(np.unique(ids))))
        pairs = tuple((vectors.words[i], float(near[i])) for i in best.tolist())
        found.append(Around(tuple(terms), pairs))
    return found


def _greatest(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Places of the ``k`` greatest, best first; of equal ones the first in the table."""
    if k <= 0:
        return np.empty(0, np.int64)
    level = np.partition(values, len(values) - k)[len(values) - k]
    places = np.flatnonzero(values >= level)
    return places[np.argsort(-values[places], kind="stable")][:k]


@dataclass(frozen=True)
class Unknown:
    """A word that a table lacks, and what it has instead."""

    word: str
    lacking: str  # as `rowtune.learn.missing.reason` says
    known_form: str | None
    spelled_alike: tuple[str, ...]  # one edit away, in the order of the table


def unknown(vectors: Vectors, word: str, most: int = 5) -> Unknown | None:
    """Why ``word`` has no row, and which words are spelled almost like it; None if it has one."""
    if word in vectors:
        return None
    lacking, form = reason(word, vectors.__contains__)
    letters = _letters(vectors, word)
    edits = list({edit for form in {word, word.lower()} for edit in _edits(form, letters)})
    rows = np.unique(vectors.ids(edits, missing="ignore"))
    alike = [vectors.words[i] for i in rows[rows >= 0][: most + 1].tolist()]
    return Unknown(word, lacking, form, tuple(w for w in alike if w != form)[:most])


def _letters(vectors: Vectors, word: str) -> str:
    """What words are written with here: the most usual characters of the table, and its own."""
    text = "".join(vectors.words[:_WORDS_FOR_LETTERS])
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    usual, counts = np.unique(characters, return_counts=True)
    most = usual[np.argsort(-counts, kind="stable")[:_LETTERS]]
    return "".join(dict.fromkeys(word + "".join(map(chr, most.tolist()))))


def _edits(word: str, letters: str) -> Iterator[str]:
    """Every string one edit away: a character less, two swapped, one other, one more."""
    for i in range(len(word)):
        yield word[:i] + word[i + 1 :]
    for i in range(len(word) - 1):
        yield word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    for i in range(len(word)):
        yield from (word[:i] + letter + word[i + 1 :] for letter in letters)
    for i in range(len(word) + 1):
        yield from (word[:i] + letter + word[i:] for letter in letters)
