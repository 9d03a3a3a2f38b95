"""What a file of vectors is, judged by its first bytes and not by its name."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from rowtune.errors import FormatError

HEAD_BYTES = 1 << 20
# Values in a row of text: its parser makes a column of each, and takes 4 kB and 30 microseconds for
# every one. As many as this, written with 30 characters, are within the head.
MOST_VALUES = 1 << 15
_CLEARLY_VALUES = 1000  # numbers at the end of a line that is cut: no prose has as many
_SAMPLE_LINES = 100
_HEADER = re.compile(rb"(?:\xef\xbb\xbf)?(\d{1,18})[ \t](\d{1,18})[ \t]*\r?")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")


@dataclass(frozen=True)
class Layout:
    """How the rows of a word2vec or GloVe file lie in its bytes."""

    rows: int | None  # what a word2vec header promises; None without a header
    dim: int
    body: int  # byte at which the first row starts
    binary: bool = False
    trailing: bool = False  # lines end with a space, as fastText writes them
    crlf: bool = False

    @property
    def first_line(self) -> int:
        """The line number of the first row, as an editor counts."""
        return 1 if self.rows is None else 2

    @property
    def line_end(self) -> bytes:
        """What stands after the last value of a row."""
        return (b" " if self.trailing else b"") + (b"\r\n" if self.crlf else b"\n")


def is_number(field: bytes) -> bool:
    """Whether a field reads as one float (`nan` and `inf` included)."""
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field  # Python would read 1_0 as ten


def numbers_at_end(line: bytes) -> int:
    """How many fields at the right end of a line are numbers, its first field never counted."""
    fields = line.rstrip(b" \r\t").split(b" ")[1:]
    count = 0
    while count < len(fields) and is_number(fields[-1 - count]):
        count += 1
    return count


def sniff(name: str, head: bytes, complete: bool) -> Layout | None:
    """The layout of a word2vec or GloVe file, or None if ``head`` begins no such file.

    The dimension is what most of the first lines have: numbers are counted from the right, so
    neither a token with spaces nor one damaged line misleads it.

    Parameters
    ----------
    name : str
        The file, for messages.
    head : bytes
        The first `HEAD_BYTES` of it, or all of it.
    complete : bool
        Whether ``head`` is the whole file.

    Raises
    ------
    FormatError
        If a header and the lines below it disagree about the dimension, or rows are far too long.
    """
    lines = head.split(b"\n")
    if not complete and len(lines) > 1:
        lines.pop()  # cut in the middle
    is_cut = not complete and b"\n" not in head
    header = _HEADER.fullmatch(lines[0])
    sample = [line for line in lines[1 if header else 0 :] if line.strip(b"\r")][:_SAMPLE_LINES]
    found = _most_common([numbers_at_end(line) for line in sample])
    if header is None:
        if is_cut:
            if found > _CLEARLY_VALUES:
                raise _too_wide(name, f"line 1 goes on beyond {HEAD_BYTES:,} bytes")
            return None
        return _text(None, found, 0, sample) if found else None
    rows, dim, body = int(header[1]), int(header[2]), len(lines[0]) + 1
    if found == 1 and dim != 1 and not _looks_binary(sample):
        return _text(None, 1, 0, sample)  # a table of one value per word, the first being a number
    if dim == 0:
        raise FormatError(f"{name}: line 1 promises rows of 0 values; expected at least one")
    if found == dim or not sample:
        return _text(rows, dim, body, sample)
    if found == 0 or _looks_binary(sample):
        return Layout(rows, dim, body, binary=True)
    raise FormatError(
        f"{name}: line 1 says {dim} values per row, but most of the first lines have {found}; "
        f"correct line 1 to '{rows} {found}' or fetch the file again"
    )


def refuse_wide(name: str, dim: int) -> None:
    """Raise `FormatError` for rows of text that are too long to be parsed."""
    if dim > MOST_VALUES:
        raise _too_wide(name, f"rows of {dim:,} values")


def _too_wide(name: str, what: str) -> FormatError:
    return FormatError(
        f"{name}: {what}; expected at most {MOST_VALUES:,} values in a row of text: save a table "
        "that is wider as .npy, with its words beside it"
    )


def _text(rows: int | None, dim: int, body: int, sample: list[bytes]) -> Layout:
    crlf = 2 * sum(line.endswith(b"\r") for line in sample) > len(sample)
    trailing = 2 * sum(line.rstrip(b"\r").endswith(b" ") for line in sample) > len(sample)
    return Layout(rows, dim, body, trailing=trailing, crlf=crlf)


def _looks_binary(sample: list[bytes]) -> bool:
    return any(_CONTROL.search(line) for line in sample)


def _most_common(counts: list[int]) -> int:
    return Counter(counts).most_common(1)[0][0] if counts else 0
