"""What may change between a table's updates: hyper-parameters, rates of rows, bounds."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from rowtune import checks
from rowtune.block import Block
from rowtune.bounds import NO_BOUNDS, Bounds
from rowtune.rows import Rows
from rowtune.rules.absent import check_catch_up
from rowtune.rules.tuned import Tuned


class TableHyper:
    """The part of `rowtune.Table` that is about how its rows move."""

    rows: Rows
    _tuned: Tuned
    _block: Block

    @property
    def rule(self) -> str:
        """Name of the rule."""
        return self._tuned.rule.name

    @property
    def hyper(self) -> dict[str, float | bool]:
        """Hyper-parameters in use, ``lr`` included (a copy: use `set_hyper` to change them)."""
        return dict(self._tuned.hyper)

    def set_hyper(self, **hyper: Any) -> None:
        """Change hyper-parameters between updates; state and step counts stay."""
        rule = self._tuned.rule
        new = rule.hyper(**{**self._tuned.hyper, **hyper})  # refused before rows are moved
        if self._block.debts is not None:
            check_catch_up(rule, new)
        if set(hyper) - {"lr"}:
            self._block.flush()  # what is owed so far goes by those that were
        self._tuned.set(**hyper)

    @property
    def lr(self) -> float:
        """Learning rate; may be assigned before any update."""
        return float(self._tuned.hyper["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        self._tuned.set(lr=value)

    @property
    def lr_scale(self) -> NDArray[Any] | None:
        """Scale of each trainable row's learning rate, k numbers from 0 to 1 in the order of
        ``rows.ids``: a read-only copy. May be assigned before any update; None means 1 for all.
        """
        scale = self._block.lr_scale
        if scale is not None:
            scale = scale.copy()
            scale.flags.writeable = False
        return scale

    @lr_scale.setter
    def lr_scale(self, value: ArrayLike | None) -> None:
        scale = None if value is None else checks.scale(value, len(self.rows), self._tuned.dtype)
        self._block.set_lr_scale(scale)

    @property
    def bounds(self) -> Bounds:
        """Bounds on gradients and rows in an update; `Bounds` may be assigned before any, and None
        for no bounds.
        """
        return self._block.bounds

    @bounds.setter
    def bounds(self, value: Bounds | None) -> None:
        value = value or NO_BOUNDS
        if self._block.debts is not None:
            value.check_catch_up()
        self._block.bounds = value
