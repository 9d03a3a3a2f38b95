"""The form of a rule: one plain function, the names of what it remembers, and its defaults.

A rule's function takes ``row, grad``, then its state, then numbers, all by position; it returns the
new row and the new state. It is branch-free, and elementwise but for `row_mean` and `row_norm`,
which make one number of each row. Its numbers are found by name:

* a hyper-parameter (``lr``, ``eps``, ...),
* ``one_minus_X`` of a hyper-parameter X: 1 - X, taken in float64 before it is cast, because
  1 - float32(0.999) is off by 5e-5 of itself,
* one of the numbers that the rule's clock gives for the row's step count.

The names that it takes from its module (`sqrt`, `where`, ...) are bound anew by each engine.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from rowtune.errors import RuleError
from rowtune.rules.check import check_form
from rowtune.rules.operations import REDUCTIONS

Function = Callable[..., Any]

_DECAY_DEFAULTS: dict[str, float | bool] = {"weight_decay": 0.0, "decoupled": False}
_SWITCHES = {"decoupled", "nesterov"}
_BELOW_ONE = {"beta1", "beta2", "alpha", "momentum", "rho"}


@dataclass(frozen=True, eq=False)
class Rule:
    """A rule, and all that an engine needs to know to run it.

    Attributes
    ----------
    name : str
    function : callable
        ``function(row, grad, *state, *numbers) -> row or (row, *state)``.
    state : mapping of str to (float or str)
        What is remembered, with its first value or the hyper-parameter that holds it.
    defaults : mapping of str to number
        Hyper-parameters and torch's defaults for them (``lr`` included).
    clock : callable or None
        ``clock(t, **hyper) -> tuple`` of float64 numbers that depend on the step count t alone.
    clock_names : tuple of str
        What the clock's numbers are called among the function's parameters.
    per_row : frozenset of str
        State that is one number per row; the rest is one number per element.
    """

    name: str
    function: Function
    state: Mapping[str, float | str]
    defaults: Mapping[str, float | bool]
    clock: Function | None = None
    clock_names: tuple[str, ...] = ()
    per_row: frozenset[str] = frozenset()

    def __deepcopy__(self, memo: dict[int, Any]) -> Rule:
        return self  # it never changes

    def __reduce__(self) -> Any:
        """By name, as functions are: a module's name for a rule is the rule, not its function."""
        return _rule_at, (self.function.__module__, self.name)

    def __call__(self, *arguments: Any) -> Any:
        """The plain function itself, on NumPy arrays or scalars."""
        return self.function(*arguments)

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.function) or ""

    @cached_property
    def number_names(self) -> tuple[str, ...]:
        """Parameters of the function after row, grad and state, in order."""
        return tuple(inspect.signature(self.function).parameters)[2 + len(self.state) :]

    def variant(self, name: str, **defaults: float | bool) -> Rule:
        """The same function under another name, with other defaults."""
        unknown = set(defaults) - set(self.defaults)
        if unknown:
            raise RuleError(f"{self.name} has no hyper-parameter {sorted(unknown)}")
        return replace(self, name=name, defaults={**self.defaults, **defaults})

    def hyper(self, **given: Any) -> dict[str, float | bool]:
        """Defaults with ``given`` over them, each checked; ``betas=(b1, b2)`` gives two at once.

        Raises
        ------
        RuleError
            A hyper-parameter that this rule does not take, or a value outside its range.
        """
        if "betas" in given and "beta1" in self.defaults:
            if "beta1" in given or "beta2" in given:
                raise RuleError(f"{self.name}: give betas, or beta1 and beta2, but not both")
            given = {**given, **_split_betas(given["betas"])}
            del given["betas"]
        unknown = [name for name in given if name not in self.defaults]
        if unknown:
            raise RuleError(
                f"rule {self.name!r} takes no hyper-parameter {unknown[0]!r}; "
                f"it takes {', '.join(self.defaults)}"
            )
        return {
            name: _checked(self.name, name, value)
            for name, value in {**self.defaults, **given}.items()
        }

    @cached_property
    def clock_takes(self) -> tuple[str, ...]:
        """Hyper-parameters that the clock depends on."""
        return tuple(inspect.signature(self.clock).parameters)[1:] if self.clock else ()

    def numbers(self, hyper: Mapping[str, float | bool]) -> dict[str, float]:
        """Every number of the function that is not the clock's, by name, in float64."""
        found = {}
        for name in self.number_names:
            if name in self.clock_names:
                continue
            if name in hyper:
                found[name] = float(hyper[name])
            elif name.startswith("one_minus_") and name[10:] in hyper:
                found[name] = 1.0 - float(hyper[name[10:]])
            else:
                raise RuleError(f"rule {self.name!r} asks for {name!r}, which nothing gives it")
        return found

    def in_order(self, clock: Iterable[Any], others: Iterable[Any]) -> list[Any]:
        """The numbers of the function in its order: the clock's, and the rest as `numbers` has it.

        Of any engine: numbers, arrays or variables.
        """
        by_clock, rest = dict(zip(self.clock_names, clock, strict=True)), iter(others)
        return [by_clock[n] if n in by_clock else next(rest) for n in self.number_names]

    def first_values(self, hyper: Mapping[str, float | bool]) -> dict[str, float]:
        """What each state array is filled with before a row's first step."""
        return {
            name: float(hyper[first]) if isinstance(first, str) else float(first)
            for name, first in self.state.items()
        }

    def state_widths(self, width: int) -> dict[str, int]:
        """Columns of each state array, for rows of ``width``: 1 where it is one number per row."""
        return {name: 1 if name in self.per_row else width for name in self.state}

    @cached_property
    def is_elementwise(self) -> bool:
        """Whether no element of a row, or of what is remembered of it, depends on another."""
        return not self.per_row and REDUCTIONS.isdisjoint(self.function.__code__.co_names)


