"""What a rule does to a row that is not there: its step with a gradient of zero, many times.

A rule that can be caught up has, beside its function, the absent step in two parts:

* a *course*: for each step of the optimizer a few 2 x 2 matrices, in float64. The product of those
  of the steps that a row has missed says all that depends on the schedule and on how many they are;
  products over any range of steps are found in a tree (`rowtune.ledger`), so that no absence
  is too long.
* a *payment*, a plain function as a rule's own, from the row, its state and the elements of these
  products to the row and its state as they would be by now.

Where an absence has no closed form (weight decay that goes through an adaptive rule's gradient),
the steps are made one by one; where a payment holds for most elements only, a *doubt* tells the
others, and these are stepped too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from rowtune.errors import RuleError
from rowtune.rules.decay import kind_of_decay
from rowtune.rules.form import Function, Rule

_OF: dict[Function, Absent] = {}


@dataclass(frozen=True, eq=False)
class Absent:
    """The absent step of a rule.

    Attributes
    ----------
    course : callable
        ``course(t, lr, shrink, ...)`` gives a tuple of matrices (a, b, c, d), rows first, for step
        t. It takes hyper-parameters by name; ``shrink`` is what decoupled weight decay multiplies a
        row with, and ``penalty`` the coupled weight_decay, 0 where it is not that kind.
    names : tuple of str
        What the elements of the matrices are called among the payment's parameters, in order.
    pay : callable
        ``pay(row, *state, *numbers) -> (row, *state)``: plain and elementwise, as a rule.
    doubt : callable or None
        ``doubt(*state, *numbers)``: where `pay` is not precise. Its numbers are hyper-parameters,
        and ``limit`` from `limit`.
    limit : callable or None
        ``limit(precision, **hyper) -> (limit, longest)``: for `doubt`; and after how many steps
        nothing but decay is left to do. ``precision`` is what may be lost of the way gone.
    linear : bool
        The course covers coupled weight decay too.
    allows : callable or None
        ``allows(**hyper)`` says why there is no absent step under hyper-parameters, or "".
    """

    course: Function
    names: tuple[str, ...]
    pay: Function
    doubt: Function | None
    limit: Callable[..., tuple[float, int]] | None
    linear: bool
    allows: Callable[..., str] | None

    @cached_property
    def course_takes(self) -> tuple[str, ...]:
        """Names of the course's arguments after t."""
        return tuple(inspect.signature(self.course).parameters)[1:]


def pay_names(rule: Rule, absent: Absent) -> tuple[str, ...]:
    """The numbers that the payment takes, in order."""
    return _parameters(absent.pay)[1 + len(rule.state) :]


def doubt_names(rule: Rule, absent: Absent) -> tuple[str, ...]:
    """The numbers that the doubt takes, in order."""
    return () if absent.doubt is None else _parameters(absent.doubt)[len(rule.state) :]


def limit_of(
    absent: Absent, hyper: Mapping[str, float | bool], precision: float
) -> tuple[float, int]:
    """What the absent step's ``limit`` says under these hyper-parameters; without one 0, 0."""
    if absent.limit is None:
        return 0.0, 0
    names = _parameters(absent.limit)[1:]
    return absent.limit(precision, **{name: float(hyper[name]) for name in names})


def course_at(rule: Rule, hyper: Mapping[str, float | bool], t: float) -> Sequence[Sequence[float]]:
    """The matrices of the rule's course for step ``t``."""
    given = {name: float(value) for name, value in hyper.items()}
    kind = kind_of_decay(hyper)
    given["shrink"] = 1.0 - given["lr"] * given["weight_decay"] * (kind == "decoupled")
    given["penalty"] = given["weight_decay"] * (kind == "coupled")
    absent = absent_step_of(rule)
    matrices: Sequence[Sequence[float]] = absent.course(
        t, **{name: given[name] for name in absent.course_takes}
    )
    return matrices


def check_catch_up(rule: Rule, hyper: Mapping[str, float | bool]) -> None:
    """Raise `RuleError` where absent rows cannot be caught up with: the rule has no absent step, or
    none under these hyper-parameters.
    """
    absent, why = absent_step_of(rule), ""
    if absent.allows is not None:
        why = absent.allows(**{name: float(hyper[name]) for name in _parameters(absent.allows)})
    try:
        course_at(rule, hyper, 1.0)
        limit_of(absent, hyper, 0.5)
    except ArithmeticError as error:  # a decay of 0, by which a course would divide
        why = f"its absent step is not defined with these hyper-parameters ({error})"
    if why:
        raise RuleError(f"rule {rule.name!r} cannot catch up: {why}; leave catch_up out")


@cache
def _parameters(function: Function) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def absent(
    rule: Rule,
    course: Function,
    names: str,
    *,
    doubt: Function | None = None,
    limit: Callable[..., tuple[float, int]] | None = None,
    linear: bool = False,
    allows: Callable[..., str] | None = None,
) -> Callable[[Function], Function]:
    """Make a plain function the payment of ``rule``, and of all variants of it: see `Absent`.

    ``names`` are those of the course's elements, four for each matrix, ``_`` where not needed.
    """

    def make(pay: Function) -> Function:
        _OF[rule.function] = Absent(course, tuple(names.split()), pay, doubt, limit, linear, allows)
        return pay

    return make


def can_catch_up(rule: Rule) -> bool:
    """Whether somebody has written the rule's absent step."""
    return rule.function in _OF


def absent_step_of(rule: Rule) -> Absent:
    """The absent step of ``rule``.

    Raises
    ------
    RuleError
        The rule has none.
    """
    found = _OF.get(rule.function)
    if found is None:
        raise RuleError(
            f"rule {rule.name!r} cannot catch up: it does not say what it does to a row that is "
            "absent; leave catch_up out, or write its absent step (rowtune.rules.absent)"
        )
    return found
