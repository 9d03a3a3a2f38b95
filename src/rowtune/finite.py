"""Gradients that must not reach a row: which ones, and what to do about it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import NonFiniteError


def refuse_non_finite(slots: NDArray[np.int32], grads: NDArray[Any]) -> None:
    """The slow and exact check, for batches that a quick one suspects.

    Raises
    ------
    NonFiniteError
        A trainable row's gradient holds NaN or infinity, or the sum over duplicates overflows.
    """
    trainable = np.flatnonzero(slots >= 0)
    bad = trainable[~np.isfinite(grads[trainable]).all(axis=1)]
    if bad.size:
        raise NonFiniteError(
            f"the gradient at position {bad[0]} of the batch holds NaN or infinity ({bad.size} of "
            f"{len(slots)} do); nothing was changed. Skip this batch, or pass check_finite=False"
        )
    unique, group = np.unique(slots[trainable], return_inverse=True)
    sums = np.zeros((len(unique), grads.shape[1]))
    np.add.at(sums, group, np.abs(grads[trainable], dtype=np.float64))
    sums *= 1 + len(slots) * np.finfo(grads.dtype).eps  # a sum in their dtype rounds every time
    with np.errstate(over="ignore"):
        if not np.isfinite(sums.astype(grads.dtype)).all():
            raise NonFiniteError(
                f"gradients reach {np.abs(grads[trainable]).max():.3g}, and their sum over "
                f"duplicates can overflow {grads.dtype}; nothing was changed. Scale or clip them"
            )
