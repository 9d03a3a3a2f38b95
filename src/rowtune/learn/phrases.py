"""Phrases: words that stand side by side far more often than chance would have it, as one type.

A pair ab is scored by Mikolov et al. 2013 (arXiv:1310.4546, equation 6),

    score(a, b) = (count(ab) - discount) / (count(a) * count(b)),

times the number of tokens, so that one threshold serves texts of all lengths. The discount keeps
rare words that met by chance apart; two passes make phrases of up to four words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rowtune.learn import tokens
from rowtune.learn.stream import Stream, join
from rowtune.signals import returned

THRESHOLDS = (100.0, 50.0)  # of the first pass and the second, whose pairs are rarer
_BLOCK = 1 << 22  # tokens looked at at a time
_FEWEST, _MOST = 1 << 16, 1 << 26  # counters of the sieve: 256 MB at most, like a stream in memory
# Tables have their most frequent words first. The very first are function words in any language
# ("new" of "new york" is the 51st of GloVe); of the next, those that this text is full of.
_FIRST, _NEXT, _SHARE = 50, 300, 0.002


@dataclass(frozen=True)
class Phrases:
    """A text with its phrases joined: the types that stand for phrases, and their words."""

    stream: Stream
    words: dict[str, tuple[str, ...]]  # type -> its words


def form(words: Sequence[str], known: Callable[[str], bool]) -> str:
    """How a phrase is written: as the table has it (``a_b``, ``a-b``), else with underscores."""
    lined, hyphened = "_".join(words), "-".join(words)
    return hyphened if known(hyphened) and not known(lined) else lined


def join_phrases(
    stream: Stream,
    min_count: int,
    known: Callable[[str], bool],
    table: Sequence[str],
    apart: Iterable[str] = (),
    thresholds: Sequence[float] = THRESHOLDS,
) -> Phrases:
    """Find the phrases of a text, join them, and look again, once for each threshold.

    Parameters
    ----------
    stream : Stream
        The text after `rowtune.learn.stream.settle`.
    min_count : int
        The discount of the score. A pair seen no more often is never joined.
    known : callable
        Whether the table has a form: a phrase gets the name under which the table knows it.
    table : sequence of str
        Its words, most frequent first: the first ones are no part of a phrase.
    apart : iterable of str
        Types that shall stay what they are.
    thresholds : sequence of float
        The least score times the number of tokens, pass by pass.
    """
    common = set(table[:_NEXT])
    never = {*table[:_FIRST], *apart}
    words: dict[str, tuple[str, ...]] = {}
    for threshold in thresholds:
        counts = _candidates(stream, min_count, never, common)
        pairs = _pairs(stream, counts, min_count, threshold)
        runs: dict[tuple[int, ...], str] = {}
        for a, b in pairs:
            first, second = stream.types[a], stream.types[b]
            both = (*words.get(first, (first,)), *words.get(second, (second,)))
            runs[a, b] = form(both, known)
            words[runs[a, b]] = both
        stream = join(stream, runs)
    present = set(stream.types)
    return Phrases(stream, {name: both for name, both in words.items() if name in present})


def _candidates(
    stream: Stream, min_count: int, never: set[str], common: set[str]
) -> NDArray[np.int64]:
    """(types,): the count of each type that may be part of a phrase, 0 for all others.

    Those are words, but no clitics, no single letters and no function words.
    """
    many = _SHARE * stream.counts.sum()
    counts = np.where(stream.counts > min_count, stream.counts, 0)
    for i in np.flatnonzero(counts).tolist():
        token = stream.types[i]
        functional = token in never or (counts[i] > many and token in common)
        if functional or len(token) == 1 or "'" in token or not tokens.is_word(token):
            counts[i] = 0
    return counts


def _pairs(
    stream: Stream, counts: NDArray[np.int64], discount: int, threshold: float
) -> list[tuple[int, int]]:
    """The pairs (a, b) that score above the threshold, sorted.

    Pairs are too many to count each. A first walk adds them up in a fixed number of counters, to
    which a pair comes by its hash; only those whose counter, an upper bound, reaches what they need
    are counted truly, in a second walk.
    """
    tokens_in_all = int(stream.counts.sum())
    scale = threshold / max(tokens_in_all, 1)
    size = _FEWEST
    while size < min(tokens_in_all, _MOST):
        size *= 2
    sieve = np.zeros(size, np.uint32)
    for block in _blocks(stream):
        _add(block, counts, sieve)
    keys, times = np.empty(0, np.int64), np.empty(0, np.int64)
    for block in _blocks(stream):
        found, often = np.unique(
            returned(_sift, block, counts, sieve, discount, scale), return_counts=True
        )
        merged, where = np.unique(np.concatenate([keys, found]), return_inverse=True)
        summed = np.zeros(len(merged), np.int64)
        np.add.at(summed, where, np.concatenate([times, often]))
        keys, times = merged, summed
    first, second = np.divmod(keys, max(len(counts), 1))
    chosen = times > discount + scale * counts[first] * counts[second]
    return list(zip(first[chosen].tolist(), second[chosen].tolist(), strict=True))


def _blocks(stream: Stream) -> Iterator[NDArray[np.int32]]:
    """Stretches of the text that share one token with the next: each pair is in one of them."""
    for begin in range(0, len(stream.ids), _BLOCK):
        yield np.asarray(stream.ids[begin : begin + _BLOCK + 1])


@njit(cache=True, nogil=True)
def _bucket(first: int, second: int, size: int) -> Any:
    mixed = np.uint64(first) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(second)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed ^ (mixed >> np.uint64(32))) & np.uint64(size - 1)


@njit(cache=True, nogil=True)
def _add(ids: Any, counts: Any, sieve: Any) -> None:
    for t in range(len(ids) - 1):
        a, b = ids[t], ids[t + 1]
        if a >= 0 and b >= 0 and counts[a] > 0 and counts[b] > 0:
            sieve[_bucket(a, b, len(sieve))] += np.uint32(1)


@njit(cache=True, nogil=True)
def _sift(ids: Any, counts: Any, sieve: Any, discount: int, scale: float) -> Any:
    """The keys of the pairs, one for each time they occur, that may score high enough."""
    out = np.empty(len(ids), np.int64)
    at = 0
    for t in range(len(ids) - 1):
        a, b = ids[t], ids[t + 1]
        if a >= 0 and b >= 0 and counts[a] > 0 and counts[b] > 0:
            need = discount + scale * counts[a] * counts[b]
            if sieve[_bucket(a, b, len(sieve))] > need:
                out[at] = a * np.int64(len(counts)) + b
                at += 1
    return out[:at].copy()
