"""Letting go of what was read of a mapped file, so that a long one does not fill the memory."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def map_behind(array: Any) -> mmap.mmap | None:
    """The map that an array is a view of, through however many others; None where there is none."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) else None


def forget(array: NDArray[Any]) -> None:
    """Let go of all pages of the map behind ``array``; what is read again comes from the file.

    The system would do so itself before memory runs out. Until then the process looks, and is
    accounted for, as large as the file. Arrays that are no maps stay as they are.
    """
    mapped = map_behind(array)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):  # which Windows has not
        mapped.madvise(mmap.MADV_DONTNEED)
