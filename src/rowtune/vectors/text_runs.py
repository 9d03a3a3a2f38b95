"""A text table run by run: what is held at once is a run of its lines, not the table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rowtune.tables.mapped_pages import forget
from rowtune.vectors.repair import parse_repaired
from rowtune.vectors.sniff import Layout, refuse_wide
from rowtune.vectors.text import check_promise, end_of_rows, parse_clean, segments
from rowtune.vectors.vectors import Progress
from rowtune.vectors.words import Bytes, Words

_RUN_BYTES = 1 << 25


def text_runs(
    name: str, data: Bytes, layout: Layout, progress: Progress | None = None
) -> Iterator[tuple[Words, NDArray[np.float32]]]:
    """Words and rows of runs of lines, in the order of the file.

    Parameters
    ----------
    name : str
        The file, for messages.
    data : uint8 array
        The whole file; a memory map, if memory is to stay small.
    layout : Layout
        What `sniff` found.
    progress : callable, optional
        Called as ``progress("reading", bytes done, bytes in all)``.

    Raises
    ------
    FormatError
        As `parse_text`; a wrong number of rows is found after the last run.
    """
    refuse_wide(name, layout.dim)
    body = data[layout.body : end_of_rows(data, layout.body)]
    row = 0
    for start, stop in segments(body, _RUN_BYTES):
        run = body[start:stop]
        parsed = parse_clean(run, layout.dim, layout.trailing)
        if parsed is None:
            line = layout.first_line + row
            parsed = parse_repaired(name, run, layout, line, stop == len(body))
        yield parsed
        row += len(parsed[0])
        forget(body)
        if progress:
            progress("reading", stop, len(body))
    check_promise(name, layout, row)
