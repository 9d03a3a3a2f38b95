"""Does a transformation treat every row by itself? Tried out, since nothing else can tell."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rowtune.errors import RuleError

_SHAPE = (144, 128)  # large enough for what factors large matrices only
# Of the gradients of the steps: bounds that bind, and that do not.
_SCALES = (1.0, 1.0, 1e-3, 1e6)
_CURE = (
    "place it outside: on the gradients (rowtune.jax.clip_by_global_norm or clip_by_row_norm, "
    "step(clip=...)) or on the model's dense parameters, and give rowwise the rest"
)


def check_keeps_rows_apart(tx: Any, init: Any, update: Any) -> None:
    """Compare ``tx`` on a matrix with the row-wise form of it, over a few steps: what they do,
    and what they remember.

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
    uphill = rng.standard_normal(_SHAPE)  # what learns its own rate does so where steps agree

    @jax.jit
    def both(grads: Any, of_whole: Any, whole: Any, of_rows: Any, rows: Any) -> Any:
        of_whole, of_rows = tx.update(grads, of_whole, whole), update(grads, of_rows, rows)
        return of_whole, of_rows, whole + of_whole[0], rows + of_rows[0]

    # Also where this is called while something else is being traced.
    with jax.ensure_compile_time_eval():
        whole = rows = jnp.asarray(start, jnp.float32)
        try:
            of_whole, of_rows = jax.jit(lambda x: (tx.init(x), init(x)))(whole)
        except Exception as error:
            raise RuleError(f"the transformation cannot start on rows: {error}; {_CURE}") from error
        for i, scale in enumerate(_SCALES):
            drawn = (uphill + 0.3 * rng.standard_normal(_SHAPE)) * row_scale[::-1] * scale
            grads = jnp.asarray(drawn, jnp.float32)
            try:
                for_whole, for_rows, whole, rows = both(grads, of_whole, whole, of_rows, rows)
            except Exception as error:
                raise RuleError(
                    f"the transformation cannot be run row by row, on gradients, state and rows "
                    f"alone: {error}; {_CURE}"
                ) from error
            _compare(for_whole, for_rows, i + 1)
            of_whole, of_rows = for_whole[1], for_rows[1]


def _compare(of_whole: Any, of_rows: Any, step: int) -> None:
    """Raise where a leaf of the matrix's is not that of its rows, put together."""
    leaves = zip(jax.tree.leaves(of_whole), jax.tree.leaves(of_rows), strict=True)
    if not all(_agree(whole, rows) for whole, rows in leaves):
        raise RuleError(
            "the transformation mixes rows: on a matrix it does something else than on each of "
            f"its rows alone (seen in step {step} of a trial), as global norms, trust ratios, "
            f"Muon, Adafactor and noise do. Rows that are not in a batch would count; {_CURE}"
        )


def _agree(whole: Any, rows: Any) -> bool:
    if jnp.issubdtype(whole.dtype, jax.dtypes.extended):
        return True  # keys of random numbers: what is made of them is compared
    if whole.ndim and whole.size != rows.size:
        return False
    ours = np.asarray(rows, np.float64)
    theirs = np.asarray(whole, np.float64)
    theirs = np.broadcast_to(theirs, ours.shape) if not whole.ndim else theirs.reshape(ours.shape)
    size = np.abs(theirs).max(axis=tuple(range(1, ours.ndim)), keepdims=True, initial=0.0)
    near = np.abs(ours - theirs) <= 1e-3 * size
    return bool((near | (np.isnan(ours) & np.isnan(theirs))).all())
