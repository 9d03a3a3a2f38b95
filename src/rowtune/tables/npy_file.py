"""The .npy format, read in place: nothing is allocated for what a header only claims."""

from __future__ import annotations

import ast
import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError
from rowtune.tables.pickles import pickle_message
from rowtune.tables.tensorfile import Array

Bytes = NDArray[np.uint8]
MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000  # NumPy's own limit; a parser of Python literals needs one


def read_npy(name: str, data: Bytes, *, in_place: bool = False) -> Array:
    """The array in the bytes of a .npy file, as a view of them.

    Parameters
    ----------
    name : str
        The file, for messages.
    data : uint8 array
        The whole file; may be a memory map, then so is what comes back.
    in_place : bool
        Refuse values that begin at an odd place in the file, instead of copying them.

    Raises
    ------
    FormatError
        If the header is damaged, the values are Python objects, or some of them are missing.
    """
    head = data[:12].tobytes()
    width = 2 if head[6:7] == b"\x01" else 4
    start = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    if not head.startswith(MAGIC) or head[6:7] not in (b"\x01", b"\x02", b"\x03"):
        raise _damaged(name, f"begins with {head[:8]!r}")
    if start > min(len(data), _LONGEST_HEADER):
        raise _damaged(name, f"a header of {start:,} bytes in {len(data):,}")
    dtype, fortran, shape = _header(name, data[8 + width : start].tobytes())
    size = math.prod(shape) * dtype.itemsize
    if size > len(data) - start:
        raise _damaged(
            name, f"shape {shape} needs {size:,} bytes, but {len(data) - start:,} follow"
        )
    part = data[start : start + size]
    if part.ctypes.data % dtype.alignment:
        if in_place:
            raise FormatError(unaligned(name, start, dtype))
        part = part.copy()
    try:
        array: Array = part.view(dtype).reshape(shape, order="F" if fortran else "C")
    except ValueError as error:  # no values at all, and lengths whose product is beyond 64 bits
        raise _damaged(name, str(error)) from None
    return array


def unaligned(name: str, start: int, dtype: np.dtype[Any]) -> str:
    """Why values that begin at byte ``start`` cannot be computed with where they are."""
    return (
        f"{name}: its {dtype} values begin at byte {start:,}, which is no multiple of "
        f"{dtype.itemsize}, so they cannot be mapped; write the file anew with "
        "rowtune.save_table, from what the program that made it reads there"
    )


def _header(name: str, raw: bytes) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged literal or dtype is refused anyway
            header = ast.literal_eval(raw.decode("utf-8").strip())
            description, fortran, shape = (header[k] for k in ("descr", "fortran_order", "shape"))
            dtype = np.dtype(description)
        lengths = tuple(int(length) for length in shape)
    except (ValueError, SyntaxError, TypeError, KeyError, OverflowError, *_TOO_DEEP) as error:
        raise _damaged(
            name, f"a header that cannot be understood ({type(error).__name__})"
        ) from None
    if dtype.hasobject:
        raise FormatError(pickle_message(name))
    if min(lengths, default=0) < 0 or len(lengths) > 32 or dtype.itemsize == 0 or dtype.names:
        raise _damaged(name, f"shape {lengths} and dtype {dtype}")
    return dtype, bool(fortran), lengths


_TOO_DEEP = MemoryError, RecursionError  # what Python's parser raises for nested brackets


def _damaged(name: str, what: str) -> FormatError:
    return FormatError(
        f"{name}: the .npy file is damaged or cut short ({what}); fetch or save it again"
    )
