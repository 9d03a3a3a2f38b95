"""The arithmetic of a rule that looks at whole rows, as a few loops over the columns of one row.

The rule's function is called once on operands that record (`rowtune.rules.record`), and the record
is cut at its means and norms. Each loop computes, element by element, what the next of them are
taken of; the last one writes, when everything has been read. What a loop needs of an earlier one is
computed again: the row is in the first-level cache by then, and memory is what takes the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from rowtune.rules.operations import REDUCTIONS
from rowtune.rules.record import ARITHMETIC, COMPARISONS, Recorded, record


class Body(NamedTuple):
    """Source lines of a kernel: those that run once, and those that move one row."""

    before: list[str]
    lines: list[str]


def body_of(
    function: Callable[..., Any],
    decay: str,
    state: tuple[tuple[str, bool], ...],
    numbers: tuple[str, ...],
) -> Body:
    """The lines for a rule; for the arguments see `rowtune.rules.record.record`.

    They read ``row``, ``grad``, ``X_row`` of each state X, ``decay``, ``Y_`` of each number Y,
    ``width`` and ``grads``, and write ``row`` and ``X_row``. Their own names are ``kind``, ``sums``
    and an x with a number.
    """
    rows = tuple((f"{name}_row", wide) for name, wide in state)
    results = record(function, decay, rows, tuple(f"{name}_" for name in numbers))
    return _Cut(results, rows).body()


class _Cut:
    """The values behind ``results``, each with a name and the loop after which it can be known."""

    def __init__(self, results: tuple[Any, ...], state: tuple[tuple[str, bool], ...]) -> None:
        self._results = dict(zip([("row", True), *state], results, strict=True))
        self._values = _in_order(results)
        self._numbers = {
            value
            for value in self._values
            if not (value.operands or value.wide or (value.what, False) in state)
        }
        self._names = {
            value: value.what if value in self._numbers else f"x{i}"
            for i, value in enumerate(self._values)
        }
        self._levels: dict[Recorded, int] = {}  # how many loops come before it can be known
        for value in self._values:
            before = [self._levels[x] for x in value.operands if isinstance(x, Recorded)]
            self._levels[value] = max(before, default=0) + (value.what in REDUCTIONS)

    def body(self) -> Body:
        lines, most_sums = [], 0
        last = max(self._levels.values())
        for level in range(last):
            sums = [value for value in self._at(level + 1) if value.what in REDUCTIONS]
            lines += self._once_per_row(level) + self._summing(sums)
            most_sums = max(most_sums, len(sums))
        lines += self._once_per_row(last) + self._writing()
        # Zeros past the width, which no loop writes, let a sum run to a multiple of its lanes.
        memory = f"sums = np.zeros(({most_sums}, -(-width // LANES) * LANES), grads.dtype)"
        return Body(["kind = grads.dtype.type", memory], lines)

    def _at(self, level: int) -> list[Recorded]:
        return [value for value in self._values if self._levels[value] == level]

    def _once_per_row(self, level: int) -> list[str]:
        return [
            self._statement(value)
            for value in self._at(level)
            if not (value.wide or value.what in REDUCTIONS or value in self._numbers)
        ]

    def _summing(self, sums: list[Recorded]) -> list[str]:
        writes, after = [], []
        for i, value in enumerate(sums):
            of, total = self._text(value.operands[0]), f"row_sum(sums[{i}])"
            if value.what == "row_mean":
                writes.append(f"sums[{i}, j] = {of}")
                after.append(f"{self._names[value]} = {total} / kind(max(width, 1))")
            else:
                writes.append(f"sums[{i}, j] = {of} * {of}")
                after.append(f"{self._names[value]} = sqrt({total})")
        return self._loop([value.operands[0] for value in sums], writes) + after

    def _writing(self) -> list[str]:
        wide = [(name, x) for (name, is_wide), x in self._results.items() if is_wide]
        narrow = [(name, x) for (name, is_wide), x in self._results.items() if not is_wide]
        writes = [f"{name}[j] = {self._text(x)}" for name, x in wide]
        after = [f"{name}[0] = {self._text(x)}" for name, x in narrow]
        return self._loop([x for _, x in wide], writes) + after

    def _loop(self, of: list[Recorded], writes: list[str]) -> list[str]:
        """A loop over columns: all wide values that ``of`` needs, then ``writes``."""
        needed = set(_in_order(of, only_wide=True))
        steps = [self._statement(value) for value in self._values if value in needed]
        return ["for j in range(width):", *(f"    {line}" for line in steps + writes)]

    def _statement(self, value: Recorded) -> str:
        return f"{self._names[value]} = {self._expression(value)}"

    def _expression(self, value: Recorded) -> str:
        what, operands = value.what, [self._text(x) for x in value.operands]
        if not operands:  # an element of the row, or the row's number
            return f"{what}[{'j' if value.wide else 0}]"
        if what == "negative":
            return f"-{operands[0]}"
        if what == "**" and isinstance(value.operands[1], int):
            operands[1] = repr(value.operands[1])  # squares are products, not powers
        if what in ARITHMETIC or what in COMPARISONS:
            return f"{operands[0]} {what} {operands[1]}"
        return f"{what}({', '.join(operands)})"

    def _text(self, value: Recorded | float) -> str:
        # A plain number must not widen float32, in the kernel as little as in NumPy.
        return self._names[value] if isinstance(value, Recorded) else f"kind({value!r})"


def _in_order(results: Iterable[Any], only_wide: bool = False) -> list[Recorded]:
    """Every value that ``results`` are made of, once, each after its operands."""
    found: dict[Recorded, None] = {}

    def visit(value: Any) -> None:
        if isinstance(value, Recorded) and value not in found and (value.wide or not only_wide):
            for operand in value.operands:
                visit(operand)
            found[value] = None

    for result in results:
        visit(result)
    return list(found)
