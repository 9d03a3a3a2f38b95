"""Text tables, GloVe and word2vec alike: bytes in, words and float32 rows out.

Lines are split on b"\\n" and fields on b" ", nothing else: U+0085, U+2028, quotes and bytes that
are no UTF-8 are parts of words. A b"\\r" before the b"\\n" belongs to the line end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from rowtune.errors import FormatError
from rowtune.vectors.sniff import Layout, refuse_wide
from rowtune.vectors.vectors import Progress
from rowtune.vectors.words import Bytes, Words

Rows = NDArray[np.float32]

SEGMENT_BYTES = 1 << 28  # parsed at a time: bounds memory beside the table itself
# Below this one thread is as fast as anybody can see. And a process that ends while Arrow's threads
# are still being started is aborted by Arrow: an error about the next file came with exit code 134.
_THREADS_PAY = 1 << 24
_BLOCK_BYTES = 1 << 21  # one thread's share of a segment; 1 and 8 MB cost a fifth more
_REPAIR_BYTES = 1 << 24  # what a bad line costs: a run of this size is copied and searched
_NEWLINE, _RETURN = 10, 13


def parse_text(
    name: str, data: Bytes, layout: Layout, progress: Progress | None = None
) -> tuple[Words, Rows]:
    """The words and rows of a text table, in the order of its lines.

    Parameters
    ----------
    name : str
        The file, for messages.
    data : uint8 array
        The whole file; may be a memory map.
    layout : Layout
        What `sniff` found.
    progress : callable, optional
        Called as ``progress("parsing", bytes done, bytes in all)``.

    Raises
    ------
    FormatError
        A line with too few values or with something that is no number, or another number of lines
        than the header promises.
    """
    from rowtune.vectors.repair import parse_repaired  # noqa: PLC0415  (it imports this file)

    refuse_wide(name, layout.dim)
    body = data[layout.body : end_of_rows(data, layout.body)]
    total = count_rows(body)
    matrix = np.empty((total, layout.dim), np.float32)
    parts: list[Words] = []
    row = 0
    runs = [(start, stop, True) for start, stop in segments(body, SEGMENT_BYTES)][::-1]
    while runs:
        start, stop, may_split = runs.pop()
        parsed = parse_clean(body[start:stop], layout.dim, layout.trailing)
        if parsed is None and may_split:
            smaller = segments(body[start:stop], _REPAIR_BYTES)
            runs += [(start + a, start + b, False) for a, b in smaller][::-1]
            continue
        if parsed is None:
            line, last = layout.first_line + row, stop == len(body)
            parsed = parse_repaired(name, body[start:stop], layout, line, last)
        words, rows = parsed
        matrix[row : row + len(words)] = rows
        parts.append(words)
        row += len(words)
        if progress:
            progress("parsing", stop, len(body))
    check_promise(name, layout, total)
    return Words.joined(parts) if parts else Words.packed([]), matrix


def check_promise(name: str, layout: Layout, rows: int) -> None:
    """`FormatError` where the header promises another number of rows than there are."""
    if layout.rows is not None and layout.rows != rows:
        raise FormatError(
            f"{name}: line 1 promises {layout.rows:,} rows, but {rows:,} follow; the file is cut "
            f"short or its header is wrong: fetch it again, or write {rows} in line 1"
        )


def parse_clean(segment: Bytes, dim: int, trailing: bool) -> tuple[Words, Rows] | None:
    """Parse whole lines by pyarrow; None unless every line is one word and ``dim`` numbers."""
    values = dict.fromkeys(map(str, range(dim)), pa.float32())
    end = {"end": pa.binary()} if trailing else {}
    table = read_fields(segment, {"word": pa.binary(), **values, **end}, " ")
    if table is None:
        return None
    words = Words.joined([words_of(chunk) for chunk in table.column(0).chunks])
    if trailing and any(len(words_of(c).packed_blob()) for c in table.column(dim + 1).chunks):
        return None  # a value where the space at the end of the line should be
    return words, interleave(table, dim, 1)


def read_fields(segment: Bytes, types: dict[str, Any], delimiter: str) -> Any:
    """Whole lines as an arrow table of these columns; None unless every line has them."""
    if len(segment) == 0 or _has_bare_return(segment):
        return None
    try:
        return csv.read_csv(
            pa.BufferReader(pa.py_buffer(segment)),
            read_options=csv.ReadOptions(
                use_threads=len(segment) > _THREADS_PAY,
                column_names=list(types),
                block_size=max(_BLOCK_BYTES, 64 * len(types)),
            ),
            parse_options=csv.ParseOptions(
                delimiter=delimiter,
                quote_char=False,
                double_quote=False,
                escape_char=False,
                ignore_empty_lines=False,
            ),
            convert_options=csv.ConvertOptions(
                check_utf8=False, column_types=types, null_values=[], strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None


def interleave(table: Any, dim: int, first: int) -> Rows:
    """Columns from ``first`` on to rows, batch by batch: a batch's columns fit into the caches."""
    rows = np.empty((table.num_rows, dim), np.float32)
    done = 0
    for batch in table.to_batches():
        for j in range(dim):
            rows[done : done + batch.num_rows, j] = batch.column(j + first).to_numpy()
        done += batch.num_rows
    return rows


def words_of(column: Any) -> Words:
    """An arrow binary column is what `Words` is: bytes back to back, and offsets."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    blob = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return Words(blob, ends.astype(np.int64))


def segments(body: Bytes, size: int) -> Iterator[tuple[int, int]]:
    """Start and stop of runs of whole lines of at least ``size`` bytes; the b"\\n" between two
    runs is in neither."""
    start = 0
    while start < len(body):
        stop = start + size
        while stop < len(body):
            found = np.flatnonzero(body[stop : stop + _BLOCK_BYTES] == _NEWLINE)
            if len(found):
                stop += int(found[0])
                break
            stop += _BLOCK_BYTES
        stop = min(stop, len(body))
        yield start, stop
        start = stop + 1


def end_of_rows(data: Bytes, body: int) -> int:
    """Where the last row ends: line ends and blank lines after it are no rows."""
    end = len(data)
    while end > body and data[end - 1] in (_NEWLINE, _RETURN):
        end -= 1
    return end


def count_rows(body: Bytes) -> int:
    """How many lines there are in whole lines without the last b"\\n"."""
    return count_byte(body, _NEWLINE) + 1 if len(body) else 0


def count_byte(data: Bytes, byte: int) -> int:
    """How often ``byte`` occurs, without a temporary as large as the file."""
    step = _BLOCK_BYTES
    return sum(int(np.count_nonzero(data[i : i + step] == byte)) for i in range(0, len(data), step))


def _has_bare_return(segment: Bytes) -> bool:
    """Whether a b"\\r" stands elsewhere than before a b"\\n": pyarrow would end a line there."""
    returns = np.flatnonzero(segment == _RETURN) if count_byte(segment, _RETURN) else None
    if returns is None:
        return False
    inside = returns[returns + 1 < len(segment)]
    return bool((segment[inside + 1] != _NEWLINE).any())
