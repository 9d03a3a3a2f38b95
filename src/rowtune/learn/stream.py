"""The corpus as one stream of int32 type ids, read once; kept on disk when it is long."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rowtune.learn import tokens
from rowtune.signals import returned

BREAK = -1  # stands between documents, so that no window reaches across
_IN_MEMORY = 1 << 26  # tokens; beyond it (256 MB of ids) the stream lives in a temporary file
_BLOCK = 1 << 22  # tokens rewritten at a time


@dataclass(frozen=True)
class Stream:
    """A corpus after reading: ``types[ids[t]]`` is token t, -1 a break between documents."""

    ids: NDArray[np.int32]
    types: list[str]
    counts: NDArray[np.int64]  # (types,)


class _Numbering(dict[str, int]):
    """Hands out the next id on first sight; ``map(numbering.__getitem__, ...)`` stays in C."""

    def __missing__(self, token: str) -> int:
        self[token] = number = len(self)
        return number


class Spool:
    """Collects ids in memory and moves to a nameless temporary file when they grow long."""

    def __init__(self) -> None:
        self.arrays: list[NDArray[np.int32]] = []
        self.length = 0
        self.file: IO[bytes] | None = None

    def append(self, ids: NDArray[np.int32]) -> None:
        self.length += len(ids)
        self.arrays.append(ids)
        if self.length > _IN_MEMORY:
            # Nameless, so that it vanishes with its last user, also after a crash.
            self.file = self.file or tempfile.TemporaryFile(prefix="rowtune-")  # noqa: SIM115
            for array in self.arrays:
                array.tofile(self.file)
            self.arrays.clear()

    def close(self) -> NDArray[np.int32]:
        if self.file is None:
            return np.concatenate([np.empty(0, np.int32), *self.arrays])
        for array in self.arrays:
            array.tofile(self.file)
        self.file.flush()
        mapped = np.memmap(self.file, np.int32, "r", shape=(self.length,))
        self.file.close()  # the mapping keeps the nameless file alive
        return mapped


def read(documents: Iterable[Iterable[str]], lower: bool) -> Stream:
    """Number the longest-form tokens of each document, in order of first sight."""
    numbering = _Numbering()
    spool = Spool()
    for document in documents:
        for text in document:
            found = tokens.split(text, lower)
            spool.append(np.fromiter(map(numbering.__getitem__, found), np.int32, len(found)))
        spool.append(np.array([BREAK], np.int32))
    ids = spool.close()
    return Stream(ids, list(numbering), _count(ids, len(numbering)))


def settle(stream: Stream, keep: Callable[[str, int], bool]) -> Stream:
    """Read as its parts every token that ``keep(token, count)`` does not want whole.

    Parts inherit the count of the whole before they are judged themselves, one joiner after the
    other from coarse to fine: a rare ``pkg.mod_a`` strengthens ``pkg`` and ``mod_a``, which may
    then stay whole.
    """
    numbering = _Numbering((token, number) for number, token in enumerate(stream.types))
    counts: list[int] = stream.counts.tolist()
    reading: dict[int, list[int]] = {}
    for step in tokens.STEPS:
        for token, number in list(numbering.items()):
            if number in reading or not any(mark in token for mark in step):
                continue
            if keep(token, counts[number]):
                continue
            pieces = tokens.parts(token, step)
            if pieces == [token]:
                continue
            reading[number] = [numbering[piece] for piece in pieces]
            counts.extend([0] * (len(numbering) - len(counts)))
            for piece in reading[number]:
                counts[piece] += counts[number]
    return _rewrite(stream.ids, list(numbering), reading)


def join(stream: Stream, runs: Mapping[tuple[int, ...], str]) -> Stream:
    """Put one type in the place of each run of types, from left to right and the longest first.

    Parameters
    ----------
    runs : mapping of (a, b, ...) to str
        Ids that stand side by side, at least two, and the name of their one type.
    """
    if not runs:
        return stream
    types = list(stream.types)
    number = {token: i for i, token in enumerate(types)}
    tree = _Tree(len(types))
    for run, name in sorted(runs.items()):
        if name not in number:
            number[name] = len(types)
            types.append(name)
        tree.add(run, number[name])
    roots, keys, targets, ends = tree.arrays()
    reach = max(map(len, runs))
    spool = Spool()
    begin = 0
    while begin < len(stream.ids):  # a block sees as far beyond its end as a run may reach
        block = np.asarray(stream.ids[begin : begin + _BLOCK + reach])
        joined, past = returned(_join, block, _BLOCK, roots, keys, targets, ends, len(stream.types))
        spool.append(joined)
        begin += past
    return _compact(spool.close(), types)


class _Tree:
    """Runs as paths from a root: node 0, then one node for each first part of a run."""

    def __init__(self, types: int) -> None:
        self.types = types
        self.step: dict[int, int] = {}  # node * types + type -> next node
        self.ends: list[int] = [-1]  # (nodes,): the type that a run ending here becomes

    def add(self, run: tuple[int, ...], name: int) -> None:
        node = 0
        for part in run:
            key = node * self.types + part
            if key not in self.step:
                self.step[key] = len(self.ends)
                self.ends.append(-1)
            node = self.step[key]
        self.ends[node] = name

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The first step by type, as nearly every token ends there; the others sorted by key."""
        roots = np.zeros(self.types, np.int64)
        for key in range(self.types):
            roots[key] = self.step.pop(key, 0)
        keys = np.array(sorted(self.step), np.int64)
        targets = np.array([self.step[key] for key in keys.tolist()], np.int64)
        return roots, keys, targets, np.array(self.ends, np.int32)


