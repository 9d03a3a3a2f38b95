"""What the docstring of a rule says, in parts: every rule is described in one form.

First the formula; then the source with its year; a word on epsilon; and what it equals, by the
names of the framework's class.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rowtune.errors import RuleError
from rowtune.rules.absent import absent_step_of, can_catch_up
from rowtune.rules.form import Rule

_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_EQUAL = re.compile(r"`((?:(?:torch\.optim|optax|keras)\.|EXACT_|PARTIAL_)[^`]+)`")
_SENTENCE = re.compile(r"(?<=[.\"])\s+(?=[A-Z])")


class Described(NamedTuple):
    """A rule in words."""

    name: str
    formula: str
    source: str  # authors, title, where, year
    equals: str  # a framework's optimizer
    state: str  # numbers that are remembered of a row of D, beside its step count
    catch_up: str


def described(rule: Rule) -> Described:
    """The parts of a rule's docstring, and what follows from its form.

    Raises
    ------
    RuleError
        No year, so no source, or no framework's optimizer that it equals.
    """
    formula, _, rest = rule.doc.partition("\n\n")
    text = " ".join(rest.split())
    source = next((s for s in _SENTENCE.split(text) if _YEAR.search(s)), None)
    # A variant shares its rule's docstring, and is named there.
    equal = re.search(rf"\b{rule.name}: `([^`]+)`", text) or _EQUAL.search(text)
    if source is None or equal is None:
        raise RuleError(f"the docstring of {rule.name!r} names no source, or nothing it equals")
    return Described(
        rule.name,
        " ".join(formula.split()),
        source[: list(_YEAR.finditer(source))[-1].end()],
        equal[1],
        _state_of(rule),
        _catch_up_of(rule),
    )


def _state_of(rule: Rule) -> str:
    wide, narrow = len(rule.state) - len(rule.per_row), len(rule.per_row)
    parts = [f"{wide} D" if wide > 1 else "D"] if wide else []
    parts += [str(narrow)] if narrow else []
    return " + ".join(parts) or "0"


def _catch_up_of(rule: Rule) -> str:
    if not can_catch_up(rule):
        return "no"
    if absent_step_of(rule).linear:
        return "closed form"
    return "closed form; coupled decay is stepped"
