"""Weight decay of any rule, wrapped around its function rather than written into each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Function = Callable[..., Any]


def kind_of_decay(hyper: Mapping[str, float | bool]) -> str:
    """``"none"``, ``"coupled"`` or ``"decoupled"``."""
    if not hyper["weight_decay"]:
        return "none"
    return "decoupled" if hyper["decoupled"] else "coupled"


def decay_number(hyper: Mapping[str, float | bool]) -> float:
    """The one number that the wrapped rule takes after the gradient, in float64.

    Coupled: weight_decay, added to the gradient times the row (an L2 penalty). Decoupled:
    1 - lr * weight_decay, which multiplies the row first (Loshchilov & Hutter, ICLR 2019).
    """
    if kind_of_decay(hyper) == "decoupled":
        return 1.0 - float(hyper["lr"]) * float(hyper["weight_decay"])
    return float(hyper["weight_decay"])


def with_decay(function: Function, kind: str) -> Function:
    """``function(row, grad, ...)`` as ``wrapped(row, grad, decay, ...)``.

    The wrapper takes ``decay`` in every kind, so that an engine calls one signature.
    """
    if kind == "coupled":

        def wrapped(row, grad, decay, *rest):  # type: ignore[no-untyped-def]
            return function(row, grad + decay * row, *rest)

    elif kind == "decoupled":

        def wrapped(row, grad, decay, *rest):  # type: ignore[no-untyped-def]
            return function(decay * row, grad, *rest)

    else:

        def wrapped(row, grad, decay, *rest):  # type: ignore[no-untyped-def]  # noqa: ARG001
            return function(row, grad, *rest)

    return wrapped
