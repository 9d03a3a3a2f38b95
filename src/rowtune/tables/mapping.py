"""Read-only maps of files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError
from rowtune.tables.mapped_pages import expect_scattered_reads
from rowtune.tables.npy_file import unaligned
from rowtune.tables.tensorfile import DTYPES, Place, damaged

# bfloat16 as its bits: NumPy has no such dtype.
_READ_AS = {**DTYPES, "BF16": "<u2"}


def map_file(file: str) -> NDArray[np.uint8]:
    """All bytes of a file that is not empty."""
    return np.memmap(file, np.uint8, "r")


def map_place(file: str, key: str, place: Place) -> NDArray[Any]:
    """A tensor of a safetensors file, mapped.

    Raises
    ------
    FormatError
        It begins at an odd place, or has a shape that no array can have.
    """
    dtype = np.dtype(_READ_AS[place.code])
    if place.nbytes == 0:  # there is nothing to map
        try:
            return np.empty(place.shape, dtype)
        except ValueError:  # lengths whose product is beyond 64 bits, but for a 0
            raise damaged(file, f"tensor {key!r} has shape {place.shape}") from None
    if place.start % dtype.itemsize:
        raise FormatError(unaligned(f"{file}: {key}", place.start, dtype))
    array: NDArray[Any] = map_file(file)[place.start : place.start + place.nbytes]
    array = array.view(dtype).reshape(place.shape)
    expect_scattered_reads(array)
    return array
