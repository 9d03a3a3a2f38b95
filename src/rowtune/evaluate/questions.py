"""Analogy questions, a is to b as c is to d, in sections, as word2vec's questions-words.txt."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rowtune.errors import FormatError
from rowtune.evaluate.datasets import ANALOGIES, lines_of, locate

NO_SECTION = "(no section)"
_FORM = "expected four words, or ': name' where a section begins"


@dataclass(frozen=True)
class Questions:
    """Question i is ``words[i]`` and belongs to ``sections[section[i]]``."""

    name: str
    words: tuple[tuple[str, str, str, str], ...]
    section: tuple[int, ...]
    sections: tuple[str, ...]
    notes: tuple[str, ...]


def read_questions(path_or_name: str | os.PathLike[str]) -> Questions:
    """Read questions from a file, or those that gensim has as ``questions-words``.

    A line is four words, or a colon and the name of the section that begins. Blank lines and lines
    that begin with ``//`` or ``#`` are skipped. A question that occurs again counts again.

    Raises
    ------
    FormatError
        For a line that is none of this; the message has its number.
    """
    path = locate(path_or_name, ANALOGIES)
    words: list[tuple[str, str, str, str]] = []
    section: list[int] = []
    sections: dict[str, int] = {}
    here = NO_SECTION
    for number, line in lines_of(path):
        if line.startswith(("//", "#")):
            continue
        if line.startswith(":"):
            here = line[1:].strip() or NO_SECTION
            continue
        parts = line.split()
        if len(parts) != 4:
            raise FormatError(f"{path}, line {number}: {_counted(parts)}; {_FORM}")
        words.append((parts[0], parts[1], parts[2], parts[3]))
        section.append(sections.setdefault(here, len(sections)))
    if not words:
        raise FormatError(f"{path}: holds no questions; {_FORM}")
    twice = len(words) - len(set(words))
    again = f"{twice:,} of its {len(words):,} questions occur again; each line counts"
    notes = (again,) if twice else ()
    return Questions(Path(path_or_name).name, tuple(words), tuple(section), tuple(sections), notes)


def _counted(parts: Sequence[str]) -> str:
    return "1 word" if len(parts) == 1 else f"{len(parts)} words"
