"""How the NumPy engine takes a step: compiled, or plainly where numba has no such dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune import numpy_verbs
from rowtune.bounds import NO_BOUNDS, Bounds
from rowtune.finite import refuse_non_finite
from rowtune.kernels import norms
from rowtune.kernels import update as kernels
from rowtune.kernels.grouping import Groups, group_unique
from rowtune.kernels.scatter import sum_groups
from rowtune.rules import bind
from rowtune.rules.decay import with_decay
from rowtune.rules.tuned import Tuned
from rowtune.step import Trained, step


def update(
    tuned: Tuned,
    trained: Trained,
    most_steps: int,
    slots: NDArray[np.int32],
    grads: NDArray[Any],
    check_finite: bool,
    bounds: Bounds = NO_BOUNDS,
) -> None:
    """Move the touched rows in place.

    Parameters
    ----------
    trained : Trained
        Block (k, D) of any float dtype, state in ``tuned.dtype``, step counts.
    most_steps : int
        No row will have taken more steps than this after the update.
    slots : int32 array (n,), -1 where frozen
    grads : array (n, D) in ``tuned.dtype``, C-contiguous

    Raises
    ------
    NonFiniteError
        Nothing has been changed then.
    """
    if kernels.can_compile(trained.block):
        groups = kernels.check_and_group(slots, grads, check_finite)
        if bounds.clips:
            groups, grads = _clipped(groups, grads, bounds)
        table = tuned.clock_table(most_steps)
        kernels.move_groups(tuned.rule, tuned.decay, trained, groups, grads, table, tuned.constants)
        touched = groups.unique
    else:
        touched = update_plain(tuned, trained, slots, grads, check_finite, bounds)
    if bounds.max_norm is not None:
        _shorten(trained, touched, bounds.max_norm, tuned.dtype)


def update_plain(
    tuned: Tuned,
    trained: Trained,
    slots: NDArray[np.int32],
    grads: NDArray[Any],
    check_finite: bool,
    bounds: Bounds = NO_BOUNDS,
) -> NDArray[np.int32]:
    """The same by `rowtune.step.step` on NumPy arrays; returns the touched slots."""
    with np.errstate(over="ignore"):
        suspicious = check_finite and not np.isfinite(grads * grads.dtype.type(len(slots))).all()
    if suspicious:
        refuse_non_finite(slots, grads)
    unique, sums = numpy_verbs.sum_duplicates(slots, grads)
    clip(sums, bounds)
    update_with(tuned, tuned.constants, trained, unique, sums)
    return unique


def _clipped(groups: Groups, grads: NDArray[Any], bounds: Bounds) -> tuple[Groups, NDArray[Any]]:
    """The sums of the groups, clipped, and groups of one each for them."""
    sums = np.empty((len(groups.unique), grads.shape[1]), grads.dtype)
    sum_groups(groups, grads, sums)
    clip(sums, bounds)
    return group_unique(groups.unique), sums


def clip(sums: NDArray[Any], bounds: Bounds) -> None:
    """Scale the gradients (u, D) of touched rows in place, as ``bounds`` want it."""
    if bounds.clip_row_norm is not None:
        norms.shorten_rows(sums, np.arange(len(sums)), bounds.clip_row_norm)
    if bounds.clip_norm is not None:
        norms.shorten_together(sums, bounds.clip_norm)


def _shorten(trained: Trained, touched: NDArray[np.int32], most: float, dtype: Any) -> None:
    if kernels.can_compile(trained.block):
        kernels.shorten(trained, touched, most)
        return
    if trained.lr_scale is not None:
        touched = touched[trained.lr_scale[touched] > 0]
    before = trained.block[touched].astype(dtype)
    rows = before.copy()
    norms.shorten_rows(rows, np.arange(len(rows)), most)
    shorter = (rows != before).any(axis=1)  # the others keep their bits, NaN and all
    trained.block[touched[shorter]] = rows[shorter]


def update_with(
    tuned: Tuned,
    constants: NDArray[Any],
    trained: Trained,
    slots: NDArray[np.int32],
    grads: NDArray[Any],
) -> None:
    """The same, unchecked, with the decay's number and the rule's ``constants`` of some step."""
    function = bind(tuned.rule.function, numpy_verbs.OPERATIONS)
    rule = with_decay(function, tuned.decay)
    step(numpy_verbs, rule, trained, slots, grads, lambda t, s: tuned.numbers_at(t, s, constants))
