"""Skip-gram with negative sampling that moves one side at a time, so that known rows stay frozen.

A published table comes without the context matrix that it was trained with. Here that matrix is
fitted first, with the known rows frozen; then the rows of other words, with the contexts frozen.
For a word w with row x, its neighbours c in a window, and negatives n drawn by count^0.75, the
objective is that of word2vec (Mikolov et al., NeurIPS 2013, equation 4):

    log sigmoid(x . c) + sum_n log sigmoid(-x . n).

With one side frozen it is concave, one logistic regression for each moving row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rowtune.kernels.threads import for_each_chunk
from rowtune.learn import skipgram_kernels as kernels
from rowtune.learn.negatives import aliases
from rowtune.signals import returned

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

PARTS = 8  # of the moving rows; fixed, so that results do not depend on the number of threads
_LANES = 16  # rows are padded to a multiple: a tail of single columns would cost as much as they do
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Settings:
    """How pairs are drawn and how far rows move."""

    window: int = 5
    negatives: int = 5
    sample: float = 1e-3  # share of the text above which a word is thinned out; 0 keeps all
    rate: float = 0.3  # Adagrad's step in units of the frozen rows' length
    block: int = 1 << 20  # tokens thinned and walked at a time


@dataclass(frozen=True)
class Contexts:
    """The context matrix: row ``slot[c]`` belongs to type c, -1 where a type has none."""

    slot: NDArray[np.int32]  # (types,)
    rows: Floats  # (contexts, D + 1 and padding): the column after D is the context's own offset


class SkipGram:
    """A text prepared for walks over it.

    Parameters
    ----------
    stream : (tokens,) int32
        Type ids; negative values end a document.
    counts : (types,) int64
        Occurrences of each type in the stream.
    min_count : int
        Types seen less often are no contexts, and no negatives.
    seed : int
        The same seed gives the same bits on any number of threads.
    progress : callable, optional
        Called with (done, total) tokens of each walk.
    """

    def __init__(
        self,
        stream: NDArray[np.int32],
        counts: Ids,
        min_count: int = 5,
        settings: Settings | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.stream, self.counts, self.seed = stream, counts, seed
        self.settings = settings or Settings()
        self.progress = progress
        self.table = kernels.sigmoid_table()
        # Dealt out by falling count, so that each part has its share of the frequent ones.
        frequent = np.flatnonzero(counts >= max(min_count, 1))
        frequent = frequent[np.argsort(-counts[frequent], kind="stable")]
        order = np.concatenate([frequent[p::PARTS] for p in range(PARTS)])
        lengths = [len(frequent[p::PARTS]) for p in range(PARTS)]
        self.slot = np.full(len(counts), -1, np.int32)
        self.slot[order] = np.arange(len(order), dtype=np.int32)
        edges = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.parts = aliases(counts[order], edges)
        self.whole = aliases(counts[order], np.array([0, len(order)], np.int64))
        self._keep = _kept(counts, self.settings.sample)

    def fit_contexts(self, types: Ids, rows: Floats, epochs: int = 1) -> Contexts:
        """The context matrix under which the frozen ``rows`` of ``types`` predict their windows.

        Parameters
        ----------
        types : (n,) int64, the only centres; other types are contexts alone
        rows : (n, D) float32, best of unit length; D columns and a constant are seen
        """
        centre = self._numbered(types)
        frozen = padded(rows)
        contexts = np.zeros((len(self.parts.bar), frozen.shape[1]), np.float32)
        squares = np.zeros(len(contexts), np.float32)
        for ids, seed in self._walk(epochs, salt=1):
            self._move_contexts(ids, seed, centre, frozen, contexts, squares)
        return Contexts(self.slot, contexts)

    def fit_rows(self, contexts: Contexts, types: Ids, dim: int, epochs: int = 1) -> Floats:
        """(n, D): the rows of ``types`` under which they predict their windows; contexts stay."""
        target = self._numbered(types)
        rows = padded(np.zeros((len(types), dim), np.float32))
        squares = np.zeros(len(rows), np.float32)
        for ids, seed in self._walk(epochs, salt=2):
            self._move_rows(ids, seed, target, rows, contexts.rows, squares)
        return rows[:, :dim].copy()

    def train(self, types: Ids, dim: int, epochs: int = 3) -> Floats:
        """(n, D): a space of the text's own. Both sides learn, in turn, block by block."""
        number = self._numbered(types)
        random = np.random.default_rng(self.seed)
        start = (random.random((len(types), dim), np.float32) - np.float32(0.5)) / np.float32(4)
        rows = padded(start)
        contexts = np.zeros((len(self.parts.bar), rows.shape[1]), np.float32)
        squares = np.zeros(len(rows), np.float32), np.zeros(len(contexts), np.float32)
        for ids, seed in self._walk(epochs, salt=3):
            self._move_contexts(ids, seed, number, rows, contexts, squares[1])
            self._move_rows(ids, seed ^ np.uint64(1), number, rows, contexts, squares[0])
        return rows[:, :dim].copy()

    def _numbered(self, types: Ids) -> NDArray[np.int32]:
        number = np.full(len(self.counts), -1, np.int32)
        number[types] = np.arange(len(types), dtype=np.int32)
        return number

    def _walk(self, epochs: int, salt: int) -> Iterator[tuple[NDArray[np.int32], np.uint64]]:
        """Thinned blocks of the text, and a seed for each that nothing else has."""
        total = epochs * len(self.stream)
        for epoch in range(epochs):
            for begin in range(0, len(self.stream), self.settings.block):
                block = np.asarray(self.stream[begin : begin + self.settings.block])
                seed = seed_of(self.seed, salt, epoch, begin)
                yield returned(kernels.thin, block, self._keep, seed), seed
                if self.progress:
                    self.progress(epoch * len(self.stream) + begin + len(block), total)

    def _move_contexts(
        self,
        ids: NDArray[np.int32],
        seed: np.uint64,
        centre: NDArray[np.int32],
        rows: Floats,
        contexts: Floats,
        squares: Floats,
    ) -> None:
        chosen, by = self.settings, self.parts

        def work(part: int) -> None:
            kernels.move_contexts(
                ids, centre, self.slot, rows, contexts, squares, by.edges, by.bar, by.other,
                by.share[part], chosen.window, chosen.negatives, np.float32(chosen.rate),
                self.table, seed, part,
            )  # fmt: skip

        for_each_chunk(work, PARTS)

    def _move_rows(
        self,
        ids: NDArray[np.int32],
        seed: np.uint64,
        target: NDArray[np.int32],
        rows: Floats,
        contexts: Floats,
        squares: Floats,
    ) -> None:
        chosen, by = self.settings, self.whole

        def work(part: int) -> None:
            kernels.move_rows(
                ids, target, self.slot, rows, contexts, squares, by.edges, by.bar, by.other,
                chosen.window, chosen.negatives, np.float32(chosen.rate), self.table, seed,
                part, PARTS,
            )  # fmt: skip

        for_each_chunk(work, PARTS)


def padded(rows: Floats) -> Floats:
    """``rows``, then a column of ones, then zeros up to a width that vectors like."""
    width = -(-(rows.shape[1] + 1) // _LANES) * _LANES
    wide = np.zeros((len(rows), width), np.float32)
    wide[:, : rows.shape[1]] = rows
    wide[:, rows.shape[1]] = 1
    return wide


def seed_of(seed: int, *place: int) -> np.uint64:
    """A 64-bit seed for one place of one walk."""
    state = seed & _MASK
    for number in place:
        state = int(np.random.SeedSequence([state, number]).generate_state(1, np.uint64)[0])
    return np.uint64(state)


def _kept(counts: Ids, sample: float) -> NDArray[np.uint64]:
    """2^32 times the chance that an occurrence stays: (sqrt(f / s) + 1) s / f, at most 1."""
    share = counts / max(int(counts.sum()), 1)
    if sample <= 0:
        return np.full(len(counts), 1 << 32, np.uint64)
    ratio = sample / np.maximum(share, 1e-300)
    kept: NDArray[np.uint64] = (np.minimum(np.sqrt(ratio) + ratio, 1) * (1 << 32)).astype(np.uint64)
    return kept
