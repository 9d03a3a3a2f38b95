"""Where the parts of a table lie in a new file: every one at a multiple of 64 bytes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from rowtune.tables.tensor_choice import KIND, SCALES

TENSOR = "weight"
_ALIGNMENT = 64  # bytes: a cache line, so that a row of 64 codes lies in one
_CODES = {"int8": "I8", "float16": "F16", "bfloat16": "BF16"}
_PADDING = "padding"


class Layout(NamedTuple):
    """A file's first bytes, and where codes (or values) and scales begin."""

    head: bytes
    values: int
    scales: int
    size: int


def safetensors_layout(shape: tuple[int, int], dtype: np.dtype[Any], kind: str) -> Layout:
    """Of a table of ``shape``: values of a float ``dtype``, or codes of a `Quantized` ``kind``."""
    code = _CODES[kind] if kind else f"F{8 * dtype.itemsize}"
    end = shape[0] * shape[1] * dtype.itemsize
    header: dict[str, Any] = {"__metadata__": {"format": "rowtune table"}}
    if kind:
        header["__metadata__"][KIND] = kind
    header[TENSOR] = {"dtype": code, "shape": list(shape), "data_offsets": [0, end]}
    scales = end + -end % _ALIGNMENT
    if kind == "int8":
        if scales > end:  # the format has no holes, so what fills one has a name
            about = {"dtype": "U8", "shape": [scales - end], "data_offsets": [end, scales]}
            header[_PADDING] = about
        end = scales + 4 * shape[0]
        about = {"dtype": "F32", "shape": [shape[0]], "data_offsets": [scales, end]}
        header[TENSOR + SCALES] = about
    raw = json.dumps(header).encode()
    raw += b" " * (-(8 + len(raw)) % _ALIGNMENT)
    head = len(raw).to_bytes(8, "little") + raw
    return Layout(head, len(head), len(head) + scales, len(head) + end)


def npy_layout(shape: tuple[int, int], dtype: np.dtype[Any]) -> Layout:
    """The same as a .npy file of format 1.0."""
    about = {"descr": dtype.newbyteorder("<").str, "fortran_order": False, "shape": shape}
    raw = repr(about).encode()
    raw += b" " * (-(10 + len(raw) + 1) % _ALIGNMENT) + b"\n"
    head = b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw
    end = len(head) + shape[0] * shape[1] * dtype.itemsize
    return Layout(head, len(head), end, end)
