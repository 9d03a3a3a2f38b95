"""A base that stays where it is on the host, most often in a memory map: rows are read as they are
looked up.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.base import fingerprint
from rowtune.quantized import Quantized


class OnHost:
    """Rows of a matrix or of a `Quantized` table, by NumPy: the same few verbs for both.

    ``dtype`` is that of rows, where it is not to be the source's.

    Two of them are equal where they are the same object, so that compiled programs that read one
    are found again.

    Attributes
    ----------
    source : N x D array, most often over a memory map, or Quantized
    shape : (N, D)
    dtype : of the rows that it gives, in native byte order
    """

    def __init__(self, source: NDArray[Any] | Quantized, dtype: Any = None) -> None:
        self.source = source
        self.shape: tuple[int, ...] = tuple(int(size) for size in source.shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype or source.dtype.newbyteorder("="))
        self._fingerprint = ""
        for array in _arrays(source):
            # Else the system reads ahead, by megabytes where it is set so, for each row: 4,096 rows
            # of a file that was not in memory have taken half a minute.
            _advise(array, "MADV_RANDOM")

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, ids: Any) -> NDArray[Any]:
        """New rows of ids of any shape, ids.shape + (D,). What is out of range is not read: the
        nearest row is.
        """
        flat = np.clip(np.asarray(ids).reshape(-1), 0, max(0, len(self) - 1))
        if isinstance(self.source, Quantized):
            rows: NDArray[Any] = self.source.rows(flat)
        else:
            rows = np.asarray(self.source[flat])
        rows = rows.astype(self.dtype, copy=False)
        return rows.reshape(*np.shape(ids), self.shape[1])

    def whole(self) -> NDArray[Any]:
        """All of it in memory: N x D, as new as `rows`."""
        with in_order(self.source):
            if isinstance(self.source, Quantized):
                return self.source.rows(slice(None)).astype(self.dtype, copy=False)
            return np.array(self.source, self.dtype)

    def fingerprint(self) -> str:
        """That of `rowtune.base.fingerprint`; of a quantized table that of its codes and scales.
        All of the table is read, once.
        """
        if not self._fingerprint:
            with in_order(self.source):
                self._fingerprint = _fingerprint(self.source)
        return self._fingerprint


def map_behind(array: NDArray[Any]) -> mmap.mmap | None:
    """The memory map whose pages an array's are; None where it has memory of its own."""
    owner: Any = array
    while owner is not None:
        if isinstance(owner, mmap.mmap):
            return owner
        if isinstance(owner, memoryview):
            owner = owner.obj
        else:
            owner = getattr(owner, "_mmap", None) or getattr(owner, "base", None)
    return None


def is_mapped(source: Any) -> bool:
    """Whether a matrix, or what a quantized table is made of, is in a memory map."""
    return any(map_behind(array) is not None for array in _arrays(source))


@contextmanager
def in_order(source: Any) -> Iterator[None]:
    """While all of a map is read, from the first row to the last: the system reads ahead again."""
    arrays = _arrays(source)
    for array in arrays:
        _advise(array, "MADV_NORMAL")
    try:
        yield
    finally:
        for array in arrays:
            _advise(array, "MADV_RANDOM")


def _arrays(source: Any) -> list[NDArray[Any]]:
    if not isinstance(source, Quantized):
        return [source] if isinstance(source, np.ndarray) else []
    return [source.codes] if source.scales is None else [source.codes, source.scales]


def _advise(array: NDArray[Any], advice: str) -> None:
    mapped = map_behind(array)
    if mapped is not None and hasattr(mmap, advice):  # which Windows has not
        mapped.madvise(getattr(mmap, advice))


def _fingerprint(source: NDArray[Any] | Quantized) -> str:
    if isinstance(source, Quantized):
        codes = fingerprint(source.codes, dtype_name=source.kind)
        return codes if source.scales is None else codes + fingerprint(source.scales[:, None])
    if source.dtype.name == "bfloat16":  # of a package beside NumPy
        return fingerprint(source.view(np.uint16), dtype_name="bfloat16")
    return fingerprint(source)
