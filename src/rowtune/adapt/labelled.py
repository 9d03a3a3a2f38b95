"""Labelled texts: which rows of a file can be used, and what their labels are."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowtune.adapt.labelled_files import columns_of
from rowtune.adapt.splits import FEWEST
from rowtune.errors import CorpusError, FormatError

_FEWEST_TEXTS = 50
_MOST_MEASURES = 20  # distinct numbers with a fraction: beyond it they are no classes
_OPTIONS = "--text-column", "--label-column"


@dataclass(frozen=True)
class Labelled:
    """Texts and their labels, both as strings; rows without either are left out and counted."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    without_text: int
    without_label: int

    @property
    def notes(self) -> list[str]:
        """What was left out, as sentences."""
        return [
            f"{self.name}: {count:,} rows without a {what} were left out."
            for count, what in ((self.without_text, "text"), (self.without_label, "label"))
            if count
        ]


def read_labelled(
    path: str | os.PathLike[str], text_column: str = "text", label_column: str = "label"
) -> Labelled:
    """Read labelled texts from a CSV, TSV, JSONL or Parquet file.

    Parameters
    ----------
    path : path
        The ending says the format; ``.gz``, ``.bz2`` and ``.xz`` behind it are unpacked.
    text_column, label_column : str
        Labels may be strings, whole numbers or bools. A whole number is the same label however it
        is stored (1, 1.0 in a column of floats); a bool is ``true`` or ``false``.

    Raises
    ------
    FormatError
        See `columns_of`; or labels that are measurements, or values that are neither.
    OSError
        As `open`.
    """
    name = os.fspath(path)
    if text_column == label_column:
        raise FormatError(
            f"{text_column!r} is asked for as text and as label; name two columns with "
            f"{' and '.join(_OPTIONS)}"
        )
    texts, labels = columns_of(Path(name), (text_column, label_column), _OPTIONS)
    kept: list[tuple[str, str]] = []
    lacking = Counter[str]()
    for row, (text, label) in enumerate(zip(texts, labels, strict=True), 1):
        words = _string(text, name, row, text_column)
        class_ = _string(label, name, row, label_column).strip()
        if not words.strip():
            lacking["text"] += 1
        elif not class_:
            lacking["label"] += 1
        else:
            kept.append((words, class_))
    _refuse_measures(name, label_column, {label for _, label in kept})
    return Labelled(
        name,
        tuple(text for text, _ in kept),
        tuple(label for _, label in kept),
        lacking["text"],
        lacking["label"],
    )


def check_enough(labelled: Labelled) -> None:
    """Refuse what no classifier can be trained and tested on.

    Raises
    ------
    CorpusError
        One label only, fewer than 50 texts, or fewer than 5 of a label.
    """
    counts = Counter(labelled.labels)
    if len(labelled.texts) < _FEWEST_TEXTS:
        raise CorpusError(
            f"{labelled.name}: {len(labelled.texts):,} texts with a label are too few to train, "
            f"validate and test; give {_FEWEST_TEXTS} or more"
        )
    if len(counts) == 1:
        raise CorpusError(
            f"{labelled.name}: all {len(labelled.texts):,} texts have the label "
            f"{next(iter(counts))!r}; a classifier needs two labels or more"
        )
    rare = [(label, count) for label, count in counts.items() if count < FEWEST]
    if rare:
        shown = ", ".join(f"{label!r} {count}" for label, count in rare[:5])
        raise CorpusError(
            f"{labelled.name}: {len(rare):,} of {len(counts):,} labels have fewer than {FEWEST} "
            f"texts ({shown}{', ...' if len(rare) > 5 else ''}); leave them out, join them, or "
            "give more"
        )


def label_ids(train: Labelled, test: Labelled | None) -> tuple[list[str], list[int], list[int]]:
    """The labels in order, and the place of each text's label there, in either file.

    Raises
    ------
    CorpusError
        A label or no text at all in ``test`` that ``train`` cannot teach.
    """
    names = sorted(set(train.labels))
    place = {label: i for i, label in enumerate(names)}
    if test is None:
        return names, [place[label] for label in train.labels], []
    if not test.texts:
        raise CorpusError(f"{test.name}: no text with a label is left to test on")
    strange = sorted(set(test.labels) - set(names))
    if strange:
        raise CorpusError(
            f"{test.name}: the label {strange[0]!r} is not in {train.name}, which has "
            f"{_some(names)}; write labels the same way in both"
        )
    return names, [place[x] for x in train.labels], [place[x] for x in test.labels]


def _string(value: Any, name: str, row: int, column: str) -> str:
    """A value of a file as a string; empty for None and NaN."""
    if isinstance(value, str):  # JSON may hold half of a character, of a text that was cut
        return value.encode("utf-8", "replace").decode()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    raise FormatError(
        f"{name}: row {row:,}: {column!r} holds a {type(value).__name__}; "
        "expected strings, numbers or bools"
    )


def _refuse_measures(name: str, column: str, labels: set[str]) -> None:
    if len(labels) <= _MOST_MEASURES:
        return
    try:
        numbers = [float(label) for label in labels]
    except ValueError:
        return
    if any(number % 1 for number in numbers):
        raise FormatError(
            f"{name}: the column {column!r} holds {len(labels):,} different numbers with "
            f"fractions ({_some(sorted(labels))}): measurements, not labels; round them to classes"
        )


def _some(labels: Sequence[str]) -> str:
    return ", ".join(map(repr, labels[:5])) + (", ..." if len(labels) > 5 else "")
