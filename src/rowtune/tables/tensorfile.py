"""safetensors files, mapped instead of read: the library's NumPy face copies every tensor."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError

Array = NDArray[Any]
DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
_UNREADABLE = ValueError, KeyError, TypeError, AttributeError, OverflowError
_LONGEST_HEADER = 100_000_000  # the format's own limit


class Place(NamedTuple):
    """A tensor of a file: what its header says of it, checked against the size of the file."""

    code: str  # of the dtype, as the format writes it
    shape: tuple[int, ...]
    start: int  # bytes from the beginning of the file
    nbytes: int


def map_tensors(path: str | os.PathLike[str], name: str) -> tuple[dict[str, Array], dict[str, str]]:
    """Read-only maps of all tensors of a file, and its metadata.

    Raises
    ------
    FormatError
        If the header is damaged or does not fit the size of the file.
    """
    places, metadata = read_header(path, name, _dtype)
    data = np.memmap(path, np.uint8, "r")
    return {key: _map_one(name, key, data, place) for key, place in places.items()}, metadata


def read_header(
    path: str | os.PathLike[str], name: str, dtype_of: Callable[[str, str, str], np.dtype[Any]]
) -> tuple[dict[str, Place], dict[str, str]]:
    """Where each tensor of a file lies, and the file's metadata.

    ``dtype_of(name, tensor, code)`` gives the dtype that a tensor's bytes are counted in.

    Raises
    ------
    FormatError
        If the header is damaged or does not fit the size of the file.
    """
    size = os.stat(path).st_size  # noqa: PTH116  (path may be any path-like)
    with open(path, "rb") as file:  # noqa: PTH123
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise damaged(name, f"a header of {length:,} bytes in a file of {size:,}")
        raw = file.read(length)
    first = 8 + length
    try:
        header = json.loads(raw)
        metadata = {str(k): str(v) for k, v in header.pop("__metadata__", {}).items()}
        places = {
            key: _place(name, key, first, size, about, dtype_of) for key, about in header.items()
        }
    except (*_UNREADABLE, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise damaged(name, f"a header that cannot be understood ({error!r})") from None
    return places, metadata


def _place(
    name: str, key: str, first: int, size: int, about: Mapping[str, Any],
    dtype_of: Callable[[str, str, str], np.dtype[Any]],
) -> Place:  # fmt: skip
    shape = tuple(int(length) for length in about["shape"])
    start, stop = (int(place) for place in about["data_offsets"])
    code = str(about["dtype"])
    expected = int(np.prod(shape, dtype=object)) * dtype_of(name, key, code).itemsize
    if min(shape, default=0) < 0 or start < 0 or stop - start != expected or stop > size - first:
        raise damaged(
            name,
            f"tensor {key!r} at bytes {start:,} to {stop:,} of {size - first:,}, shape {shape}",
        )
    return Place(code, shape, first + start, expected)


def _map_one(name: str, key: str, data: Array, place: Place) -> Array:
    dtype = _dtype(name, key, place.code)
    part = data[place.start : place.start + place.nbytes]
    if part.ctypes.data % dtype.itemsize:
        part = part.copy()  # an unaligned tensor: legal in the format, slow to compute with
    return part.view(dtype).reshape(place.shape)


def _dtype(name: str, key: str, code: str) -> np.dtype[Any]:
    if code == "BF16":
        try:
            import ml_dtypes  # noqa: PLC0415  (optional)
        except ImportError:
            raise FormatError(
                f"{name}: tensor {key!r} is bfloat16, which NumPy lacks; type: pip install "
                "ml_dtypes, or save the tensor as float32 first (every bfloat16 fits exactly)"
            ) from None
        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    if code not in DTYPES:
        raise FormatError(f"{name}: tensor {key!r} has the dtype {code}; expected F16, F32 or F64")
    return np.dtype(DTYPES[code])


def damaged(name: str, what: str) -> FormatError:
    return FormatError(f"{name}: {what}; the safetensors file is damaged: fetch or save it again")


def write_tensors(file: BinaryIO, tensors: Mapping[str, Array], metadata: dict[str, str]) -> None:
    """Write a safetensors file; C-contiguous tensors are written without a copy."""
    # Widest items first, so that every tensor starts at a multiple of its item size.
    order = sorted(tensors, key=lambda key: (-tensors[key].dtype.itemsize, key))
    header: dict[str, Any] = {"__metadata__": metadata}
    place = 0
    for key in order:
        tensor = tensors[key]
        dtype = (
            "BF16" if tensor.dtype.name == "bfloat16" else _NAMES[tensor.dtype.newbyteorder("<")]
        )
        offsets = [place, place + tensor.nbytes]
        header[key] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        place += tensor.nbytes
    raw = json.dumps(header).encode()
    raw += b" " * (-(8 + len(raw)) % 64)
    file.write(len(raw).to_bytes(8, "little") + raw)
    for key in order:
        file.write(flat_bytes(tensors[key]).data)


def flat_bytes(array: Array) -> Array:
    """The bytes of an array in row order, without a copy if it is C-contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
