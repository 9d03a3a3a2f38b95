"""Which of a model's variables are blocks of rows."""

from __future__ import annotations

from typing import Any

_MARK = "_rowtune_block"


def mark(variable: Any) -> None:
    """Say of a Keras variable that it is the block of an `Embedding`."""
    setattr(variable, _MARK, True)


def is_block(variable: Any) -> bool:
    """Whether it is one."""
    return getattr(variable, _MARK, False) is True
