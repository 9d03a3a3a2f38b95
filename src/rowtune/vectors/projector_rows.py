"""TensorBoard's projector: ``vectors.tsv``, tabs between values, words in another file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError
from rowtune.vectors.sniff import is_number, refuse_wide
from rowtune.vectors.vectors import Progress
from rowtune.vectors.words import Bytes, Words

_WORD_COLUMNS = (b"word", b"words", b"token", b"label", b"name", b"title")


def is_projector(head: bytes, with_words: bool = False) -> bool:
    """Whether a file begins with a line of numbers with tabs between them.

    A line of one number counts only if the words are known to lie in another file.
    """
    first, newline, rest = head.partition(b"\n")
    fields = first.rstrip(b"\r").split(b"\t")
    if not newline and len(fields) > 2:
        fields.pop()  # cut in the middle
    if b" " in rest.partition(b"\n")[0]:
        return False  # word2vec's header with a tab in it
    return (len(fields) > 1 or with_words) and all(map(is_number, fields))


def parse_rows(name: str, data: Bytes, progress: Progress | None = None) -> NDArray[np.float32]:
    """The rows of a projector's table, float32.

    Raises
    ------
    FormatError
        For a line with another number of values than the first, or with something that is no
        number.
    """
    from rowtune.vectors.text import (  # noqa: PLC0415  (imports pyarrow)
        SEGMENT_BYTES,
        count_rows,
        end_of_rows,
        segments,
    )

    body = data[: end_of_rows(data, 0)]
    first = body[: 1 << 24].tobytes().partition(b"\n")[0]
    dim = first.count(b"\t") + 1
    refuse_wide(name, dim)
    total = count_rows(body)
    if 2 * total * dim > len(body) + 1:  # a digit and a tab or newline for each value
        raise _first_fault(name, body, dim, 1)
    matrix = np.empty((total, dim), np.float32)
    row = 0
    for start, stop in segments(body, SEGMENT_BYTES):
        rows = _parse(body[start:stop], dim)
        if rows is None or row + len(rows) > total:
            raise _first_fault(name, body[start:stop], dim, row + 1)
        matrix[row : row + len(rows)] = rows
        row += len(rows)
        if progress:
            progress("parsing", stop, len(body))
    if row != total:
        raise _first_fault(name, body, dim, 1)
    return matrix


def _parse(segment: Bytes, dim: int) -> NDArray[np.float32] | None:
    import pyarrow as pa  # noqa: PLC0415

    from rowtune.vectors.text import interleave, read_fields  # noqa: PLC0415

    types: dict[str, Any] = {str(j): pa.float32() for j in range(dim)}
    table = read_fields(segment, types, "\t")
    return None if table is None else interleave(table, dim, 0)


def _first_fault(name: str, segment: Bytes, dim: int, line: int) -> FormatError:
    """Read line by line until the one that is wrong."""
    for number, raw in enumerate(segment.tobytes().split(b"\n"), line):
        fields = raw.removesuffix(b"\r").split(b"\t")
        if len(fields) != dim:
            what = f"{len(fields)} values; expected {dim}"
        elif bad := [field for field in fields if not is_number(field)]:
            what = f"{bad[0][:40]!r} is no number"
        else:
            continue
        return FormatError(f"{name}, line {number:,}: {what}: correct or delete this line")
    return FormatError(f"{name}: lines from {line:,} on cannot be read: fetch the file again")


def words_of_metadata(path: Path) -> Words:
    """The words of a metadata file: its lines, or of several columns the one that is named so.

    The projector takes the first line for names of columns where there are several.
    """
    data = path.read_bytes()
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    if lines and all(line.endswith(b"\r") for line in lines):
        lines = [line[:-1] for line in lines]
    if not lines or b"\t" not in lines[0]:
        return Words.packed(lines)
    names = [column.lower() for column in lines[0].split(b"\t")]
    column = next((names.index(known) for known in _WORD_COLUMNS if known in names), 0)
    words = []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split(b"\t")
        if len(fields) != len(names):
            raise FormatError(
                f"{path}, line {number:,}: {len(fields)} columns; expected {len(names)} as in line "
                "1: correct this line"
            )
        words.append(fields[column])
    return Words.packed(words)
