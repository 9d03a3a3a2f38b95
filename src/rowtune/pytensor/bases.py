"""The base in shared variables: a matrix, or codes that the graph widens as they are looked up."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.typing import ArrayLike, NDArray
from pytensor import shared
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable

from rowtune.base import as_base
from rowtune.on_host import OnHost
from rowtune.quantized import Quantized, widened

Share = Callable[[str, NDArray[Any]], SharedVariable]


class Base:
    """The matrix that a table was given, not copied.

    PyTensor's compilers know no float16 and no bfloat16, so half precision is integers to them,
    which are read off a list of all 65,536 numbers that there are.

    Attributes
    ----------
    dtype : of its rows, and so of the block: float32 where the matrix has fewer bits
    shape : (N, D)
    """

    def __init__(self, matrix: ArrayLike | Quantized) -> None:
        given = matrix if isinstance(matrix, Quantized) else as_base(matrix)
        if not isinstance(given, Quantized) and given.dtype.itemsize < 4:
            given = Quantized(np.require(given, dtype=np.float16))
        if isinstance(given, Quantized):
            self._kept: Any = given
        else:
            # Aligned and in native order; a memory map in an array's clothes stays one.
            native = given.dtype.newbyteorder("=")
            self._kept = np.asarray(np.require(given, dtype=native, requirements=["A"]))
        self._on_host = OnHost(self._kept)
        self.shape: tuple[int, int] = given.shape
        self.dtype: np.dtype[Any] = self._kept.dtype
        self._scales: SharedVariable | None = None

    def rows(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """Rows (n, D) of known ids, new."""
        return self._on_host.rows(ids)

    def whole(self) -> NDArray[Any]:
        """The matrix (N, D), new, in ``dtype``."""
        return self._on_host.whole()

    def share(self, share: Share) -> SharedVariable:
        """The shared variable that a lookup reads: the matrix, or its codes."""
        if not isinstance(self._kept, Quantized):
            return share("base", self._kept)
        if self._kept.scales is not None:
            self._scales = share("scales", self._kept.scales)
        codes = self._kept.codes
        return share("base", codes if self._kept.kind == "int8" else codes.view(np.uint16))

    def lookup(self, shared_base: SharedVariable, ids: TensorVariable) -> TensorVariable:
        """Rows (n, D) of ids (n,) in ``dtype``."""
        rows = shared_base[ids]
        if not isinstance(self._kept, Quantized):
            return rows
        if self._scales is not None:
            return pt.cast(rows, "float32") * self._scales[ids][:, None]
        numbers = _all_numbers(self._kept.kind)
        return numbers[pt.cast(rows, "int64").ravel()].reshape((-1, self.shape[1]))


@cache
def _all_numbers(kind: str) -> SharedVariable:
    """The float32 number for each of the 65,536 codes of half precision."""
    codes = np.arange(1 << 16, dtype=np.uint16)
    if kind == "float16":
        codes = codes.view(np.float16)
    return shared(widened(codes[:, None])[:, 0], name=f"all of {kind}", borrow=True)
