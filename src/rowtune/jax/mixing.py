"""Does a transformation treat every row by itself? Tried out, since nothing else can tell."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rowtune.errors import RuleError

_SHAPE = (144, 128)  # large enough for what factors large matrices only
_SCALES = (1.0, 1e-3, 1e6)  # of the gradients of three steps: bounds that bind, and that do not
_CURE = (
    "place it outside: on the gradients (rowtune.jax.clip_by_global_norm or clip_by_row_norm, "
    "step(clip=...)) or on the model's dense parameters, and give rowwise the rest"
)


def check_keeps_rows_apart(tx: Any, init: Any, update: Any) -> None:
    """Compare ``tx`` on a matrix with the row-wise form of it, over three steps.

    Parameters
    ----------
    tx : the transformation
    init, update : callable
        ``init(rows)`` and ``update(grads, state, rows)`` of rows (u, D), row by row.

    Raises
    ------
    RuleError
        They differ, or one of them cannot be run.
    """
    rng = np.random.default_rng(0)
    row_scale = np.exp(rng.normal(0.0, 1.0, (_SHAPE[0], 1)))
    start = rng.standard_normal(_SHAPE) * row_scale
    # Also where this is called while something else is being traced.
    with jax.ensure_compile_time_eval():
        whole = rows = jnp.asarray(start, jnp.float32)
        try:
            of_whole, of_rows = tx.init(whole), init(rows)
        except Exception as error:
            raise RuleError(f"the transformation cannot start on rows: {error}; {_CURE}") from error
        for i, scale in enumerate(_SCALES):
            grads = jnp.asarray(rng.standard_normal(_SHAPE) * row_scale[::-1] * scale, jnp.float32)
            try:
                by_whole, of_whole = jax.jit(tx.update)(grads, of_whole, whole)
                by_rows, of_rows = jax.jit(update)(grads, of_rows, rows)
            except Exception as error:
                raise RuleError(
                    f"the transformation cannot be run row by row, on gradients, state and rows "
                    f"alone: {error}; {_CURE}"
                ) from error
            whole, rows = whole + by_whole, rows + by_rows
            _compare(np.asarray(by_whole), np.asarray(by_rows), i + 1)


def _compare(by_whole: Any, by_rows: Any, step: int) -> None:
    size = np.abs(by_whole).max(axis=1, keepdims=True)
    wrong = ~(np.abs(by_whole - by_rows) <= 1e-3 * size) & ~(np.isnan(by_whole) & np.isnan(by_rows))
    if wrong.any():
        raise RuleError(
            "the transformation mixes rows: on a matrix it moves a row otherwise than on that row "
            f"alone ({wrong.any(axis=1).sum()} of {len(wrong)} rows in step {step} of a trial), as "
            "global norms, trust ratios, Muon, Adafactor and noise do. Rows that are not in a "
            f"batch would count; {_CURE}"
        )
