"""Bounds on an update: how long a gradient may be that moves a row, and how long a row may become.

All of them are norms over the columns that train, and touch no other row than the batch does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from rowtune.errors import RuleError


@dataclass(frozen=True)
class Bounds:
    """Bounds on an update; None leaves out.

    Attributes
    ----------
    clip_row_norm : float or None
        A row's gradient, summed over duplicates, is scaled to this Euclidean norm where it is
        longer (Pascanu, Mikolov & Bengio, ICML 2013, row by row).
    clip_norm : float or None
        The gradients of all touched rows are scaled by one factor, so that their norm taken
        together is at most this: the global norm of that paper. It comes after ``clip_row_norm``.
    max_norm : float or None
        A touched row that is longer after its update is scaled to this norm (Srebro & Shraibman,
        COLT 2005). A row whose ``lr_scale`` is 0 keeps its length.

    Raises
    ------
    RuleError
        A bound that is not a positive number.
    """

    clip_row_norm: float | None = None
    clip_norm: float | None = None
    max_norm: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            check_bound(field.name, getattr(self, field.name))

    @property
    def clips(self) -> bool:
        """Whether gradients are bounded."""
        return not (self.clip_row_norm is None and self.clip_norm is None)

    def check_catch_up(self) -> None:
        """Raise `RuleError` where absent rows could not be caught up with under these bounds."""
        if self.max_norm is not None:
            raise RuleError(
                "max_norm cannot go with catch_up: whether the dense optimizer would have "
                "shortened an absent row has no closed form. Leave one of them out"
            )


def check_bound(name: str, value: Any) -> None:
    """Raise `RuleError` unless ``value`` is None or a positive number."""
    kind: Any = type(value)
    good = issubclass(kind, Real) and kind is not bool and float(value) > 0
    if value is not None and not good:
        raise RuleError(f"{name}={value!r}; expected a positive number, or None for no bound")


NO_BOUNDS = Bounds()