class PerRow(NamedTuple):
    """What `per_row` gives to `rule`."""

    first: float | str


def per_row(first: float | str = 0.0) -> PerRow:
    """State of one number per row: ``@rule(state={"total": per_row(0.0)}, ...)``.

    Parameters
    ----------
    first : float or str
        Its first value, or the hyper-parameter that holds it.
    """
    return PerRow(first)


def _rule_at(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def rule(
    *,
    state: Mapping[str, float | str | PerRow] | None = None,
    clock: tuple[Function, str] | None = None,
    **defaults: float | bool,
) -> Callable[[Function], Rule]:
    """Turn a plain function into a `Rule` of the same name.

    ``state`` names what is remembered of each element, or of each row: see `per_row`. The function
    is called once here, on operands that only record, to see that its results have these shapes.

    Any rule takes ``weight_decay`` (added to the gradient, or shrinking the row by itself where
    ``decoupled``), which the engines wrap around the function: see `rowtune.rules.decay`.
    """

    def make(function: Function) -> Rule:
        clock_function, clock_names = clock or (None, "")
        given = state or {}
        made = Rule(
            name=function.__name__,
            function=function,
            state={k: x.first if isinstance(x, PerRow) else x for k, x in given.items()},
            defaults=defaults | {k: x for k, x in _DECAY_DEFAULTS.items() if k not in defaults},
            clock=clock_function,
            clock_names=tuple(clock_names.split()),
            per_row=frozenset(k for k, x in given.items() if isinstance(x, PerRow)),
        )
        check_form(made)
        return made

    return make


def _split_betas(betas: Any) -> dict[str, float]:
    try:
        beta1, beta2 = betas
    except (TypeError, ValueError):
        raise RuleError(f"betas={betas!r}; expected two numbers, as in (0.9, 0.999)") from None
    return {"beta1": beta1, "beta2": beta2}


def _checked(rule_name: str, name: str, value: Any) -> float | bool:
    if name in _SWITCHES:
        if value not in (True, False):
            raise RuleError(f"{rule_name}: {name}={value!r}; expected True or False")
        return bool(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise RuleError(f"{rule_name}: {name}={value!r}; expected a number") from None
    high = 1.0 if name in _BELOW_ONE else float("inf")
    if not 0.0 <= number < high:
        upper = "1" if name in _BELOW_ONE else "infinity"
        raise RuleError(f"{rule_name}: {name}={value!r}; expected at least 0 and below {upper}")
    return number
