"""Text tables out: the shortest digits that give back the very same float."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from rowtune.errors import FormatError
from rowtune.vectors.vectors import Matrix
from rowtune.vectors.words import Words

_VALUES_AT_A_TIME = 1 << 19


def text_lines(
    name: str, words: Words | None, matrix: Matrix, line_end: bytes = b"\n", between: bytes = b" "
) -> Iterator[tuple[memoryview, int]]:
    """Runs of whole lines, each with the number of rows up to its end.

    A line is a word (none if ``words`` is None) and its values, with ``between`` between them.

    Raises
    ------
    FormatError
        For a NaN with a payload or a sign, which no text holds.
    """
    step = max(1, _VALUES_AT_A_TIME // matrix.shape[1])
    for start in range(0, len(matrix), step):
        stop = min(start + step, len(matrix))
        rows = np.asarray(matrix[start:stop])
        if rows.dtype.itemsize == 2:
            rows = rows.astype(np.float32)  # exact; and arrow knows no shortest digits for halves
        _refuse_odd_nan(name, rows, start)
        columns = np.ascontiguousarray(rows.T)
        texts = [pa.array(column).cast(pa.string()).cast(pa.binary()) for column in columns]
        if words is not None:
            texts.insert(0, _binary_array(Words(words.blob, words.offsets[start : stop + 1])))
        lines = compute.binary_join_element_wise(*texts, _scalar(between))
        lines = compute.binary_join_element_wise(lines, _scalar(line_end), _scalar(b""))
        _, ends, data = lines.buffers()
        last = int(np.frombuffer(ends, np.int32)[len(lines)])
        yield memoryview(data)[:last], stop


def _binary_array(words: Words) -> Any:
    offsets = (words.offsets - words.offsets[0]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(words.packed_blob()))]
    return pa.Array.from_buffers(pa.binary(), len(words), buffers)


def _scalar(text: bytes) -> Any:
    return pa.scalar(text, pa.binary())


def _refuse_odd_nan(name: str, rows: Matrix, start: int) -> None:
    bits = rows.view(f"u{rows.dtype.itemsize}")
    plain = np.array(np.nan, rows.dtype).view(bits.dtype)
    odd = np.isnan(rows) & (bits != plain)
    if odd.any():
        row = start + int(np.flatnonzero(odd.any(axis=1))[0])
        raise FormatError(
            f"{name}: row {row:,} has a NaN with a sign or a payload, which text cannot hold; save "
            "as .npy or .safetensors, or put a plain np.nan there"
        )
