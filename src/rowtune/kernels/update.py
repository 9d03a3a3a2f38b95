"""One update on the CPU: look for NaN, group, sum, and move the touched rows."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.finite import refuse_non_finite
from rowtune.kernels.fused import kernel_of
from rowtune.kernels.grouping import Groups, group, group_unique
from rowtune.kernels.norms import shorten_rows
from rowtune.kernels.reach import reach
from rowtune.kernels.sums import SEGMENT, all_finite, finite_check, sum_long_groups
from rowtune.kernels.threads import for_each_chunk
from rowtune.rules import Rule
from rowtune.signals import returned
from rowtune.step import Trained

# Large beside the price of handing a chunk to a thread, small enough to share evenly.
_BYTES_PER_CHUNK = 1 << 22
_BYTES_PER_CHECK = 1 << 21
_BLOCK_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def can_compile(block: NDArray[Any]) -> bool:
    """numba has no arithmetic for half precision on the CPU; `rowtune.step` serves those blocks."""
    return block.dtype in _BLOCK_DTYPES and bool(block.flags.c_contiguous)


def move_groups(
    rule: Rule,
    decay: str,
    trained: Trained,
    groups: Groups,
    grads: NDArray[Any],
    clock: NDArray[Any],
    numbers: NDArray[Any],
) -> None:
    """Move the rows of ``groups`` by ``rule``, in place; see `kernel_of` for the arrays."""
    if groups.unique.size == 0:
        return
    long_sums = (
        sum_long_groups(groups.starts, groups.order, grads)
        if groups.longest > SEGMENT
        else grads[:0]
    )
    block, state, steps, lr_scale = trained
    kernel = kernel_of(rule, decay, lr_scale is not None)
    scale = () if lr_scale is None else (lr_scale,)
    # The step count of a row is one more place to reach.
    moved = 2 * sum(a[:1].nbytes for a in (block, *state)) + reach(block, *state, steps)
    edges = _chunk_edges(groups, moved, grads[:1].nbytes)

    def work(chunk: int) -> None:
        kernel(
            block, steps, groups.unique, groups.starts, groups.order, grads, long_sums, clock,
            numbers, edges[chunk], edges[chunk + 1], *scale, *state,
        )  # fmt: skip

    for_each_chunk(work, len(edges) - 1)


def shorten(trained: Trained, touched: NDArray[np.int32], max_norm: float) -> None:
    """Scale the rows ``touched`` to ``max_norm`` where they are longer, in place; a row whose
    ``lr_scale`` is 0 stays.
    """
    if trained.lr_scale is not None:
        touched = touched[trained.lr_scale[touched] > 0]
    shorten_rows(trained.block, touched, max_norm)


def check_and_group(
    slots: NDArray[np.int32], grads: NDArray[Any], check_finite: bool, unique: bool = False
) -> Groups:
    """Group a batch by slot, and look for NaN at the same time: one is serial, the other is not.

    Parameters
    ----------
    slots : int32 array of n, -1 where frozen
    grads : array of n x D in the state's dtype, C-contiguous
    unique : bool
        The slots that are not -1 ascend, and none comes twice.

    Raises
    ------
    NonFiniteError
        NaN or infinity in a trainable row's gradient, or a sum over duplicates that overflows.
    """
    sort = group_unique if unique else group
    checked = finite_check(grads, 1 if unique else len(slots))
    # Waking a thread takes longer than a small check, and where nothing is sorted there is no more.
    if grads.nbytes < _BYTES_PER_CHECK * (4 if unique else 0.5):
        if check_finite and not all_finite(slots, checked[0], 0, len(slots), checked[1]):
            refuse_non_finite(slots, grads)
        return sort(slots)
    groups: list[Groups] = []
    rows_per_chunk = max(1, _BYTES_PER_CHECK // grads[:1].nbytes)
    checks = -(-len(slots) // rows_per_chunk) if check_finite else 0
    finite = [True] * checks

    def work(chunk: int) -> None:
        if chunk == 0:
            groups.append(sort(slots))
        else:
            begin = (chunk - 1) * rows_per_chunk
            end = min(begin + rows_per_chunk, len(slots))
            finite[chunk - 1] = all_finite(slots, checked[0], begin, end, checked[1])

    for_each_chunk(work, 1 + checks)
    if not all(finite):
        refuse_non_finite(slots, grads)
    return groups[0]


def _chunk_edges(groups: Groups, row_bytes: int, grad_bytes: int) -> list[int]:
    """Cut the groups into even shares of the bytes to move: those of rows, and of gradients."""
    rows, positions = len(groups.unique), len(groups.order)
    num_chunks = (rows * row_bytes + positions * grad_bytes) // _BYTES_PER_CHUNK
    if num_chunks <= 1:
        return [0, rows]
    edges = returned(_even_edges, groups.starts, row_bytes, grad_bytes, num_chunks)
    cut: list[int] = edges.tolist()
    return cut


@numba.njit(nogil=True)
def _even_edges(starts: Any, row_bytes: int, grad_bytes: int, num_chunks: int) -> Any:
    rows = starts.shape[0] - 1
    share = (rows * row_bytes + starts[rows] * grad_bytes) / num_chunks
    edges = np.full(num_chunks + 1, rows, np.int64)
    edges[0] = 0
    chunk = 1
    for i in range(rows):
        while chunk < num_chunks and i * row_bytes + starts[i] * grad_bytes >= chunk * share:
            edges[chunk] = i
            chunk += 1
    return edges
