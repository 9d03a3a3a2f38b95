"""The text of the pass that pays for absences: rules differ in state, numbers and doubts."""

from __future__ import annotations

from rowtune.kernels.fused import lines_at
from rowtune.rules import Rule
from rowtune.rules.absent import Absent, doubt_names, pay_names

_PASS = """
def kernel(block, steps, slots, nodes, first, now, history, clock, numbers, begin, end{state}):
    kind = numbers.dtype.type
    width = block.shape[1]
    capacity = nodes.shape[0] // 2
    product = np.empty(nodes.shape[1:])
    rest = np.empty(nodes.shape[1:])
    nothing = kind(0)
    {hyper}
    for i in range(begin, end):
        soon = i + AHEAD
        if soon < end:
            ahead = np.int64(slots[soon])
            prefetch_row(steps, ahead)
            prefetch_row(block, ahead)
            {prefetches}
        slot = np.int64(slots[i])
        since = np.int64(steps[slot])
        if since >= now:
            continue
        range_product(nodes, capacity, since - first, now - first, product)
        {elements}
        row = block[slot]
        {rows}
        {body}
        steps[slot] = now
"""

_PLAIN = """for j in range(width):
    {targets} = pay({arguments})"""

_WITH_DOUBTS = """doubts = 0
for j in range(width):
    doubts += doubt({doubt})
if doubts == 0:
    for j in range(width):
        {targets} = pay({arguments})
else:
    last = min(now, since + longest)
    range_product(nodes, capacity, last - first, now - first, rest)
    {rest}
    for j in range(width):
        if not doubt({doubt}):
            {targets} = pay({arguments})
            continue
        {locals} = {own}
        for u in range(since, last):
            t = min(u + 1, clock.shape[0] - 1)
            {locals} = step(x, nothing, history[u - first, 0], {step})
        {targets} = pay({after})
        row[j] = pay({without})[0]"""


def source_of(rule: Rule, absent: Absent) -> str:
    """See `rowtune.kernels.absence.pay`; the kernel is called ``kernel`` there."""
    names = _Names(rule, absent)
    if absent.doubt is None:
        body = _PLAIN.format(targets=names.targets(), arguments=names.call("row[j]", names.own))
    else:
        body = _with_doubts(rule, absent, names)
    if rule.per_row:
        body += f"\n{names.narrow_targets()} = pay({names.call('nothing', names.narrow_state())})"
    hyper = [f"{name}_ = numbers[{i}]" for i, name in enumerate(names.hyper)]
    last = len(names.hyper)
    hyper += [f"limit_ = numbers[{last}]", f"longest = np.int64(numbers[{last + 1}])"]
    return _PASS.format(
        state="".join(f", {name}_block" for name in rule.state),
        hyper=lines_at(4, hyper),
        prefetches=lines_at(12, [f"prefetch_row({name}_block, ahead)" for name in rule.state]),
        elements=lines_at(8, names.elements("", "product")),
        rows=lines_at(8, [f"{name}_row = {name}_block[slot]" for name in rule.state]),
        body=lines_at(8, body.splitlines()),
    )


class _Names:
    """How a rule's arrays and numbers are called in the text."""

    def __init__(self, rule: Rule, absent: Absent) -> None:
        self._rule, self._numbers = rule, pay_names(rule, absent)
        self._places = {n: divmod(i, 4) for i, n in enumerate(absent.names) if n != "_"}
        self.hyper = [name for name in self._numbers if name not in self._places]
        self.own = [f"{name}_row[{0 if name in rule.per_row else 'j'}]" for name in rule.state]

    def targets(self) -> str:
        """What a payment of one element writes; one number per row is written once, after it."""
        wide = [
            "_" if name in self._rule.per_row else own
            for name, own in zip(self._rule.state, self.own, strict=True)
        ]
        return ", ".join(["row[j]", *wide])

    def narrow_targets(self) -> str:
        return ", ".join(["_", *(x if x != "nothing" else "_" for x in self.narrow_state())])

    def narrow_state(self) -> list[str]:
        return [
            own if name in self._rule.per_row else "nothing"
            for name, own in zip(self._rule.state, self.own, strict=True)
        ]

    def call(self, row: str, state: list[str], prefix: str = "") -> str:
        """Arguments of a payment, with elements of the product that ``prefix`` names."""
        given = [f"{'' if name in self.hyper else prefix}{name}_" for name in self._numbers]
        return ", ".join([row, *state, *given])

    def elements(self, prefix: str, product: str) -> list[str]:
        """Lines that give the elements of a product their names."""
        return [
            f"{prefix}{name}_ = kind({product}[{m}, {e}])" for name, (m, e) in self._places.items()
        ]


def _with_doubts(rule: Rule, absent: Absent, names: _Names) -> str:
    local = [f"x_{name}" for name in rule.state]
    constants = [name for name in rule.number_names if name not in rule.clock_names]
    step = [
        f"clock[t, {rule.clock_names.index(name)}]"
        if name in rule.clock_names
        else f"history[u - first, {1 + constants.index(name)}]"
        for name in rule.number_names
    ]
    return _WITH_DOUBTS.format(
        targets=names.targets(),
        arguments=names.call("row[j]", names.own),
        doubt=", ".join([*names.own, *(f"{name}_" for name in doubt_names(rule, absent))]),
        locals=", ".join(["x", *local]),
        own=", ".join(["row[j]", *names.own]),
        step=", ".join([*local, *step]),
        rest=lines_at(4, names.elements("rest_", "rest")),
        after=names.call("x", local, "rest_"),
        without=names.call("x", ["nothing"] * len(local), "rest_"),
    )
