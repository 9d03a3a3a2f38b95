"""Text tables with lines that are not one word and D numbers: tokens with spaces, stray blanks, ...

Only a run of lines that the fast parser refused comes here. Spaces inside tokens are found for
all lines at once, overwritten in a copy, and put back into the words after parsing. What is left is
read line by line, or refused with its line number.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rowtune.errors import FormatError
from rowtune.vectors.sniff import Layout, is_number
from rowtune.vectors.text import Rows, parse_clean
from rowtune.vectors.words import Bytes, Words

Ints = NDArray[np.int64]
_NEWLINE, _RETURN, _SPACE = 10, 13, 32
_STAND_IN = ord("x")
_LINES_WORTH_PARSING = 16


@dataclass
class _Lines:
    """A run of lines; ``buf`` is a copy in which offending bytes are overwritten."""

    original: Bytes
    buf: Bytes
    starts: Ints
    ends: Ints  # exclusive, before b"\n" and the b"\r" that belongs to it

    def raw(self, i: int) -> bytes:
        return self.original[self.starts[i] : self.ends[i]].tobytes()


def parse_repaired(
    name: str, segment: Bytes, layout: Layout, first_line: int, last: bool
) -> tuple[Words, Rows]:
    """As `parse_clean`, for lines of which some need care.

    Parameters
    ----------
    first_line : int
        Number of the first line, for messages.
    last : bool
        Whether the file ends with this run, so that its last line may be cut short.
    """
    lines = _split(segment)
    odd, patched = _patch(lines, layout)
    parsed = _parse_only(lines, np.flatnonzero(~odd), layout)
    if parsed is None:
        odd[_refused(lines, np.flatnonzero(~odd), layout)] = True
        parsed = _parse_only(lines, np.flatnonzero(~odd), layout)
    if parsed is None:  # pragma: no cover - each kept line has been parsed on its own
        raise FormatError(f"{name}: lines from {first_line:,} on cannot be read together")
    words, rows = parsed
    words = _restore(words, lines, patched, odd)
    if not odd.any():
        return words, rows
    return _insert(name, words, rows, lines, odd, layout.dim, first_line, last)


def _split(segment: Bytes) -> _Lines:
    newlines = np.flatnonzero(segment == _NEWLINE)
    starts = np.concatenate([[0], newlines + 1])
    ends = np.concatenate([newlines, [len(segment)]])
    has_return = (ends > starts) & (segment[np.maximum(ends - 1, 0)] == _RETURN)
    return _Lines(segment, segment.copy(), starts, ends - has_return)


def _patch(lines: _Lines, layout: Layout) -> tuple[NDArray[np.bool_], Ints]:
    """Overwrite blanks inside tokens; give the lines that need more, and the bytes overwritten."""
    buf, starts, ends = lines.buf, lines.starts, lines.ends
    spaces = np.flatnonzero(buf == _SPACE)
    first, last = np.searchsorted(spaces, starts), np.searchsorted(spaces, ends)
    expected = layout.dim + layout.trailing
    ends_blank = (ends > starts) & (buf[np.maximum(ends - 1, 0)] == _SPACE)
    odd = (last - first < expected) | (ends_blank != layout.trailing)
    surplus = np.where(odd, 0, last - first - expected)
    inside = np.repeat(first, surplus) + _ranks(surplus)
    returns = np.flatnonzero(buf == _RETURN)
    owner = np.searchsorted(starts, returns, side="right") - 1
    bare = returns[returns < ends[owner]]
    patched = np.sort(np.concatenate([spaces[inside], bare]))
    buf[patched] = _STAND_IN
    return odd, patched


def _ranks(counts: Ints) -> Ints:
    """0 .. counts[0]-1, 0 .. counts[1]-1, and so on, in one array."""
    before = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(before, counts)


def _parse_only(lines: _Lines, chosen: Ints, layout: Layout) -> tuple[Words, Rows] | None:
    """Parse some of the lines, given by their sorted numbers."""
    if len(chosen) == 0:
        return Words.packed([]), np.empty((0, layout.dim), np.float32)
    first, stop = int(chosen[0]), int(chosen[-1]) + 1
    bounds = np.append(lines.starts, len(lines.buf))[first : stop + 1]
    piece = lines.buf[bounds[0] : bounds[-1]]
    if len(chosen) < stop - first:
        wanted = np.zeros(stop - first, bool)
        wanted[chosen - first] = True
        piece = piece[np.repeat(wanted, np.diff(bounds))]
    return parse_clean(piece, layout.dim, layout.trailing)


def _refused(lines: _Lines, among: Ints, layout: Layout) -> list[int]:
    """Halve until the lines that the fast parser refuses stand (nearly) alone."""
    if len(among) <= _LINES_WORTH_PARSING:
        return [int(i) for i in among]
    half = len(among) // 2
    found: list[int] = []
    for part in (among[:half], among[half:]):
        if _parse_only(lines, part, layout) is None:
            found += _refused(lines, part, layout)
    return found


def _restore(words: Words, lines: _Lines, patched: Ints, odd: NDArray[np.bool_]) -> Words:
    """Put the overwritten bytes back: a token's bytes stand in its word as in its line."""
    owner = np.searchsorted(lines.starts, patched, side="right") - 1
    kept = ~odd[owner]
    patched, owner = patched[kept], owner[kept]
    row = owner - np.cumsum(odd)[owner]  # lines that were set aside are no rows yet
    at = words.offsets[row] + patched - lines.starts[owner]
    blob = words.blob.copy()
    blob[at] = lines.original[patched]
    return Words(blob, words.offsets)


