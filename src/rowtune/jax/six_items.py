"""The smallest example on this engine. See `rowtune.six_items`."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rowtune.jax.gradient import value_and_grad
from rowtune.jax.rule import rule
from rowtune.jax.table import merge, split
from rowtune.six_items import EVERY, Problem, Progress, Run


def run(problem: Problem, progress: Progress | None = None) -> Run:
    """Lookup, |label - a . b|, gradient, step: a hundred of them in one program, in float64."""
    steps = len(problem.pairs)
    with jax.enable_x64(True):
        optimizer = rule("sgd", lr=problem.lr)
        gradient = value_and_grad(lambda rows, label: jnp.abs(label - rows[0] @ rows[1]))

        def one(carry: Any, drawn: tuple[Array, Array]) -> tuple[Any, Array]:
            table, state = carry
            loss, grads = gradient(table, *drawn)
            return optimizer.update(grads, state, table), loss

        many = jax.jit(partial(jax.lax.scan, one), donate_argnums=0)
        table = split(problem.start)
        carry = table, optimizer.init(table)
        trajectory, losses = [problem.start.copy()], [np.zeros(0)]
        for start in range(0, steps, EVERY):
            piece = slice(start, start + EVERY)
            drawn = jnp.asarray(problem.pairs[piece]), jnp.asarray(problem.labels[piece])
            carry, lost = many(carry, drawn)
            losses.append(np.array(lost))
            if start + EVERY <= steps:
                trajectory.append(np.array(merge(carry[0])))
                if progress:
                    progress("training six items", start + EVERY, steps)
    return Run("jax", np.stack(trajectory), np.concatenate(losses))
