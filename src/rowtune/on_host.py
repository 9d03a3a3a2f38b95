"""A base that stays where it is on the host, most often in a memory map: rows are read as they are
looked up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.base import fingerprint
from rowtune.quantized import Quantized
from rowtune.tables.mapped_pages import expect_scattered_reads, in_order, map_behind


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
            expect_scattered_reads(array)

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
        with in_order(_arrays(self.source)[0]):
            if isinstance(self.source, Quantized):
                return self.source.rows(slice(None)).astype(self.dtype, copy=False)
            return np.array(self.source, self.dtype)

    def fingerprint(self) -> str:
        """That of `rowtune.base.fingerprint`; of a quantized table that of its codes and scales.
        All of the table is read, once.
        """
        if not self._fingerprint:
            self._fingerprint = _fingerprint(self.source)
        return self._fingerprint


def is_mapped(source: Any) -> bool:
    """Whether a matrix, or what a quantized table is made of, is in a memory map."""
    return any(map_behind(array) is not None for array in _arrays(source))


def _arrays(source: Any) -> list[NDArray[Any]]:
    if not isinstance(source, Quantized):
        return [source] if isinstance(source, np.ndarray) else []
    return [source.codes] if source.scales is None else [source.codes, source.scales]


def _fingerprint(source: NDArray[Any] | Quantized) -> str:
    if source.dtype.name == "bfloat16" and not isinstance(source, Quantized):
        return fingerprint(
            source.view(np.uint16), dtype_name="bfloat16"
        )  # of a package beside NumPy
    return fingerprint(source)
