"""A rule's clock in a graph: the numbers that depend on a row's step count alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from rowtune.rules.tuned import Tuned


class ClockReader:
    """The clock of a tuned rule, for step counts that are tensors.

    Where the clock comes to a stand, as Adam's does, its table is a constant. Elsewhere (Adagrad's
    lr_decay, beta2 = 0.99999), and where it depends on ``changing`` hyper-parameters, its formula
    is computed in float64.
    """

    def __init__(self, tuned: Tuned, changing: frozenset[str]) -> None:
        self._rule, self._dtype = tuned.rule, tuned.dtype
        table = None if changing & set(tuned.rule.clock_takes) else tuned.standing_clock()
        with tf.init_scope():
            self._table = None if table is None else tf.constant(table)

    def __call__(self, t: Any, hyper: Mapping[str, Any]) -> list[Any]:
        """Columns (u, 1), one for each of the clock's names, at step counts ``t`` (u,) from 1."""
        if not self._rule.clock_names:
            return []
        if self._table is not None:
            numbers = tf.gather(self._table, tf.minimum(t, len(self._table) - 1))
            return [numbers[:, i : i + 1] for i in range(len(self._rule.clock_names))]
        assert self._rule.clock is not None
        given = {name: hyper[name] for name in self._rule.clock_takes}
        t = tf.cast(t, tf.float64)[:, None]
        return [tf.cast(x + 0.0 * t, self._dtype) for x in self._rule.clock(t, **given)]
