"""A rule's clock inside compiled programs: numbers that depend on a row's step count alone.

Where the clock comes to a stand, as Adam's does, its table is a constant of the program. Elsewhere
(Adagrad's lr_decay, beta2 = 0.99999) it is computed in float64; and where JAX has no float64, it is
read off a table whose entries lie ever further apart. A formula of powers evaluated in float32
would lose most of its digits: 1 - 0.99999 is 0.001 % off before it is taken to any power.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rowtune.rules.tuned import Tuned

_BITS = 12  # of a step count that are kept; the rest is interpolated


class ClockReader:
    """The clock of a tuned rule, for step counts that are arrays of JAX."""

    def __init__(self, tuned: Tuned) -> None:
        self._rule, self._hyper = tuned.rule, tuned.hyper
        self._dtype = tuned.dtype
        self._table = tuned.standing_clock()

    def __call__(self, t: Array) -> list[Array]:
        """Columns (u, 1), one for each of the clock's names, at step counts ``t`` (u,) from 1."""
        names = self._rule.clock_names
        if not names:
            return []
        if self._table is not None:
            numbers = jnp.asarray(self._table).at[t].get(mode="clip")
        elif self._dtype == np.float64:
            numbers = self._exact(t.astype(np.float64))
        else:
            numbers = self._between(t)
        return [numbers[:, i : i + 1] for i in range(len(names))]

    def _exact(self, t: Any) -> Any:
        """The formula itself, in float64: on arrays of NumPy or of JAX."""
        assert self._rule.clock is not None
        hyper = {name: float(self._hyper[name]) for name in self._rule.clock_takes}
        columns = self._rule.clock(t, **hyper)
        stack = np.stack if isinstance(t, np.ndarray) else jnp.stack
        return stack([x + 0.0 * t for x in columns], axis=1)

    def _between(self, t: Array) -> Array:
        """Linear between the step counts of 12 bits or fewer: off by 2e-8 of itself at most."""
        exponents = np.arange(32 - _BITS)[:, None]
        mantissas = np.arange(1 << _BITS)[None, :]
        first = np.maximum(mantissas[0], 1)
        nodes = np.concatenate([first, ((mantissas + (1 << _BITS)) << exponents).reshape(-1)])
        table = jnp.asarray(self._exact(nodes.astype(np.float64)).astype(self._dtype))
        bits = 32 - jax.lax.clz(t)
        shift = jnp.maximum(bits - (_BITS + 1), 0)
        low = t >> shift  # 0 .. 2^13
        index = low + (shift << _BITS)
        past = (t - (low << shift)).astype(self._dtype) / (1 << shift).astype(self._dtype)
        here, there = (table.at[i].get(mode="clip") for i in (index, index + 1))
        return here + past[:, None] * (there - here)
