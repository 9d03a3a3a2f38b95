"""`lacking`: what a text has that a table lacks, by type and by token, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rowtune.errors import CorpusError
from rowtune.learn import tokens
from rowtune.learn.compounds import parts_known
from rowtune.learn.missing import reason
from rowtune.learn.stream import read, settle
from rowtune.learn.typos import Typos
from rowtune.vectors import Vectors

KINDS = ("case", "number", "punctuation", "compound", "typo", "new")
_FREQUENT_ROWS = 20_000  # tables have their most frequent words first
_TIMES = 10  # a typo is so much rarer in the text than what was meant


@dataclass(frozen=True)
class Lacking:
    """A type that the table lacks, how often it occurs, and the known words that stand for it."""

    word: str
    count: int
    kind: str  # one of KINDS
    known: tuple[str, ...]  # the form that is known, the parts of a compound, what was meant


@dataclass(frozen=True)
class Gaps:
    """What `lacking` found. Only words, that is tokens with a letter, are types and tokens here."""

    types: int
    tokens: int
    known_types: int
    known_tokens: int
    lower: bool  # the table has no capitals: "case" is what lower-casing the text cures
    lacking: tuple[Lacking, ...]  # most frequent first
    other_tokens: int  # numbers and marks
    known_other_tokens: int

    def of(self, kind: str) -> list[Lacking]:
        """Those of one kind, most frequent first."""
        return [each for each in self.lacking if each.kind == kind]


def lacking(
    vectors: Vectors,
    documents: Iterable[Iterable[str]],
    min_count: int = 5,
    progress: Callable[[str, int, int], None] | None = None,
) -> Gaps:
    """Read a text and sort the words that the table lacks by why it lacks them.

    Text is read as `extend` reads it, but as it is written: a joined form (``os.path``) counts as
    its parts unless the table has it or the text has it ``min_count`` times.

    The first that holds is why a word is lacking. ``case``, ``punctuation`` and ``number``: the
    table has a form that differs in that alone (`rowtune.learn.missing.reason`). ``compound``: the
    table has all parts of a joined, camel-case or closed compound. ``typo``: the word is rarer than
    ``min_count`` and one edit from a frequent known word. ``new``: nothing of all this.

    Parameters
    ----------
    vectors : Vectors
        The table.
    documents : iterable of iterables of str
        As `Corpus.documents` yields them.
    min_count : int
        Words seen so often are neither read as parts nor taken for typos.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.

    Raises
    ------
    CorpusError
        If there is no word in the text.
    """
    lower = tokens.prefers_lower(vectors.words)
    counts = _counts(vectors, documents, min_count, lower)
    words = {token: n for token, n in counts.items() if tokens.has_letter(token)}
    if not words:
        raise CorpusError("the text holds no words; give it files with text in them")
    known = Counter({token: n for token, n in counts.items() if token in vectors})
    known_words = {word: n for word, n in words.items() if word in known}
    found: list[Lacking] = []
    spelled: dict[str, Counter[str]] = {}
    for word, count in words.items():
        folded = word.lower() if lower else word
        if word in known:
            continue
        if folded != word and folded in vectors:
            found.append(Lacking(word, count, "case", (folded,)))
            known[folded] += count
        else:  # NumPy and numpy are one word to a table without capitals
            spelled.setdefault(folded, Counter())[word] += count
    why = _Why(vectors, known, min_count)
    for done, (folded, spellings) in enumerate(spelled.items()):
        word, count = spellings.most_common(1)[0][0], spellings.total()
        found.append(Lacking(word, count, *why(word, folded, count)))
        if progress and done % 1000 == 0:
            progress("sorting", done, len(spelled))
    found.sort(key=lambda each: (-each.count, each.word))
    others = {token: n for token, n in counts.items() if token not in words}
    return Gaps(
        types=len(known_words) + len(found),
        tokens=sum(words.values()),
        known_types=len(known_words),
        known_tokens=sum(known_words.values()),
        lower=lower,
        lacking=tuple(found),
        other_tokens=sum(others.values()),
        known_other_tokens=sum(n for token, n in others.items() if token in known),
    )


def _counts(
    vectors: Vectors, documents: Iterable[Iterable[str]], min_count: int, lower: bool
) -> dict[str, int]:
    """How often each type occurs, where rare joined forms are read as their parts."""

    def keep(token: str, count: int) -> bool:
        if token in vectors or (lower and token.lower() in vectors):
            return True
        return count >= min_count and tokens.is_word(token)

    stream = settle(read(documents, False), keep)
    return dict(zip(stream.types, stream.counts.tolist(), strict=True))


class _Why:
    """Sorts words that have no row and are not merely written in other case."""

    def __init__(self, vectors: Vectors, known: Counter[str], min_count: int) -> None:
        self.known, self.min_count = vectors.__contains__, min_count
        seen = [word for word, n in known.most_common() if n >= _TIMES * min_count]
        frequent = dict.fromkeys([*seen, *vectors.words[:_FREQUENT_ROWS]])
        self.typos, self.frequent = Typos(frequent), frequent.keys()

    def __call__(self, word: str, folded: str, count: int) -> tuple[str, tuple[str, ...]]:
        kind, form = reason(folded, self.known)
        if form is not None:
            return kind, (form,)
        parts = parts_known(word, self.known, self.frequent)
        if parts:
            return "compound", parts
        meant = self.typos.meant(folded) if count < self.min_count else None
        return ("typo", (meant,)) if meant else ("new", ())
