"""Sums and means over bags of rows whose base is in fewer bits: widened as they are added up."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rowtune.kernels.bags import in_bags
from rowtune.kernels.halves import bits_of_bfloat16, bits_of_float16
from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.widening import ask_bits, ask_scaled

_ROWS_AHEAD = 8  # how far in front of its use a row is asked for


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
    kernel = _sum_scaled
    if scales is None:
        kernel = _sum_float16 if are_halves else _sum_bfloat16
    bags = bounds, weights, padding, mean, out

    def work(begin: int, end: int) -> None:
        kernel(codes, scales, block, ids, slots, *bags, begin, end)

    in_bags(work, len(ids), len(out), block[:1].nbytes)


@numba.njit(nogil=True)
def _add_scaled(codes: Any, scales: Any, row: int, weight: Any, total: Any) -> None:
    scale = scales[row]
    for j in range(total.shape[0]):
        total[j] += weight * (np.float32(codes[row, j]) * scale)


@numba.njit(nogil=True)
def _add_float16(codes: Any, nothing: Any, row: int, weight: Any, total: Any) -> None:  # noqa: ARG001
    for j in range(total.shape[0]):
        total[j] += weight * np.uint32(bits_of_float16(codes[row, j])).view(np.float32)


@numba.njit(nogil=True)
def _add_bfloat16(codes: Any, nothing: Any, row: int, weight: Any, total: Any) -> None:  # noqa: ARG001
    for j in range(total.shape[0]):
        total[j] += weight * np.uint32(bits_of_bfloat16(codes[row, j])).view(np.float32)


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
_sum_float16 = _summing(_add_float16, ask_bits)
_sum_bfloat16 = _summing(_add_bfloat16, ask_bits)
