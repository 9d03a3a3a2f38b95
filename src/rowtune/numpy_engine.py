"""How the NumPy engine takes a step: compiled, or plainly where numba has no such dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune import numpy_verbs
from rowtune.finite import refuse_non_finite
from rowtune.kernels import update as kernels
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
        kernels.move_touched_rows(
            tuned.rule, tuned.decay, trained.block, trained.state, trained.steps,
            slots, grads, tuned.clock_table(most_steps), tuned.constants, check_finite,
        )  # fmt: skip
    else:
        update_plain(tuned, trained, slots, grads, check_finite)


def update_plain(
    tuned: Tuned,
    trained: Trained,
    slots: NDArray[np.int32],
    grads: NDArray[Any],
    check_finite: bool,
) -> None:
    """The same by `rowtune.step.step` on NumPy arrays."""
    with np.errstate(over="ignore"):
        suspicious = check_finite and not np.isfinite(grads * grads.dtype.type(len(slots))).all()
    if suspicious:
        refuse_non_finite(slots, grads)
    update_with(tuned, tuned.constants, trained, slots, grads)


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
    step(numpy_verbs, rule, trained, slots, grads, lambda t: tuned.numbers_at(t, constants))
