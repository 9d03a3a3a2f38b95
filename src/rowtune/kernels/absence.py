"""What absent rows owe, paid in one pass: a closed form for a row, however long it was away.

For each row the product of the course's matrices over the steps that it missed is taken from the
tree of the ledger; the payment's own function is then inlined for each element. Elements that it
leaves in doubt are stepped by the rule itself.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.kernels.fused import OPERATIONS, step_of_element
from rowtune.kernels.payment import source_of
from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.threads import for_each_chunk
from rowtune.ledger import level_start
from rowtune.rules import Rule, bind
from rowtune.rules.absent import Absent

_BYTES_PER_CHUNK = 1 << 21
_ROWS_AHEAD = 8  # how far in front of its use a row is asked for


_level_start = numba.njit(level_start)


@numba.njit(nogil=True)
def range_product(nodes: Any, capacity: int, begin: int, end: int, out: Any) -> None:
    """``out`` (M, 4) = the product of the matrices of steps begin to end, the last one leftmost.

    ``nodes`` (2 * capacity, M, 4) holds the steps first, then the products of pairs, of fours, ...
    """
    for m in range(out.shape[0]):
        out[m, 0], out[m, 1], out[m, 2], out[m, 3] = 1.0, 0.0, 0.0, 1.0
    at = begin
    while at < end:
        level = 0
        while (at >> level) & 1 == 0 and at + (2 << level) <= end:
            level += 1
        node = nodes[_level_start(capacity, level) + (at >> level)]
        for m in range(out.shape[0]):
            a, b, c, d = out[m, 0], out[m, 1], out[m, 2], out[m, 3]
            out[m, 0] = node[m, 0] * a + node[m, 1] * c
            out[m, 1] = node[m, 0] * b + node[m, 1] * d
            out[m, 2] = node[m, 2] * a + node[m, 3] * c
            out[m, 3] = node[m, 2] * b + node[m, 3] * d
        at += 1 << level


def products(
    nodes: NDArray[np.float64], since: NDArray[np.int32], first: int, now: int
) -> NDArray[np.float64]:
    """The products (u, M, 4) over the steps from ``since`` (u,) to ``now``; see `pay`."""
    found = np.empty((len(since), *nodes.shape[1:]))
    for i, start in enumerate(since.tolist()):
        range_product(nodes, len(nodes) // 2, start - first, now - first, found[i])
    return found


def pay(
    rule: Rule,
    absent: Absent,
    decay: str,
    block: NDArray[Any],
    state: tuple[NDArray[Any], ...],
    steps: NDArray[np.int32],
    slots: NDArray[np.int32],
    nodes: NDArray[np.float64],
    first: int,
    now: int,
    history: NDArray[Any],
    clock: NDArray[Any],
    numbers: NDArray[Any],
) -> None:
    """Bring the rows ``slots`` (unique) to step ``now``, in place.

    Parameters
    ----------
    steps : int32 array (k,)
        The step at which each row is; set to ``now``.
    nodes : float64 (2 * capacity, M, 4), of the steps ``first + 1`` and later
    history : array (n, c) in the state's dtype
        The decay's number and the rule's constants, for each of these steps.
    clock : as in `kernel_of`, by the optimizer's steps
    numbers : array in the state's dtype
        The hyper-parameters of payment and doubt, then the doubt's limit, then its longest.
    """
    kernel = _compiled(rule, absent, decay)
    row_bytes = 2 * sum(array[:1].nbytes for array in (block, *state))
    rows_per_chunk = max(1, _BYTES_PER_CHUNK // max(1, row_bytes))

    def work(chunk: int) -> None:
        begin = chunk * rows_per_chunk
        end = min(begin + rows_per_chunk, len(slots))
        kernel(
            block, steps, slots, nodes, first, now, history, clock, numbers, begin, end, *state
        )  # fmt: skip

    for_each_chunk(work, -(-len(slots) // rows_per_chunk))


@numba.njit
def _itself(x: Any) -> Any:
    return x


@cache
def _compiled(rule: Rule, absent: Absent, decay: str) -> Any:
    names: dict[str, Any] = {
        "np": np,
        "AHEAD": _ROWS_AHEAD,
        "prefetch_row": prefetch_row,
        "range_product": range_product,
        "pay": numba.njit(bind(absent.pay, OPERATIONS)),
    }
    if absent.doubt is not None:
        names["doubt"] = numba.njit(bind(absent.doubt, OPERATIONS))
        # Of gradients that are all zero the mean is each of them.
        names["step"] = step_of_element(rule.function, decay, row_mean=_itself)
    source = source_of(rule, absent)
    exec(compile(source, f"<payment of {rule.name}>", "exec"), names)
    return numba.njit(nogil=True, error_model="numpy")(names["kernel"])
