"""word2vec's binary files: a header line, then per row the word, a space and D float32.

The original program ends each row with a newline, others do not; both are read.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rowtune.errors import FormatError
from rowtune.vectors.sniff import Layout
from rowtune.vectors.vectors import Progress
from rowtune.vectors.words import Bytes, Words

_SPACE, _NEWLINE = b" ", 10
_WORD_WINDOW = 64  # bytes looked at first; longer words take another look
_ROWS_AT_A_TIME, _RUN_BYTES = 100_000, 1 << 26


def parse_binary(
    name: str, data: Bytes, layout: Layout, progress: Progress | None = None
) -> tuple[Words, NDArray[np.float32]]:
    """The words and rows of a word2vec binary file.

    Raises
    ------
    FormatError
        If the file ends before the last promised row, or goes on after it.
    """
    _check_room(name, data, layout)
    matrix = np.empty((layout.rows or 0, layout.dim), np.float32)
    parts: list[Words] = []
    done = 0
    for words, rows in binary_runs(name, data, layout, progress):
        matrix[done : done + len(rows)] = rows
        parts.append(words)
        done += len(rows)
    return Words.joined(parts) if parts else Words.packed([]), matrix


def binary_runs(
    name: str, data: Bytes, layout: Layout, progress: Progress | None = None
) -> Iterator[tuple[Words, NDArray[np.float32]]]:
    """Words and rows run by run: of a mapped file no more than a run is held at once.

    Raises
    ------
    FormatError
        As `parse_binary`; that the file goes on is found after the last run.
    """
    _check_room(name, data, layout)
    row_bytes = 4 * layout.dim
    rows, position = layout.rows or 0, layout.body
    at_a_time = min(_ROWS_AT_A_TIME, max(1, _RUN_BYTES // row_bytes))
    for first in range(0, rows, at_a_time):
        tokens: list[bytes] = []
        starts = []
        for row in range(first, min(first + at_a_time, rows)):
            if position < len(data) and data[position] == _NEWLINE:
                position += 1
            token = _token(data, position)
            position += len(token or b"") + 1 + row_bytes
            if token is None or position > len(data):
                raise FormatError(
                    f"{name}: ends within row {row + 1:,} of the {rows:,} that line 1 "
                    "promises; it is cut short: fetch it again"
                )
            tokens.append(token)
            starts.append(position - row_bytes)
        yield Words.packed(tokens), sliding_window_view(data, row_bytes)[starts].view("<f4")
        if progress:
            progress("parsing", first + len(starts), rows)
    rest = data[position:].tobytes()
    if rest.strip(b"\r\n"):
        raise FormatError(
            f"{name}: {len(rest):,} bytes follow the {rows:,} rows that line 1 promises, from byte "
            f"{position:,} on; the header or a row is damaged: fetch it again"
        )


def _check_room(name: str, data: Bytes, layout: Layout) -> None:
    """`FormatError` if so many rows cannot be in the file: found before memory is taken."""
    row_bytes, rows, body = 4 * layout.dim, layout.rows or 0, len(data) - layout.body
    if rows * (row_bytes + 1) > body:
        possible = body // (row_bytes + 1)
        raise FormatError(
            f"{name}: line 1 promises {rows:,} rows of {layout.dim} values, but the file has room "
            f"for {possible:,} at most; it is cut short: fetch it again"
        )


def _token(data: Bytes, start: int) -> bytes | None:
    """The bytes from ``start`` to the next space; None if there is none."""
    width = _WORD_WINDOW
    while True:
        window = data[start : start + width].tobytes()
        end = window.find(_SPACE)
        if end >= 0:
            return window[:end]
        if start + width >= len(data):
            return None
        width *= 16


def end_of_binary(data: Bytes, layout: Layout) -> tuple[int, bytes]:
    """Where the last row ends, and what stands between rows: a newline or nothing."""
    position, between = layout.body, b""
    for row in range(layout.rows or 0):
        if row > 0 and data[position] == _NEWLINE:
            position += 1
        position += len(_token(data, position) or b"") + 1 + 4 * layout.dim
        if row == 0 and data[position : position + 1].tobytes() == b"\n":
            between = b"\n"
    return position, between
