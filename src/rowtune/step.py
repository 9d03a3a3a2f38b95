"""One step, in the words of any engine: sum duplicates, take, rule, put.

An engine brings a few verbs for its own arrays; the rule is bound to its operations. This is the
plain form. It is what the compiled kernels are compared with, and what runs where they cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol


class Verbs(Protocol):
    """What an engine must be able to do with its arrays.

    Slots are never negative here: frozen positions are left out by `sum_duplicates`.
    """

    OPERATIONS: dict[str, Any]

    def sum_duplicates(self, slots: Any, grads: Any) -> tuple[Any, Any]:
        """Unique slots (u,) of those that are not -1, and the sums (u, D) of their gradients."""

    def take(self, array: Any, slots: Any) -> Any:
        """``array[slots]``, a copy."""

    def put(self, array: Any, slots: Any, values: Any) -> Any:
        """``array`` with ``array[slots] = values``; in place where the engine can."""

    def cast_like(self, array: Any, like: Any) -> Any:
        """``array`` in the dtype of ``like``."""


class Trained(NamedTuple):
    """The block (k, D), the state's arrays and the step counts (k,), which a step changes, and the
    scale of each row's learning rate (k,) where rows have one: see `rowtune.rules.lr_scale`.
    """

    block: Any
    state: tuple[Any, ...]
    steps: Any
    lr_scale: Any = None


def step(
    verbs: Verbs,
    rule: Callable[..., Any],
    trained: Trained,
    slots: Any,
    grads: Any,
    numbers_at: Callable[[Any, Any], Sequence[Any]],
) -> Trained:
    """Move the touched rows of ``trained`` by ``rule``.

    Parameters
    ----------
    rule : callable
        Bound to the engine, decay included: ``rule(row, grad, decay, *state, *numbers)``.
    slots : integer array (n,), -1 where frozen
    grads : array (n, D) in the state's dtype
    numbers_at : callable
        From the step counts (u,) of the touched rows, and their ``lr_scale`` (u, 1) or None, to the
        decay's number and the rule's, in order: scalars in the state's dtype, or of shape (u, 1).
    """
    unique, sums = verbs.sum_duplicates(slots, grads)
    t = verbs.take(trained.steps, unique) + 1
    scale = None if trained.lr_scale is None else verbs.take(trained.lr_scale, unique)[:, None]
    decay, *numbers = numbers_at(t, scale)
    own = verbs.take(trained.block, unique)
    rows = verbs.cast_like(own, sums)
    before = [verbs.take(array, unique) for array in trained.state]
    moved = rule(rows, sums, decay, *before, *numbers)
    row, *after = moved if isinstance(moved, tuple) else (moved,)
    row = verbs.cast_like(row, trained.block)
    if scale is not None:
        row = verbs.OPERATIONS["where"](scale == 0, own, row)  # after the cast: bits, not values
    return Trained(
        verbs.put(trained.block, unique, row),
        tuple(verbs.put(old, unique, new) for old, new in zip(trained.state, after, strict=True)),
        verbs.put(trained.steps, unique, t),
        trained.lr_scale,
    )
