"""Hyper-parameters in the graph: numbers that are known, and those that come when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from rowtune.errors import RuleError
from rowtune.rules import Rule, get
from rowtune.rules.tuned import Tuned


class Hyper:
    """The numbers of a rule, some of which may be symbolic.

    Attributes
    ----------
    rule : Rule
    tuned : Tuned
        With the rule's defaults where a symbolic number will come.
    symbolic : dict of str to float64 scalar variables, checked when the function runs
    decay : str, "none", "coupled" or "decoupled"

    Raises
    ------
    RuleError
        As `Tuned` raises it; or a variable that is no scalar, or where a number must be known.
    """

    def __init__(self, rule: str | Rule, dtype: Any, hyper: Mapping[str, Any]) -> None:
        self.rule = get(rule)
        given = _apart(self.rule, hyper)
        waiting = {name: x for name, x in given.items() if isinstance(x, Variable)}
        known = {name: x for name, x in given.items() if name not in waiting}
        self.rule.hyper(**dict.fromkeys(waiting, 0.0))  # refuses names that the rule does not take
        self.tuned = Tuned(self.rule, dtype, **known)
        self._dtype = np.dtype(dtype)
        self.symbolic = {name: self._checked(name, x) for name, x in waiting.items()}
        self.decay = self.tuned.decay
        if "weight_decay" in self.symbolic:
            self.decay = "decoupled" if self.tuned.hyper["decoupled"] else "coupled"

    def __getitem__(self, name: str) -> Any:
        """A hyper-parameter in float64: a number, or a scalar variable."""
        return self.symbolic[name] if name in self.symbolic else float(self.tuned.hyper[name])

    @property
    def numbers(self) -> TensorVariable:
        """The decay's number, then the rule's that are not its clock's: a vector in the dtype."""
        if not self.symbolic:
            return pt.constant(self.tuned.constants)
        decay, *constants = self.tuned.constants
        names = self.rule.numbers(self.tuned.hyper)
        numbers = [self._decay_number(decay), *map(self._number, names, constants)]
        return pt.stack([pt.cast(x, self._dtype.name) for x in numbers])

    def _number(self, name: str, constant: Any) -> Any:
        if name in self.symbolic:
            return self.symbolic[name]
        other = name.removeprefix("one_minus_")
        # Taken in float64, as for numbers that are known: see `rowtune.rules.form`.
        return 1.0 - self.symbolic[other] if other in self.symbolic else pt.constant(constant)

    def _decay_number(self, constant: Any) -> Any:
        """See `rowtune.rules.decay.decay_number`."""
        if self.decay == "decoupled" and not self.symbolic.keys().isdisjoint(
            {"lr", "weight_decay"}
        ):
            return 1.0 - self["lr"] * self["weight_decay"]
        return self.symbolic.get("weight_decay", pt.constant(constant))

    def _checked(self, name: str, given: Variable) -> TensorVariable:
        dtype = getattr(given.type, "dtype", "")
        if name in ("decoupled", "nesterov") or name in self.rule.state.values():
            raise RuleError(f"{self.rule.name}: {name} must be known now; it cannot be a variable")
        if getattr(given.type, "ndim", None) != 0 or not dtype.startswith(("float", "int", "uint")):
            raise RuleError(f"{self.rule.name}: {name} is a {given.type}; expected a scalar")
        number = pt.cast(given, "float64")
        cast = pt.cast(number, self._dtype.name)
        high = 1.0 if _is_below_one(self.rule, name) else np.inf
        held = pt.and_(pt.lt(cast, high), pt.or_(pt.gt(cast, 0), pt.eq(number, 0)))
        message = (
            f"{self.rule.name}: {name} has come to be outside its range; "
            f"expected at least 0 and below {high:g}, in {self._dtype}"
        )
        return CheckAndRaise(RuleError, message)(number, held)


def _apart(rule: Rule, hyper: Mapping[str, Any]) -> dict[str, Any]:
    """``hyper`` with constants as numbers, and ``betas`` as two where one of them is symbolic."""
    given = dict(hyper)
    betas = given.get("betas")
    if isinstance(betas, (tuple, list)) and any(isinstance(x, Variable) for x in betas):
        if len(betas) != 2 or "beta1" in given or "beta2" in given:
            raise RuleError(f"{rule.name}: give betas as two numbers, or beta1 and beta2")
        given["beta1"], given["beta2"] = given.pop("betas")
    return {name: x.data if isinstance(x, Constant) else x for name, x in given.items()}


def _is_below_one(rule: Rule, name: str) -> bool:
    try:
        rule.hyper(**{name: 1.0})
    except RuleError:
        return True
    return False
