"""A glossary: words with a one-line definition each, as a person has them in a file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import CorpusError
from rowtune.learn import tokens
from rowtune.learn.stream import BREAK, Stream

# A tab wins over all others, as words may hold any of the marks; then the first of the marks.
# ":" and "=" may cling to the word; a dash is one only between blanks, or "well-known" would end.
_MARK = re.compile(r"\s*[:=](?=\s)\s*|\s+[-=:\u2013\u2014]+\s+|(?<=\s)=")
_FORM = "write one entry a line as 'word<TAB>definition', 'word: definition' or 'word - definition'"


def read_glossary(path: str | os.PathLike[str]) -> dict[str, str]:
    """The words of a glossary with their definitions, in the order of the file.

    One entry a line: ``word``, then a tab, ``: ``, `` - `` or `` = ``, then its definition. Blank
    lines and lines that begin with ``#`` are skipped. A word that comes again keeps all of its
    definitions. Bytes that are no UTF-8 become U+FFFD, as they do in a corpus.

    Raises
    ------
    CorpusError
        If a line has no word, no separator or no definition; it names the file and the line. Or if
        there is no entry at all.
    """
    text = Path(path).read_bytes().decode("utf-8", "replace").removeprefix("\ufeff")
    entries: dict[str, str] = {}
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        word, definition = _entry(line)
        if not word or not definition:
            missing = "word" if definition else "definition"
            raise CorpusError(
                f"{os.fspath(path)}:{number}: no {missing} in {_shown(stripped)}; {_FORM}"
            )
        entries[word] = f"{entries[word]} . {definition}" if word in entries else definition
    if not entries:
        raise CorpusError(f"{os.fspath(path)}: this glossary has no entries; {_FORM}")
    return entries


def _entry(line: str) -> tuple[str, str]:
    if "\t" in line.strip():
        word, _, definition = line.partition("\t")
    else:
        word, *rest = _MARK.split(line, maxsplit=1)
        definition = rest[0] if rest else ""
    return " ".join(word.split()), " ".join(definition.split())


def _shown(line: str) -> str:
    return repr(line if len(line) <= 40 else line[:37] + "...")


def definitions(glossary: Mapping[str, str], window: int) -> Iterator[str]:
    """Each definition as a text in which its word is never further than ``window`` tokens away.

    The word stands at the beginning, at the end, and after every ``window`` tokens in between.
    """
    for word, definition in glossary.items():
        said = tokens.split(definition, False)
        pieces = [said[i : i + window] for i in range(0, len(said), window)]
        yield " ".join(part for piece in pieces for part in (word, *piece)) + f" {word}\n"


def outside(stream: Stream, entries: int) -> NDArray[np.int64]:
    """(types,): occurrences in the text proper; its last ``entries`` documents are definitions."""
    if not entries:
        return stream.counts
    ends = np.flatnonzero(stream.ids == BREAK)
    begin = int(ends[-entries - 1]) + 1 if len(ends) > entries else 0
    defined = np.asarray(stream.ids[begin:])
    return stream.counts - np.bincount(defined[defined >= 0], minlength=len(stream.types))
