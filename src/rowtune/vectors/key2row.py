"""spaCy's ``key2row``: one MessagePack map from 64-bit hashes to rows, read without unpickling."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError

_MAPS = {0xDE: struct.Struct(">H"), 0xDF: struct.Struct(">I")}
_INTEGERS = {
    code: struct.Struct(">" + letter)
    for code, letter in zip(range(0xCC, 0xD4), "BHIQbhiq", strict=True)
}


def read_key2row(name: str, data: bytes) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hashes and the row of each, in the order of the map.

    Only what spaCy writes is read: a single map of integers to integers, which is what the format
    (https://github.com/msgpack/msgpack/blob/master/spec.md) calls map and int.

    Raises
    ------
    FormatError
        If the bytes are anything else, end early or go on.
    """
    try:
        count, at = _length_of_map(data)
        keys, rows = [], []
        for _ in range(count):  # ends at the end of the data, whatever the count claims
            key, at = _integer(data, at)
            row, at = _integer(data, at)
            keys.append(key)
            rows.append(row)
        if at == len(data):
            return np.array(keys, np.uint64), np.array(rows, np.int64)
        what = f"{len(data) - at:,} bytes follow its {count:,} entries"
    except (IndexError, struct.error):
        what = f"it ends early, at byte {len(data):,}"
    except (ValueError, OverflowError) as error:
        what = str(error)
    raise FormatError(
        f"{name}: {what}; expected a MessagePack map of hashes to rows, as spaCy writes it: the "
        "file is damaged: fetch it again"
    )


def _length_of_map(data: bytes) -> tuple[int, int]:
    if 0x80 <= data[0] <= 0x8F:
        return data[0] & 0x0F, 1
    if data[0] not in _MAPS:
        raise ValueError(f"it begins with byte 0x{data[0]:02x}")
    field = _MAPS[data[0]]
    return int(field.unpack_from(data, 1)[0]), 1 + field.size


def _integer(data: bytes, at: int) -> tuple[int, int]:
    code = data[at]
    if code < 0x80:
        return code, at + 1
    if code >= 0xE0:
        return code - 0x100, at + 1
    if code not in _INTEGERS:
        raise ValueError(f"byte {at:,} is 0x{code:02x}, no integer")
    field = _INTEGERS[code]
    unpack: Callable[[bytes, int], tuple[int]] = field.unpack_from
    return unpack(data, at + 1)[0], at + 1 + field.size
