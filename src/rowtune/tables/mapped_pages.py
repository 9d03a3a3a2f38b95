"""Mapped files in memory: how they are read, letting go of it, and copying none by accident."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError

LARGE_FILE = 1 << 30  # bytes, of which nobody expects a copy in a checkpoint or a pickle
_SOON_READ = 1 << 26  # bytes that are read whole as quickly as some of their rows are


def map_behind(array: Any) -> mmap.mmap | None:
    """The map that an array is a view of, through however many others; None where there is none."""
    while isinstance(array, np.ndarray | memoryview):
        array = array.obj if isinstance(array, memoryview) else array.base
    return array if isinstance(array, mmap.mmap) else None


def is_large_file(array: Any) -> bool:
    """Whether an array is in a mapped file so large that nobody expects a copy of it."""
    return map_behind(array) is not None and array.nbytes > LARGE_FILE


def refuse_pickle(array: Any) -> None:
    """Raise `FormatError` where a pickle, or another process, would get a copy of a large file."""
    if is_large_file(array):
        raise FormatError(
            f"a pickle would hold a copy of the mapped file, {array.nbytes / 1e9:.1f} GB; open it "
            "where it is needed: rowtune.open_table(path), and take the rows from a patch"
        )


def forget(array: NDArray[Any]) -> None:
    """Let go of all pages of the map behind ``array``; what is read again comes from the file.

    The system would do so itself before memory runs out. Until then the process looks, and is
    accounted for, as large as the file. Arrays that are no maps stay as they are, and so do maps
    that can be written: what stands in one of mode "c", or of no file, is in those pages alone.
    """
    mapped = map_behind(array)
    if mapped is None or not hasattr(mmap, "MADV_DONTNEED"):  # which Windows has not
        return
    with memoryview(mapped) as pages:
        can_be_written = not pages.readonly
    if not can_be_written:
        mapped.madvise(mmap.MADV_DONTNEED)


def expect_scattered_reads(array: Any) -> None:
    """Keep the system from reading ahead for each row of a file, by megabytes where it is set so:
    4,096 rows of 20 GB that were not in memory have taken half a minute. A small file is soon read
    whole, and that is quicker.
    """
    _advise(array, "MADV_RANDOM")


@contextmanager
def in_order(array: Any) -> Iterator[None]:
    """While all of a map is read, from the first row to the last: the system reads ahead again."""
    _advise(array, "MADV_NORMAL")
    try:
        yield
    finally:
        _advise(array, "MADV_RANDOM")


def _advise(array: Any, advice: str) -> None:
    mapped = map_behind(array)
    if mapped is None or not hasattr(mmap, advice):  # Windows has none
        return
    if len(mapped) > _SOON_READ:
        mapped.madvise(getattr(mmap, advice))