def _insert(
    name: str,
    words: Words,
    rows: Rows,
    lines: _Lines,
    odd: NDArray[np.bool_],
    dim: int,
    first_line: int,
    last: bool,
) -> tuple[Words, Rows]:
    """Read the lines that were set aside and put them where they belong."""
    out = np.empty((len(odd), dim), np.float32)
    out[~odd] = rows
    parsed = words.iter_raw()
    tokens: list[bytes] = []
    for i, is_odd in enumerate(odd.tolist()):
        if not is_odd:
            tokens.append(next(parsed))
            continue
        is_last = last and i == len(odd) - 1
        token, out[i] = _read_line(f"{name}, line {first_line + i:,}", lines.raw(i), dim, is_last)
        tokens.append(token)
    return Words.packed(tokens), out


def _read_line(place: str, line: bytes, dim: int, is_last: bool) -> tuple[bytes, Rows]:
    """One line, from the right: D numbers, any blanks between them; what is left is the token."""
    if not line.strip(b" "):
        raise FormatError(f"{place}: empty; expected a word and {dim} values: delete this line")
    rest, values = line.rstrip(b" \t"), list[bytes]()
    while len(values) < dim:
        rest, blank, value = rest.rpartition(b" ")
        if not blank:
            cure = (
                "the file ends in the middle of a row: fetch it again"
                if is_last
                else "correct or delete this line"
            )
            raise FormatError(f"{place}: {len(values)} values; expected {dim}: {cure}")
        if not value:
            continue
        if not is_number(value):
            raise FormatError(
                f"{place}: {value[:40]!r} stands where value {dim - len(values)} of {dim} should "
                "be; expected a number: correct or delete this line"
            )
        values.append(value)
    return rest, _floats(values[::-1])


def _floats(values: list[bytes]) -> Rows:
    """Round as the fast parser does; what it does not know (+1, 1e99) is read by Python."""
    try:
        texts = pa.array([value.decode("ascii") for value in values])
        return np.asarray(texts.cast(pa.float32()).to_numpy())
    except (pa.ArrowInvalid, UnicodeDecodeError):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # 1e99 is infinite in float32
            return np.array([float(value) for value in values], np.float64).astype(np.float32)
