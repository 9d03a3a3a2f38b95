"""The ways to treat words that a table lacks: what rows each begins with, and which of them train.

All of them give the classifier the same texts and differ in one thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.adapt.bags import Bags
from rowtune.adapt.segments import places
from rowtune.table import Table
from rowtune.vectors import sha256_of_rows

DROPPED, RANDOM = "frozen, OOV dropped", "frozen, OOV random"
OURS, EVERYTHING = "OOV trained (ours)", "everything trained"
TFIDF = "tf-idf + logistic reg."
NETWORKS = (DROPPED, RANDOM, OURS, EVERYTHING)
WAYS = (*NETWORKS, TFIDF)

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Setting:
    """What validation chooses between, beside the round at which to stop."""

    lr: float  # in units of the standard deviation of the known rows, for rows; of 1 elsewhere
    decay: float


# As many for every way (`rowtune.adapt.tfidf` has its own four).
SETTINGS = tuple(Setting(lr, decay) for lr in (0.003, 0.01) for decay in (0.0, 0.1))


class Given:
    """The texts as one way sees them: ids that have rows, text after text."""

    def __init__(self, bags: Bags, way: str) -> None:
        kept = (bags.ids >= 0) & ((bags.ids < bags.known) | (way != DROPPED))
        before = np.concatenate([[0], np.cumsum(kept)])
        self.offsets: Ids = before[bags.offsets]
        self.ids: Ids = bags.ids[kept]
        self.lengths: Ids = np.diff(self.offsets)

    def of(self, texts: Ids) -> tuple[Ids, Ids]:
        """Ids of the tokens of ``texts``, and how many each text has."""
        lengths = self.lengths[texts]
        return self.ids[places(self.offsets[texts], lengths)], lengths


class WayRows:
    """A table with the rows of one way: the known ones as they are, one more for each new word.

    Parameters
    ----------
    way : one of `NETWORKS`
    matrix : (N, D) float32 or float64
        The table as it was loaded; it is never written.
    bags : Bags
    training : ids of the texts to learn from
    rng : numpy.random.Generator
        Draws the rows of `RANDOM`.
    setting : Setting
    """

    def __init__(
        self,
        way: str,
        matrix: NDArray[Any],
        bags: Bags,
        given: Given,
        training: Ids,
        rng: np.random.Generator,
        setting: Setting,
    ) -> None:
        self.known = bags.known
        seen = np.unique(given.of(training)[0])
        usual = np.asarray(matrix[seen[seen < bags.known]], np.float64)
        deviation = float(usual.std()) if usual.size else 0.0
        # In units of it, one learning rate fits tables of any scale.
        self.unit = deviation or 1.0
        self.trains = way in (OURS, EVERYTHING) and bool(len(seen))
        self.table = Table(
            matrix,
            # Of all rows only those in training texts would ever move, so they are enough: the same
            # bits as with "all", in memory that follows the texts and not the table.
            train=seen[seen < bags.known] if way == EVERYTHING else [],
            rule="adamw",
            lr=setting.lr * self.unit,
            weight_decay=setting.decay / self.unit,
        )
        if bags.new and way != DROPPED:
            # From zero: such a word says nothing until labels make it say something. The mean of
            # the table and the mean of the word's texts did no better on validation, twice.
            first = np.zeros((len(bags.new), matrix.shape[1]))
            if way == RANDOM:
                first = rng.standard_normal(first.shape) * self.unit
            self.table.grow(first.astype(self.table.dtype))
        # Rows that no training text has never move, so these are all there is to keep.
        self._moving = seen if way == EVERYTHING else seen[seen >= bags.known]
        self._slots = self.table.rows.slots(self._moving)

    def lookup(self, ids: Ids) -> Floats:
        """Rows of ``ids`` in units of the table's standard deviation, (len(ids), D)."""
        rows = self.table.lookup(ids)
        rows /= self.unit
        return rows.astype(np.float32, copy=False)

    def learn(self, ids: Ids, gradient: Floats) -> None:
        """One step on the rows that train; the others keep their bits."""
        self.table.update(ids, gradient / np.float32(self.unit))

    def snapshot(self) -> NDArray[Any]:
        """A copy of all rows that can have moved, for `restore`."""
        kept: NDArray[Any] = self.table.block[self._slots]
        return kept

    def restore(self, kept: NDArray[Any]) -> None:
        self.table.block[self._slots] = kept

    def hash_of_known(self) -> str:
        """SHA-256 of the known rows as the table gives them now, not as they were given to it."""
        return sha256_of_rows(self.table.weights[: self.known])

    def new_rows(self) -> NDArray[Any]:
        """The rows of the new words, in the order of ``bags.new``."""
        rows: NDArray[Any] = self.table.lookup(np.arange(self.known, len(self.table)))
        return rows
