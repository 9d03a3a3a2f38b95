"""Ctrl-C, and what else a signal's handler raises, while a compiled function gives its result back.

For each array that it returns numba runs a line of Python. That is the first line after the whole
kernel, so a signal that came meanwhile is handled there. What its handler raises numba overlooks
while it puts several arrays into a tuple, and CPython makes a ``SystemError`` of it, "returned a
result with an exception set". `returned` calls what gives arrays back. What PyTensor compiles is
called by PyTensor, and may raise that error still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def returned(kernel: Callable[..., Any], *arguments: Any) -> Any:
    """``kernel(*arguments)``, of one that returns arrays; an error of a handler is raised as it is.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C while it ran.
    """
    try:
        return kernel(*arguments)
    except SystemError as error:
        handlers = raised_by_handler(error)
        if handlers is error:
            raise
        try:
            raise handlers from None
        finally:
            del handlers  # or what a traceback holds would live until a collection


def raised_by_handler(error: BaseException) -> BaseException:
    """What is behind a ``SystemError``, or behind several; the error itself where nothing is."""
    behind = error
    while isinstance(behind, SystemError) and behind.__cause__ is not None:
        behind = behind.__cause__
    return error if isinstance(behind, SystemError) else behind