def _rewrite(ids: NDArray[np.int32], types: list[str], reading: dict[int, list[int]]) -> Stream:
    """Put each type's reading in its place and renumber, in order of id, the types still in use."""
    flat: list[int] = []
    starts = np.zeros(len(types) + 1, np.int64)
    for number in range(len(types)):
        flat.extend(_leaves(number, reading))
        starts[number + 1] = len(flat)
    pieces = np.array(flat, np.int32)
    widths = np.diff(starts)
    spool = Spool()
    for begin in range(0, len(ids), _BLOCK):
        block = np.asarray(ids[begin : begin + _BLOCK])
        size = int(np.where(block >= 0, widths[block], 1).sum())
        spool.append(returned(_expand, block, starts, pieces, size))
    return _compact(spool.close(), types)


def _compact(ids: NDArray[np.int32], types: list[str]) -> Stream:
    """Number anew, in order of id, the types that are still in use."""
    counts = _count(ids, len(types))
    used = np.flatnonzero(counts)
    renumber = np.full(len(types) + 1, BREAK, np.int32)  # the last entry serves BREAK
    renumber[used] = np.arange(len(used), dtype=np.int32)
    final = Spool()
    for begin in range(0, len(ids), _BLOCK):
        final.append(renumber[ids[begin : begin + _BLOCK]])
    return Stream(final.close(), [types[number] for number in used], counts[used])


def _leaves(number: int, reading: dict[int, list[int]]) -> list[int]:
    if number not in reading:
        return [number]
    return [leaf for piece in reading[number] for leaf in _leaves(piece, reading)]


def _count(ids: NDArray[np.int32], types: int) -> NDArray[np.int64]:
    counts = np.zeros(types, np.int64)
    for begin in range(0, len(ids), _BLOCK):
        block = ids[begin : begin + _BLOCK]
        counts += np.bincount(block[block >= 0], minlength=types)
    return counts


@njit(cache=True, nogil=True)
def _expand(ids: Any, starts: Any, pieces: Any, size: int) -> Any:
    out = np.empty(size, np.int32)
    at = 0
    for t in range(len(ids)):
        number = ids[t]
        if number < 0:
            out[at] = number
            at += 1
            continue
        for p in range(starts[number], starts[number + 1]):
            out[at] = pieces[p]
            at += 1
    return out


@njit(cache=True, nogil=True)
def _join(ids: Any, length: int, roots: Any, keys: Any, targets: Any, ends: Any, types: int) -> Any:
    """The first ``length`` ids with runs joined, and how many ids that took."""
    out = np.empty(len(ids), np.int32)
    at = t = 0
    while t < min(length, len(ids)):
        out[at] = ids[t]
        width = 1
        node = roots[ids[t]] if ids[t] >= 0 else 0
        ahead = t + 1
        while node > 0 and ahead < len(ids) and ids[ahead] >= 0:
            key = node * types + ids[ahead]
            place = np.searchsorted(keys, key)
            if place == len(keys) or keys[place] != key:
                break
            node = targets[place]
            ahead += 1
            if ends[node] >= 0:
                out[at] = ends[node]
                width = ahead - t
        at += 1
        t += width
    return out[:at].copy(), t
