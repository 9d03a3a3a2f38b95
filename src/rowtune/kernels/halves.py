"""Half precision to float32, bit by bit: numba has no arithmetic for either of the two kinds.

A table of all 65,536 answers is a quarter of a megabyte, which the rows that are looked up push out
of the nearest cache; a loop over these lines is done for many elements at once, in half the time.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_SIGN, _REST, _SMALLEST_NORMAL, _INFINITY = (
    np.uint32(bits) for bits in (0x8000, 0x7FFF, 0x0400, 0x7C00)
)
_FRACTION = np.uint32(13)  # bits of fraction that float32 has more
# What is added to the exponent: the difference of the biases, and twice that up to infinity's.
_BIAS, _BIAS_OF_INFINITY = np.uint32(112 << 23), np.uint32(224 << 23)
_SUBNORMAL = np.float32(2.0**-24)  # the value of the lowest bit of a subnormal number
# NumPy asks the processor where it can, and processors make a signalling NaN quiet.
_SIGNALLING = np.full(1, 0x7C01, np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
_QUIET = _SIGNALLING[0] & np.uint32(1 << 22)


@numba.njit(nogil=True)
def bits_of_float16(code: Any) -> Any:
    """The bits of the float32 that NumPy makes of a float16, given as its bits (uint16)."""
    rest = np.uint32(code) & _REST
    bits = (rest << _FRACTION) + _BIAS
    if rest < _SMALLEST_NORMAL:
        # Through a whole number: where a process flushes subnormal numbers, this is none.
        bits = np.float32(np.float32(np.int32(rest)) * _SUBNORMAL).view(np.uint32)
    elif rest >= _INFINITY:
        bits = (rest << _FRACTION) + _BIAS_OF_INFINITY
        if rest > _INFINITY:
            bits |= _QUIET
    return bits | ((np.uint32(code) & _SIGN) << np.uint32(16))


@numba.njit(nogil=True)
def bits_of_bfloat16(code: Any) -> Any:
    """A bfloat16 is the upper half of a float32."""
    return np.uint32(code) << np.uint32(16)
