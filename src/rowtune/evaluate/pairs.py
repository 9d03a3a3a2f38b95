"""Pairs of words and how similar people find them, in the forms in which they are published."""

from __future__ import annotations

import csv
import math
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import FormatError
from rowtune.evaluate.datasets import PAIRS, lines_of, locate

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
# Headings of the column of scores, in lower case: SimLex-999, WordSim-353 and what others write.
_HEADINGS = {"simlex999", "human (mean)", "mean", "average", "score", "similarity", "sim",
             "relatedness", "rating", "human", "gold"}  # fmt: skip
_FORM = "expected two words and a number, with tabs, commas or blanks between them"


@dataclass(frozen=True)
class Pairs:
    """Pair i is ``words[i]``, which people gave ``scores[i]``."""

    name: str
    words: tuple[tuple[str, str], ...]
    scores: NDArray[np.float64]  # (pairs,)
    notes: tuple[str, ...]


def read_pairs(path_or_name: str | os.PathLike[str]) -> Pairs:
    """Read pairs from a file, or those that gensim has as ``wordsim353`` or ``simlex999``.

    A line is two words and, in a later column, a number. Tabs, commas or semicolons separate where
    the first line has them, else blanks. Blank lines and lines that begin with ``#`` are skipped.
    Where a header names a column of scores (as SimLex-999 does) that is read, else the first one
    with numbers.

    Raises
    ------
    FormatError
        For a line that is none of this; the message has its number.
    """
    path = locate(path_or_name, PAIRS)
    lines = [(number, line) for number, line in lines_of(path) if not line.startswith("#")]
    if not lines:
        raise FormatError(f"{path}: holds no pairs; {_FORM} on each line")
    separator = _separator(lines[0][1])
    rows = [(number, _cells(path, number, line, separator)) for number, line in lines]
    notes: list[str] = []
    width = len(rows[0][1])
    column = _score_column(path, rows, separator, notes)
    words, scores = [], []
    for number, cells in rows:
        # Columns after the score may be missing; with blanks or commas they may not, since there a
        # word of two parts or a decimal comma would shift the columns.
        if len(cells) <= column or (separator != "\t" and len(cells) != width):
            raise FormatError(
                f"{path}, line {number}: {len(cells)} columns; expected as many as before it, "
                f"{width} (a word with blanks in it needs tabs between the columns)"
            )
        if not cells[0] or not cells[1]:
            raise FormatError(f"{path}, line {number}: a word is empty; {_FORM}")
        words.append((cells[0], cells[1]))
        scores.append(_score(path, number, cells[column], column))
    twice = sum(n - 1 for n in Counter(tuple(sorted(pair)) for pair in words).values())
    if twice:
        notes.append(f"{twice:,} of its {len(words):,} pairs occur again; each line counts")
    return Pairs(Path(path_or_name).name, tuple(words), np.array(scores), tuple(notes))


def _separator(line: str) -> str | None:
    if "\t" in line:
        return "\t"
    return next((mark for mark in ",;" if line.count(mark) > 1), None)


def _cells(path: Path, number: int, line: str, separator: str | None) -> list[str]:
    if separator is None:
        return line.split()
    try:
        cells = next(csv.reader([line], delimiter=separator))
    except csv.Error as error:
        raise FormatError(f"{path}, line {number}: {error}; {_FORM}") from None
    return [cell.strip() for cell in cells]


def _score_column(
    path: Path, rows: list[tuple[int, list[str]]], separator: str | None, notes: list[str]
) -> int:
    """Where the scores are; a header is taken out of ``rows``."""
    number, first = rows[0]
    if len(first) < 3:
        raise FormatError(f"{path}, line {number}: {len(first)} columns; {_FORM}")
    named = [i for i, cell in enumerate(first) if i > 1 and cell.lower() in _HEADINGS]
    if named or not _numeric(first):
        del rows[0]
        if not named:
            notes.append(f"line {number} was taken for a header: {' '.join(first)}")
        if not rows:
            raise FormatError(f"{path}: line {number} has no number and is the only one; {_FORM}")
    if named:
        return named[0]
    number, cells = rows[0]
    numeric = _numeric(cells)
    if not numeric:
        raise FormatError(f"{path}, line {number}: no number after the two words; {_FORM}")
    if separator == "," and len(numeric) > 1:
        raise FormatError(
            f"{path}, line {number}: columns {numeric[0] + 1} and {numeric[1] + 1} are numbers; "
            "name one 'score' in a first line, or write 7.35 for 7,35"
        )
    return numeric[0]


def _numeric(cells: list[str]) -> list[int]:
    """The columns after the words that hold a number, if only one with a decimal comma."""
    return [
        i
        for i, cell in enumerate(cells)
        if i > 1 and (_NUMBER.fullmatch(cell) or _DECIMAL_COMMA.fullmatch(cell))
    ]


def _score(path: Path, number: int, cell: str, column: int) -> float:
    score = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    if math.isfinite(score):
        return score
    cure = "write a point for the comma" if _DECIMAL_COMMA.fullmatch(cell) else _FORM
    raise FormatError(f"{path}, line {number}, column {column + 1}: {cell!r} is no number; {cure}")
