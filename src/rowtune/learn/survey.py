"""What a corpus holds, seen from a table: its types, which the table knows, which to learn."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import CorpusError
from rowtune.learn import tokens
from rowtune.learn.result import Coverage
from rowtune.learn.stream import read, settle
from rowtune.vectors import Vectors

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Survey:
    """The settled corpus. Type i is ``types[i]``, seen ``counts[i]`` times."""

    stream: NDArray[np.int32]  # type ids, -1 between documents
    types: list[str]
    counts: NDArray[np.int64]
    row: Ids  # (types,): the type's row in the table, -1 if it has none
    known: (
        Ids  # types the table knows, with letters, at least min_count times: what maps learn from
    )
    new: Ids  # types to learn, most frequent first
    notes: list[str]

    def coverage(self) -> Coverage:
        """Types and tokens the table knows before and after learning; only words are counted."""
        words = np.array([tokens.has_letter(token) for token in self.types])
        before = words & (self.row >= 0)
        after = before.copy()
        after[self.new] = True
        types = [int(chosen.sum()) for chosen in (words, before, after)]
        occurrences = [int(self.counts[chosen].sum()) for chosen in (words, before, after)]
        return Coverage(*types, *occurrences)


def survey(
    vectors: Vectors,
    documents: Iterable[Iterable[str]],
    min_count: int,
    words: Collection[str] | None,
) -> Survey:
    """Read a corpus once and sort its types.

    Raises
    ------
    CorpusError
        If there is no word in the corpus at all.
    """
    lower = tokens.prefers_lower(vectors.words)
    asked = None if words is None else _asked(words, lower)
    raw = read(documents, lower)
    if not raw.types:
        raise CorpusError("the corpus holds no words; give it files with text in them")
    at = _rows(vectors, raw.types)
    in_table = {token for token, row in zip(raw.types, at.tolist(), strict=True) if row >= 0}
    pieces = _Lookup(vectors, in_table, set(raw.types))

    def keep(token: str, count: int) -> bool:
        if token in pieces or (asked is not None and token in asked):
            return True
        return count >= min_count and tokens.is_word(token)

    settled = settle(raw, keep)
    if not any(map(tokens.has_letter, settled.types)):
        raise CorpusError(
            f"the corpus holds no words ({len(raw.ids):,} tokens, none with a letter); "
            "give it files with text in them"
        )
    row = _rows(vectors, settled.types)
    letters = np.array([tokens.has_letter(token) for token in settled.types])
    frequent = settled.counts >= min_count
    known = np.flatnonzero((row >= 0) & letters & frequent)
    notes: list[str] = []
    if asked is None:
        wanted = (row < 0) & letters & frequent
        wanted &= np.array([tokens.is_word(token) for token in settled.types])
    else:
        number = {token: i for i, token in enumerate(settled.types)}
        wanted = np.zeros(len(row), bool)
        wanted[[number[token] for token in asked if token in number]] = True
        notes.extend(_unlearnable(asked, number, row))
        wanted &= row < 0
    new = np.flatnonzero(wanted)
    order = sorted(new.tolist(), key=lambda i: (-int(settled.counts[i]), settled.types[i]))
    return Survey(
        settled.ids, settled.types, settled.counts, row, known, np.array(order, np.int64), notes
    )


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


def _asked(words: Collection[str], lower: bool) -> dict[str, None]:
    cleaned = [word.strip() for word in ([words] if isinstance(words, str) else words)]
    return dict.fromkeys(word.lower() if lower else word for word in cleaned if word)


def _unlearnable(asked: Iterable[str], number: dict[str, int], row: Ids) -> Iterable[str]:
    absent = [word for word in asked if word not in number]
    known = [word for word in asked if word in number and row[number[word]] >= 0]
    for words, why in (
        (absent, "never occur in the corpus and were not learned"),
        (known, "are in the table already and were left as they are"),
    ):
        if words:
            yield f"{len(words):,} of the words asked for {why}: {', '.join(words[:10])}."
