"""What a corpus holds, seen from a table: its types, which the table knows, which to learn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import CorpusError
from rowtune.learn import tokens
from rowtune.learn.glossary import definitions, outside
from rowtune.learn.nearest import usable
from rowtune.learn.phrases import join_phrases
from rowtune.learn.result import Coverage
from rowtune.learn.stream import Stream, read, settle
from rowtune.learn.wishes import join_wishes, unlearnable, wishes
from rowtune.vectors import Vectors

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Survey:
    """The settled corpus. Type i is ``types[i]``, seen ``counts[i]`` times."""

    stream: NDArray[np.int32]  # type ids, -1 between documents
    types: list[str]
    counts: NDArray[np.int64]
    said: Ids  # (types,): the same without the definitions of a glossary
    row: Ids  # (types,): the type's row in the table, -1 if it has none
    known: (
        Ids  # types the table knows, with letters, at least min_count times: what maps learn from
    )
    new: Ids  # types to learn, most frequent first
    notes: list[str]
    width: Ids  # (types,): the words that a type stands for, more than one if it is a phrase
    plain: Ids  # (4,): the words before phrases were joined, see `_plain`

    def coverage(self) -> Coverage:
        """Types and tokens the table knows before and after learning; only words are counted.

        They are the words of the text as it stands: a phrase covers those that it is made of.
        """
        types, known_types, occurrences, known_occurrences = self.plain.tolist()
        lacking = np.array([tokens.has_letter(token) for token in self.types]) & (self.row < 0)
        lacking[self.new] = False
        left = int((self.said * self.width)[lacking].sum())
        words = int(((self.width[self.new] == 1) & (self.said[self.new] > 0)).sum())
        return Coverage(
            types, known_types, known_types + words, occurrences, known_occurrences,
            occurrences - left,
        )  # fmt: skip


def survey(
    vectors: Vectors,
    documents: Iterable[Iterable[str]],
    min_count: int,
    words: Collection[str] | None,
    *,
    window: int = 10,
    phrases: bool = False,
    glossary: Mapping[str, str] | None = None,
    enough: Callable[[], bool] | None = None,
) -> Survey:
    """Read a corpus once and sort its types; for the parameters see `rowtune.learn.extend`.

    Raises
    ------
    CorpusError
        If there is no word in the corpus at all.
    """
    lower = tokens.prefers_lower(vectors.words)
    listed = [words] if isinstance(words, str) else words
    asked = None if listed is None else wishes(listed, lower, vectors)
    terms = wishes(glossary or (), lower, vectors)
    wished = {**terms, **(asked or {})}
    defined = [(text,) for text in definitions(glossary or {}, window)]
    raw, notes = _read(documents, defined, lower, enough)
    settled = _settle(vectors, join_wishes(raw, wished, vectors), min_count, wished)
    said = outside(settled, len(defined))
    plain = _plain(settled.types, said, _rows(vectors, settled.types))
    joined: dict[str, tuple[str, ...]] = {}
    if phrases:
        settled, joined = _with_phrases(vectors, settled, min_count, wished)
        notes.append(_about(joined, vectors))
    row = _rows(vectors, settled.types)
    letters = np.array([tokens.has_letter(token) for token in settled.types])
    frequent = settled.counts >= min_count
    wanted = _those(settled.types, terms)
    if asked is None:
        wanted |= frequent & np.array([tokens.is_word(token) for token in settled.types])
    else:
        wanted |= _those(settled.types, asked) | (frequent & _those(settled.types, joined))
    for wish, what in ((asked or {}, "words asked for"), (terms, "words of the glossary")):
        notes.extend(unlearnable(wish, set(settled.types), vectors, what))
    new = np.flatnonzero(wanted & (row < 0)).tolist()
    new.sort(key=lambda i: (-int(settled.counts[i]), settled.types[i]))
    return Survey(
        stream=settled.ids,
        types=settled.types,
        counts=settled.counts,
        said=outside(settled, len(defined)),
        row=row,
        known=np.flatnonzero(_has_direction(vectors, row) & letters & frequent),
        new=np.array(new, np.int64),
        notes=notes,
        width=np.array([len(joined.get(token, (token,))) for token in settled.types], np.int64),
        plain=plain,
    )


def _has_direction(vectors: Vectors, row: Ids) -> NDArray[np.bool_]:
    """Whether a type's row can be learned from: not zero, not NaN, not infinite."""
    sound = row >= 0
    sound[sound] = usable(vectors.matrix[row[sound]]).any(axis=1)
    return sound


