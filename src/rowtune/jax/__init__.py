"""The JAX engine: pure functions on a table of which the chosen rows train.

import rowtune.jax as rj

table = rj.split(vectors, train=new_ids)
optimizer = rj.rule("adam", lr=1e-3)  # or rj.rowwise(optax.adam(1e-3))
state, step = optimizer.init(table), rj.step(loss, optimizer)
table, state, value = step(table, state, ids)  # loss(rows) of the rows of these ids
"""

from __future__ import annotations

try:
    import jax  # noqa: F401
except ImportError:
    raise ImportError('rowtune.jax needs JAX: pip install "rowtune[jax]"') from None

from rowtune.jax.checked import checked
from rowtune.jax.clip import clip_by_global_norm, clip_by_row_norm
from rowtune.jax.gradient import value_and_grad
from rowtune.jax.lookup import lookup
from rowtune.jax.optimizer import RowOptimizer
from rowtune.jax.rowwise import rowwise
from rowtune.jax.rule import RuleState, rule
from rowtune.jax.sharding import shard
from rowtune.jax.table import RowTable, merge, split
from rowtune.jax.touched import RowGrads, Touched, row_grads, touch
from rowtune.jax.training import Step, step

__all__ = [
    "RowGrads",
    "RowOptimizer",
    "RowTable",
    "RuleState",
    "Step",
    "Touched",
    "checked",
    "clip_by_global_norm",
    "clip_by_row_norm",
    "lookup",
    "merge",
    "row_grads",
    "rowwise",
    "rule",
    "shard",
    "split",
    "step",
    "touch",
    "value_and_grad",
]
