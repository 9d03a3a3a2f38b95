"""Moving rows in PyTensor's Numba mode: the kernel of the NumPy engine, inside the user's function.

Nothing but the batch's ids is sorted, and no matrix is made: gradients are read, and the touched
rows and what is remembered of them are read and written.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply
from pytensor.link.numba.cache import compile_numba_function_src
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_and_cache_key

from rowtune import kernels, rules
from rowtune.kernels.fused import kernel_of
from rowtune.kernels.grouping import group_slots
from rowtune.kernels.sums import SEGMENT, join_segments, segments_of, sum_segments
from rowtune.pytensor.move_rows import MoveRows

_SOURCE = """
def move_rows(block, steps, slots, grads, clock, numbers{state}):
    {copies}
    grads = np.ascontiguousarray(grads)
    unique, starts, order, longest = group(slots)
    long_sums = grads[:0]
    if longest > SEGMENT:
        edges, firsts = segments_of(starts)
        segments = np.empty((edges.shape[0], grads.shape[1]), grads.dtype)
        sum_segments(grads, order, edges, segments, 0, edges.shape[0])
        long_sums = join(segments, firsts)
    kernel(
        block, steps, unique, starts, order, grads, long_sums, clock, numbers,
        0, unique.shape[0]{state}
    )
    return block, steps{state}
"""


@register_funcify_and_cache_key(MoveRows)
def _compiled(op: MoveRows, node: Apply, **_: Any) -> tuple[Any, str]:  # noqa: ARG001
    names = [f"state{i}" for i in range(len(op.rule.state))]
    copies = [] if op.inplace else [f"{x} = {x}.copy()" for x in ("block", "steps", *names)]
    source = _SOURCE.format(
        state="".join(f", {name}" for name in names), copies="; ".join(copies) or "pass"
    )
    known = {
        "np": np,
        "SEGMENT": SEGMENT,
        "group": group_slots,
        "segments_of": segments_of,
        "sum_segments": sum_segments,
        "join": join_segments,
        "kernel": kernel_of(op.rule, op.decay),
    }
    function = compile_numba_function_src(source, "move_rows", known)
    return numba_njit(function, fastmath=False), _key_of(op, source)


def _key_of(op: MoveRows, source: str) -> str:
    """What compiled code of this operation is filed under: all that its meaning depends on."""
    code = op.rule.function.__code__
    rule = (code.co_code, code.co_consts, code.co_names, code.co_varnames, op.rule.number_names)
    clock, per_row = op.rule.clock_names, sorted(op.rule.per_row)
    facts = (rule, clock, per_row, op.decay, source, _kernels_source())
    return sha256(repr(facts).encode()).hexdigest()


@cache
def _kernels_source() -> str:
    """A hash of the sources of kernels and of what they take from the rules' form."""
    digest = sha256()
    for package in (kernels, rules):
        for path in sorted(Path(str(package.__file__)).parent.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