def _those(types: Sequence[str], names: Collection[str]) -> NDArray[np.bool_]:
    return np.array([token in names for token in types], bool)


class _Until:
    """Documents until somebody has had enough, which is asked after each block of text."""

    def __init__(
        self, documents: Iterable[Iterable[str]], enough: Callable[[], bool] | None
    ) -> None:
        self.documents, self.enough = documents, enough or (lambda: False)
        self.stopped = False

    def __iter__(self) -> Iterator[Iterator[str]]:
        for document in self.documents:
            yield self._blocks(document)
            self.stopped = self.stopped or self.enough()
            if self.stopped:
                return

    def _blocks(self, document: Iterable[str]) -> Iterator[str]:
        for block in document:
            yield block
            self.stopped = self.enough()
            if self.stopped:
                return


def _read(
    documents: Iterable[Iterable[str]],
    defined: list[tuple[str]],
    lower: bool,
    enough: Callable[[], bool] | None,
) -> tuple[Stream, list[str]]:
    """The corpus with the definitions behind it, and a note if reading ended early."""
    reading = _Until(documents, enough)
    raw = read(chain(reading, defined), lower)
    words = _words(raw) - _words(read(defined, lower))
    if not words:
        if reading.stopped:
            raise CorpusError("reading was stopped before the first word; nothing was learned")
        found = f" ({len(raw.ids):,} tokens, none with a letter)" if raw.types else ""
        raise CorpusError(f"the corpus holds no words{found}; give it files with text in them")
    if not reading.stopped:
        return raw, []
    return raw, [f"Reading ended early, as was asked, after {words:,} words."]


def _words(stream: Stream) -> int:
    letters = np.array([tokens.has_letter(token) for token in stream.types], bool)
    return int(stream.counts[letters].sum())


def _settle(vectors: Vectors, raw: Stream, min_count: int, wished: Collection[str]) -> Stream:
    in_table = {
        token
        for token, row in zip(raw.types, _rows(vectors, raw.types).tolist(), strict=True)
        if row >= 0
    }
    pieces = _Lookup(vectors, in_table, set(raw.types))

    def keep(token: str, count: int) -> bool:
        if token in pieces or token in wished:
            return True
        return count >= min_count and tokens.is_word(token)

    return settle(raw, keep)


def _with_phrases(
    vectors: Vectors, settled: Stream, min_count: int, wished: Iterable[str]
) -> tuple[Stream, dict[str, tuple[str, ...]]]:
    """The text with its phrases joined, and those of them that it does not have as one word too."""
    words = set(settled.types)
    found = join_phrases(settled, min_count, vectors.__contains__, vectors.words, apart=wished)
    return found.stream, {name: parts for name, parts in found.words.items() if name not in words}


def _about(phrases: Collection[str], vectors: Vectors) -> str:
    known = sum(phrase in vectors for phrase in phrases)
    return (
        f"{len(phrases):,} phrases were joined, {known:,} of them known to the table. Scores are "
        "of hidden words, of which few or none are phrases."
    )


def _plain(types: Sequence[str], counts: Ids, row: Ids) -> Ids:
    """Types that are words, those of them with a row, and the occurrences of either."""
    words = np.array([tokens.has_letter(token) for token in types]) & (counts > 0)
    known = words & (row >= 0)
    return np.array([words.sum(), known.sum(), counts[words].sum(), counts[known].sum()], np.int64)


class _Lookup:
    """Whether the table has a token: all at once for the corpus, one by one for parts of it."""

    def __init__(self, vectors: Vectors, present: set[str], checked: set[str]) -> None:
        self.vectors, self.present, self.checked = vectors, present, checked

    def __contains__(self, token: str) -> bool:
        if token not in self.checked:
            self.checked.add(token)
            if token in self.vectors:
                self.present.add(token)
        return token in self.present


def _rows(vectors: Vectors, words: Sequence[str]) -> Ids:
    return np.asarray(vectors.ids(words, missing="ignore"), np.int64)
