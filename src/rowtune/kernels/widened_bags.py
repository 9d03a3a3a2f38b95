"""Sums and means over bags of rows whose base is in fewer bits: widened as they are added up."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.kernels.bags import in_bags
from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.widening import HALVES, ask_bits, ask_scaled

_ROWS_AHEAD = 8  # how far in front of its use a row is asked for
# The float32 of every float16, and of every bfloat16.
_OF_HALVES: NDArray[np.float32] = HALVES.view(np.float32)
_OF_BFLOATS: NDArray[np.float32] = (np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)).view(
    np.float32
)


def sum_widened_bags(
    codes: NDArray[Any],
    scales: NDArray[np.float32] | None,
    are_halves: bool,
    block: NDArray[np.float32],
    ids: NDArray[Any],
    slots: NDArray[np.int32],
    bounds: NDArray[np.int64],
    weights: NDArray[Any],
    padding: int,
    mean: bool,
    out: NDArray[np.float32],
) -> None:
    """As `rowtune.kernels.bags.sum_bags`, of int8 codes with ``scales``, or of the bits (uint16) of
    float16 or bfloat16.
    """
    kernel, more = _sum_scaled, scales
    if scales is None:
        kernel, more = _sum_listed, _OF_HALVES if are_halves else _OF_BFLOATS
    bags = bounds, weights, padding, mean, out

    def work(begin: int, end: int) -> None:
        kernel(codes, more, block, ids, slots, *bags, begin, end)

    in_bags(work, len(ids), len(out), block[:1].nbytes)


@numba.njit(nogil=True)
def _add_scaled(codes: Any, scales: Any, row: int, weight: Any, total: Any) -> None:
    scale = scales[row]
    for j in range(total.shape[0]):
        total[j] += weight * (np.float32(codes[row, j]) * scale)


@numba.njit(nogil=True)
def _add_listed(codes: Any, values: Any, row: int, weight: Any, total: Any) -> None:
    for j in range(total.shape[0]):
        total[j] += weight * values[codes[row, j]]


def _summing(add: Any, ask: Any) -> Any:
    """The loop over the bags, around one way of widening: see `gather.taking`."""

    @numba.njit(nogil=True)
    def sum_bags(
        codes: Any,
        more: Any,
        block: Any,
        ids: Any,
        slots: Any,
        bounds: Any,
        weights: Any,
        padding: int,
        mean: bool,
        out: Any,
        begin: int,
        end: int,
    ) -> None:
        width, last = out.shape[1], bounds[end]
        weighted = weights.shape[0] > 0
        total = np.empty(width, out.dtype)
        for b in range(begin, end):
            total[:] = 0
            counted = 0
            for p in range(bounds[b], bounds[b + 1]):
                soon = p + _ROWS_AHEAD
                if soon < last:
                    if slots[soon] >= 0:
                        prefetch_row(block, np.int64(slots[soon]))
                    else:
                        ask(codes, more, np.int64(ids[soon]))
                if ids[p] == padding:
                    continue
                counted += 1
                weight = weights[p] if weighted else out.dtype.type(1)
                if slots[p] >= 0:
                    for j in range(width):
                        total[j] += weight * block[slots[p], j]
                else:
                    add(codes, more, np.int64(ids[p]), weight, total)
            share = out.dtype.type(counted if mean and counted > 1 else 1)
            for j in range(width):
                out[b, j] = total[j] / share

    return sum_bags


_sum_scaled = _summing(_add_scaled, ask_scaled)
_sum_listed = _summing(_add_listed, ask_bits)
