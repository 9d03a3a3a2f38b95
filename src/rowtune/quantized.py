"""A base in fewer bits: half precision, or eight bits with a scale for each row.

Only rows that are looked up are widened; the table itself stays as small as it is, in memory or in
a file that is mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rowtune.errors import NonFiniteError, ShapeError

Progress: TypeAlias = Callable[[str, int, int], None]

_CODES: dict[str, type[Any]] = {"int8": np.int8, "float16": np.float16, "bfloat16": np.uint16}
_LARGEST_CODE = 127  # and never -128, so that a row and its negative have the same bits but signs
_LARGEST_SCALE = np.nextafter(np.finfo("f4").max / np.float32(_LARGEST_CODE), np.float32(0))
_PIECE = 1 << 22  # values that are widened at a time: 16 MB


class Quantized:
    """A table of N x D that gives float32 rows and keeps fewer bits: read-only.

    Parameters
    ----------
    codes : N x D array, or read-only memory map
        int8 with ``scales``; float16; or uint16, the upper halves of float32 (bfloat16's bits).
    scales : N floats, or None
        With int8: row i is ``codes[i] * scales[i]``.

    Attributes
    ----------
    kind : "int8", "float16" or "bfloat16"
    dtype : float32, of the rows that it gives

    Raises
    ------
    ShapeError
        Codes that are not a matrix of these dtypes, scales missing or too many.
    """

    dtype: np.dtype[Any] = np.dtype(np.float32)
    ndim = 2

    def __init__(self, codes: NDArray[Any], scales: ArrayLike | None = None) -> None:
        kinds = {np.dtype(dtype): kind for kind, dtype in _CODES.items()}
        if getattr(codes, "ndim", 0) != 2 or codes.dtype not in kinds:
            raise ShapeError(
                f"codes have shape {np.shape(codes)} and dtype {getattr(codes, 'dtype', None)}; "
                "expected a matrix of int8, float16 or uint16 (bfloat16's bits); "
                "rowtune.quantize(weights) makes one"
            )
        self.kind = kinds[codes.dtype]
        if (scales is not None) != (self.kind == "int8"):
            wanted = "needs a scale for each row" if scales is None else "takes no scales"
            raise ShapeError(f"a table of {self.kind} {wanted}")
        self.codes = codes.view()
        self.codes.flags.writeable = False
        self.scales: NDArray[np.float32] | None = None
        if scales is not None:
            own = np.asarray(scales, np.float32).reshape(-1).view()
            if len(own) != len(codes):
                raise ShapeError(f"{len(own)} scales for {len(codes)} rows; expected one for each")
            own.flags.writeable = False
            self.scales = own

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return int(self.codes.shape[0]), int(self.codes.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        return f"Quantized({self.shape[0]} x {self.shape[1]} {self.kind})"

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for array in (self.codes, self.scales):
            if array is not None:
                array.flags.writeable = False  # which a pickle does not remember

    def __deepcopy__(self, memo: dict[int, Any]) -> Quantized:
        return self  # it never changes

    def rows(self, ids: Any) -> NDArray[np.float32]:
        """Rows of ids in range (n,), or of a slice, as new float32 values (n, D)."""
        scales = None if self.scales is None else self.scales[ids]
        return widened(self.codes[ids], scales)


def widened(codes: NDArray[Any], scales: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """float32 rows (n, D) of codes (n, D), with int8 also their scales (n,)."""
    if scales is not None:
        wide: NDArray[np.float32] = codes.astype(np.float32)
        wide *= scales[:, None]
        return wide
    if codes.dtype == np.uint16:
        bits = codes.astype(np.uint32)
        bits <<= np.uint32(16)
        return bits.view(np.float32)
    return codes.astype(np.float32)


def quantize(
    weights: NDArray[Any], kind: str = "int8", *, progress: Progress | None = None
) -> Quantized:
    """``weights`` in fewer bits, in memory: see `rowtune.quantize`, which can also write a file."""
    count, width = np.shape(weights) if np.ndim(weights) == 2 else (0, 0)
    codes = np.empty((count, width), check(weights, kind))
    scales = np.empty(count, np.float32) if kind == "int8" else None
    for piece, some, their_scales in narrowed(weights, kind):
        codes[piece] = some
        if scales is not None:
            scales[piece] = their_scales
        if progress is not None:
            progress("quantize", piece.stop, count)
    return Quantized(codes, scales)


def check(weights: Any, kind: str) -> type[Any]:
    """The dtype of the codes; `ShapeError` for what is no matrix of floats, or an unknown kind."""
    if kind not in _CODES:
        raise ShapeError(f"kind={kind!r} is unknown; expected one of {', '.join(_CODES)}")
    if isinstance(weights, Quantized):
        raise ShapeError(
            f"weights are {weights!r} already; expected a matrix of floats: quantize the table "
            "that it was made of, or weights.rows(slice(None))"
        )
    if getattr(weights, "ndim", 0) != 2 or weights.dtype.kind != "f":
        raise ShapeError(
            f"weights have shape {np.shape(weights)} and dtype {getattr(weights, 'dtype', None)}; "
            "expected a matrix of floats"
        )
    return _CODES[kind]


def narrowed(
    weights: NDArray[Any], kind: str
) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.float32] | None]]:
    """Which rows, their codes and their scales, a piece at a time."""
    count, width = weights.shape
    rows = max(1, _PIECE // max(1, width))
    for start in range(0, count, rows):
        piece = slice(start, min(start + rows, count))
        with np.errstate(over="ignore"):  # what is too large is infinite now, and refused as such
            wide = np.asarray(weights[piece], np.float32)
        if kind != "int8":
            narrow = _NARROWED[kind](wide)
            lost = np.isinf(widened(narrow)) & np.isfinite(weights[piece])
            _refuse(lost.any(axis=1), start, f"holds a number that {_TOO_LARGE[kind]}")
            yield piece, narrow, None
        else:
            yield piece, *_int8(wide, start)


def _int8(wide: NDArray[np.float32], first: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
    largest = np.abs(wide).max(axis=1, initial=0)
    _refuse(~np.isfinite(largest), first, "holds NaN or infinity, which eight bits have not")
    # Capped for rows as large as float32 goes: 127 times the rounded scale would be infinite.
    scales = np.minimum(largest / np.float32(_LARGEST_CODE), _LARGEST_SCALE).astype(np.float32)
    # The smallest floats lose digits when divided; a scale of 0 makes a row of zeros.
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales > np.finfo("f4").tiny)
    scales[inverse == 0] = 0
    codes = np.rint(wide * inverse[:, None])
    return np.clip(codes, -_LARGEST_CODE, _LARGEST_CODE).astype(np.int8), scales


def _float16(wide: NDArray[np.float32]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return wide.astype(np.float16)


def _bfloat16(wide: NDArray[np.float32]) -> NDArray[Any]:
    bits = np.ascontiguousarray(wide).view(np.uint32)
    # To nearest, ties to even, in integers; NaN keeps the upper half of its payload and stays NaN.
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    nan = (bits >> np.uint32(16)) | np.uint32(0x40)
    codes: NDArray[Any] = np.where(np.isnan(wide), nan, rounded).astype(np.uint16)
    return codes


_NARROWED: dict[str, Callable[[NDArray[np.float32]], NDArray[Any]]] = {
    "float16": _float16,
    "bfloat16": _bfloat16,
}
_TOO_LARGE = {
    "float16": "float16 cannot hold; take bfloat16",
    "bfloat16": "bfloat16 cannot hold; keep the table as it is",
}


def _refuse(wrong: NDArray[np.bool_], first: int, why: str) -> None:
    if wrong.any():
        raise NonFiniteError(f"row {first + int(np.flatnonzero(wrong)[0])} {why}")
