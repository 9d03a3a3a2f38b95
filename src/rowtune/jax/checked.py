"""Errors out of compiled programs: ids that are out of range, gradients that are not finite."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import checkify

from rowtune.errors import IdError, NonFiniteError, RowtuneError
from rowtune.jax.ids import CHECKED

_NOT_FINITE = "a gradient holds NaN or infinity"


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` compiled with checks that raise, by `jax.experimental.checkify`.

    For finding what went wrong, not for every step: nothing is donated, so that tables come back
    as copies, and each call waits for its results. What had been there before the call is
    as it was when it raises.

    Parameters
    ----------
    function : callable
        Of arrays and pytrees of them, such as `lookup`, or what `step` returns; it may be jitted.

    Raises
    ------
    IdError
        By the function that is returned: an id is negative or out of range.
    NonFiniteError
        An optimizer was given a gradient with NaN or infinity in it.
    """
    run = jax.jit(checkify.checkify(function, errors=checkify.user_checks))

    @functools.wraps(function, updated=())
    def checked_function(*args: Any, **kwargs: Any) -> Any:
        with CHECKED(True):
            error, out = run(*args, **kwargs)
        message = error.get()
        if message is not None:
            raise _named(message.split(" (`check` failed)")[0])
        return out

    return checked_function


def check_finite(grads: Array) -> None:
    """Under `checked`, that all gradients are finite; elsewhere nothing."""
    if CHECKED.value:
        advice = "nothing was changed. Skip this batch, or clip its gradient"
        checkify.check(jnp.isfinite(grads).all(), f"{_NOT_FINITE}; {advice}")


def _named(message: str) -> Exception:
    if "an id is out of range" in message:
        return IdError(message)
    return (NonFiniteError if _NOT_FINITE in message else RowtuneError)(message)
