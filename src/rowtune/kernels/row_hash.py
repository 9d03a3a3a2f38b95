"""A 64-bit hash of every row, over the bytes of several arrays, at the speed of memory.

Multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", 2014, section 3)
with 64-bit words x and 128-bit keys m, drawn at random:

    h(x) = ((m_0 + sum_i m_i x_i) mod 2^128) div 2^64

For any two different rows of one length the odds of the same hash are exactly 2^-64, whatever
stands in them, as long as they were not chosen by somebody who knows the keys. It has no chain
of operations in which one waits for another but the additions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from rowtune.kernels.threads import for_each_chunk

_BYTES_PER_CHUNK = 1 << 20
_WIDE = ir.IntType(128)


class RowHash:
    """A hash of rows, with keys of its own that no other object has.

    Parameters
    ----------
    bytes_per_row : sequence of int
        What one row has in each of the arrays.
    """

    def __init__(self, bytes_per_row: Sequence[int]) -> None:
        self._bytes = tuple(bytes_per_row)
        # As many words as the narrowest unit could need.
        words = 1 + sum(self._bytes)
        keys = np.frombuffer(os.urandom(16 * min(words, 1 << 20)), np.uint64).reshape(-1, 2)
        self._keys = keys if len(keys) == words else _longer(keys, words)

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.uint64]:
        """Hashes (n,) of arrays of n rows each: of their bits, so that -0.0 is not 0.0."""
        count = len(arrays[0])
        hashes = np.empty(count, np.uint64)
        step = max(1, _BYTES_PER_CHUNK // max(1, sum(self._bytes)))

        def work(chunk: int) -> None:
            at = slice(chunk * step, min((chunk + 1) * step, count))
            self._hash([array[at] for array in arrays], hashes[at])

        for_each_chunk(work, -(-count // step))
        return hashes

    def _hash(self, arrays: Sequence[NDArray[Any]], out: NDArray[np.uint64]) -> None:
        low = np.full(len(out), self._keys[0, 0], np.uint64)
        out[:] = self._keys[0, 1]
        first = 1
        for array, width in zip(arrays, self._bytes, strict=True):
            words = _words(array, width)
            _add(words, self._keys[first : first + words.shape[1]], low, out)
            first += words.shape[1]


def _longer(keys: NDArray[np.uint64], words: int) -> NDArray[np.uint64]:
    """Keys for rows of megabytes, from a generator that truly random bits have begun."""
    generator = np.random.Generator(np.random.Philox(keys.reshape(-1)[:4].tolist()))
    more = generator.integers(0, 1 << 64, (words - len(keys), 2), np.uint64, endpoint=False)
    return np.concatenate([keys, more])


def _words(array: NDArray[Any], width: int) -> NDArray[Any]:
    """Rows of ``width`` bytes as unsigned integers, as wide as they can be."""
    array = np.ascontiguousarray(array).reshape(len(array), -1)
    for unit in (8, 4, 2, 1):
        if width % unit == 0 and array.ctypes.data % unit == 0:
            break
    if array.size == 0:
        return np.empty((len(array), 0), np.uint64)
    return array.view(f"u{unit}")


@intrinsic
def _multiply_add(
    typing_context: Any,  # noqa: ARG001
    low: Any, high: Any, key_low: Any, key_high: Any, word: Any,  # noqa: ARG001
) -> Any:  # fmt: skip
    """(low, high) + (key_low, key_high) * word, modulo 2^128."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        by = ir.Constant(_WIDE, 64)

        def wide(of_low: Any, of_high: Any) -> Any:
            shifted = builder.shl(builder.zext(of_high, _WIDE), by)
            return builder.or_(shifted, builder.zext(of_low, _WIDE))

        term = builder.mul(wide(*arguments[2:4]), builder.zext(arguments[4], _WIDE))
        total = builder.add(wide(*arguments[:2]), term)
        half = ir.IntType(64)
        parts = builder.trunc(total, half), builder.trunc(builder.lshr(total, by), half)
        return context.make_tuple(builder, signature.return_type, parts)

    return types.UniTuple(types.uint64, 2)(*[types.uint64] * 5), generate


@numba.njit(nogil=True, error_model="numpy")
def _add(words: Any, keys: Any, low: Any, high: Any) -> None:
    for i in range(words.shape[0]):
        a, b = low[i], high[i]
        for j in range(words.shape[1]):
            a, b = _multiply_add(a, b, keys[j, 0], keys[j, 1], np.uint64(words[i, j]))
        low[i], high[i] = a, b
