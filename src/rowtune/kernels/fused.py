"""A rule compiled into one pass over the touched rows: sum duplicates, take, rule, put.

The rule's own function is inlined by numba for one element at a time, or for rules that look at
whole rows cut at their means and norms (`rowtune.kernels.rowwise`); nothing is written a second
time for speed. Weights, state and step count of a row are read and written once, in id order.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numba
import numpy as np

from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.row_sum import LANES, row_sum
from rowtune.kernels.rowwise import Body, body_of
from rowtune.kernels.sums import SEGMENT, prefetch_ahead, sum_positions
from rowtune.rules import Rule, bind
from rowtune.rules.decay import with_decay
from rowtune.rules.lr_scale import own_decay

_ROWS_AHEAD = 8  # how far in front of its use a row is asked for


@numba.njit
def _where(condition: Any, yes: Any, no: Any) -> Any:
    return yes if condition else no


OPERATIONS = {
    "sqrt": math.sqrt,
    "abs": abs,
    "sign": np.sign,
    "maximum": np.maximum,
    "where": _where,
}
_HELP = {
    "np": np,
    "AHEAD": _ROWS_AHEAD,
    "LANES": LANES,
    "SEGMENT": SEGMENT,
    "prefetch_ahead": prefetch_ahead,
    "prefetch_row": prefetch_row,
    "row_sum": row_sum,
    "sum_positions": sum_positions,
}


def kernel_of(rule: Rule, decay: str, scaled: bool = False) -> Any:
    """The compiled pass of a rule with ``decay`` "none", "coupled" or "decoupled".

    ``kernel(block, steps, unique, starts, order, grads, long_sums, clock, numbers, begin, end,
    *state)`` moves the rows ``unique[begin:end]`` in place:

    * block : float array of k x D, C-contiguous; state : arrays of k x D, or of k x 1
      where it is one number per row, in the state's dtype
    * steps : int32 array of k, raised by one for each row
    * unique, starts, order : the groups, from `rowtune.kernels.grouping.group`
    * grads : array of n x D in the state's dtype; long_sums : `sum_long_groups` of them
    * clock : array of T x c: the clock's numbers for each step count below T; the last row serves
      all later ones
    * numbers : array: the decay's number, then the rule's others in the order of its parameters

    Where ``scaled``, an array of k comes before the state: see `rowtune.rules.lr_scale`.
    """
    state = tuple((name, name not in rule.per_row) for name in rule.state)
    names = rule.clock_names, rule.number_names
    return _compiled(rule.function, state, *names, decay, rule.is_elementwise, scaled)


@cache
def _compiled(
    function: Any,
    state: tuple[tuple[str, bool], ...],
    clock_names: tuple[str, ...],
    number_names: tuple[str, ...],
    decay: str,
    is_elementwise: bool,
    scaled: bool,
) -> Any:
    """numba compiles the pass once for each combination of dtypes; hyper-parameters are data."""
    if is_elementwise:
        step = step_of_element(function, decay)
        names, body = {**_HELP, "step": step}, _step_each_element(state, number_names)
    else:
        names, body = {**_HELP, **OPERATIONS}, body_of(function, decay, state, number_names)
    if scaled:
        names, body = {**names, "own_decay": numba.njit(own_decay)}, _at_own_rates(body, decay)
    source = _source([name for name, _ in state], clock_names, number_names, body, scaled)
    exec(compile(source, f"<kernel of {function.__name__}>", "exec"), names)
    # No fast-math: NaN, infinity and signed zero keep their meaning, and sums their order.
    return numba.njit(nogil=True, error_model="numpy")(names["kernel"])


def step_of_element(function: Any, decay: str, **more: Any) -> Any:
    """A rule's own function for one element, compiled, with its weight decay around it.

    ``more`` operations by name are for a rule that has some which one element cannot take.
    """
    return numba.njit(with_decay(numba.njit(bind(function, {**OPERATIONS, **more})), decay))


def _step_each_element(state: tuple[tuple[str, bool], ...], numbers: tuple[str, ...]) -> Body:
    targets = ["row[j]", *(f"{name}_row[j]" for name, _ in state)]
    arguments = ["row[j]", "grad[j]", "decay", *targets[1:], *(f"{name}_" for name in numbers)]
    call = f"    {', '.join(targets)} = step({', '.join(arguments)})"
    return Body([], ["for j in range(width):", call])


def _at_own_rates(body: Body, decay: str) -> Body:
    """The body for rows with a scale of their learning rate: see `rowtune.rules.lr_scale`."""
    before = ["one = grads.dtype.type(1)", "shared_lr, shared_decay = lr_, decay"]
    before += ["still = np.empty(width, block.dtype)"]
    lines = ["scale = lr_scale[slot]", "lr_ = scale * shared_lr"]
    if decay == "decoupled":
        lines += ["decay = own_decay(shared_decay, scale, one)"]
    hold = "if scale == 0:"
    return Body(
        [*body.before, *before],
        [*lines, hold, "    still[:] = row", *body.lines, hold, "    row[:] = still"],
    )


_PASS = """
def kernel(
    block, steps, unique, starts, order, grads, long_sums, clock, numbers, begin, end{state}
):
    width = block.shape[1]
    own = np.empty(width, grads.dtype)
    decay = numbers[0]
    {numbers}
    {before}
    passed = 0  # long groups before this chunk
    if long_sums.shape[0] > 0:
        for i in range(begin):
            passed += starts[i + 1] - starts[i] > SEGMENT
    for i in range(begin, end):
        soon = i + AHEAD
        if soon < end:
            ahead = np.int64(unique[soon])
            prefetch_row(steps, ahead)
            prefetch_row(block, ahead)
            {prefetches}
        size = starts[i + 1] - starts[i]
        if size == 1:
            prefetch_ahead(grads, order, starts[i])
            grad = grads[order[starts[i]]]
        elif size <= SEGMENT:
            sum_positions(grads, order, starts[i], starts[i + 1], own)
            grad = own
        else:
            grad = long_sums[passed]
            passed += 1
        slot = np.int64(unique[i])
        steps[slot] += 1
        t = min(steps[slot], clock.shape[0] - 1)  # past its end a clock stands still
        {clock}
        row = block[slot]
        {rows}
        {body}
"""


def _source(
    state: list[str], clock: tuple[str, ...], numbers: tuple[str, ...], body: Body, scaled: bool
) -> str:
    """The pass as text: rules differ in how many arrays and numbers they take, and in the body."""
    constant = [name for name in numbers if name not in clock]
    return _PASS.format(
        state=", lr_scale" * scaled + "".join(f", {name}_block" for name in state),
        before=lines_at(4, body.before),
        numbers=lines_at(4, [f"{name}_ = numbers[{i + 1}]" for i, name in enumerate(constant)]),
        prefetches=lines_at(12, [f"prefetch_row({name}_block, ahead)" for name in state]),
        clock=lines_at(8, [f"{name}_ = clock[t, {i}]" for i, name in enumerate(clock)]),
        rows=lines_at(8, [f"{name}_row = {name}_block[slot]" for name in state]),
        body=lines_at(8, body.lines),
    )


def lines_at(indent: int, lines: list[str]) -> str:
    """Lines of a kernel's text, for a place at that depth."""
    return ("\n" + " " * indent).join(lines) or "pass"
