"""Where each row of a table lives: the slots and columns of `rowtune.Rows`, as tensors."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf

from rowtune.rows import Rows


class Places:
    """Slots of ids and the places of columns, for tables of ``width`` columns.

    It holds constants only: nothing here trains, and nothing goes into checkpoints.
    """

    def __init__(self, rows: Rows, width: int) -> None:
        self.rows = rows
        self.width = width
        self.columns = rows.chosen_columns(width)
        self.slots = slots_of(rows)
        self._column_places = np.full(width, -1, np.int32)
        if self.columns is not None:
            self._column_places[self.columns] = np.arange(len(self.columns), dtype=np.int32)

    @property
    def has_base(self) -> bool:
        """Whether something is frozen."""
        return not (self.rows.trains_all and self.columns is None)

    @property
    def block_shape(self) -> tuple[int, int]:
        """k and C."""
        return len(self.rows), self.width if self.columns is None else len(self.columns)

    def widened(self, trained: Any, frozen: Any) -> Any:
        """``trained`` (u, C) with the other columns from ``frozen`` (u, D)."""
        if self.columns is None:
            return trained
        whole = tf.gather(trained, np.maximum(self._column_places, 0), axis=1)
        return tf.where(self._column_places >= 0, whole, frozen)


class Slots:
    """Slots of the ids (n,) of a table whose ``rows`` train."""

    def __init__(self, rows: Rows) -> None:
        self._trains_all = rows.trains_all
        self._map = self._sorted = None
        with tf.init_scope():  # it may be made while a function is traced, and outlives that
            if rows.slot_map is not None:
                self._map = tf.constant(rows.slot_map)
            elif not rows.trains_all:
                self._sorted = tf.constant(rows.ids)

    def __call__(self, ids: Any) -> Any:
        """int64 or int32 (n,), -1 where frozen, from int64 ids in range."""
        if self._trains_all:
            return ids
        if self._map is not None:
            return tf.gather(self._map, ids)
        return search(self._sorted, ids)


def search(sorted_ids: Any, ids: Any) -> Any:
    """The place of each of ``ids`` (n,) among ``sorted_ids`` (k,), -1 where it is not there."""
    if sorted_ids.shape[0] == 0:
        return tf.fill(tf.shape(ids), np.int32(-1))
    place = tf.searchsorted(sorted_ids, ids)
    safe = tf.minimum(place, tf.size(sorted_ids) - 1)
    return tf.where(tf.gather(sorted_ids, safe) == ids, place, -1)


_SLOTS: WeakKeyDictionary[Rows, Slots] = WeakKeyDictionary()


def slots_of(rows: Rows) -> Slots:
    """The tensors of ``rows``, made once."""
    if rows not in _SLOTS:
        _SLOTS[rows] = Slots(rows)
    return _SLOTS[rows]
