"""Words that somebody asks for: how the text has them, and which of them can be learned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from rowtune.learn import tokens
from rowtune.learn.phrases import form
from rowtune.learn.stream import Stream, join
from rowtune.vectors import Vectors

Wishes = dict[str, tuple[str, ...]]  # type -> the tokens that a text has in its place


def wishes(words: Iterable[str], lower: bool, vectors: Vectors) -> Wishes:
    """What type each word is: ``dead letter queue`` is ``dead_letter_queue``, of three tokens."""
    found: Wishes = {}
    for word in words:
        parts = tuple(tokens.split(word, lower))
        if len(parts) == 1:
            found[parts[0]] = parts
        elif parts:
            found[form((word.lower() if lower else word).split(), vectors.__contains__)] = parts
    return found


def join_wishes(stream: Stream, wished: Wishes, vectors: Vectors) -> Stream:
    """Make one type of each word that is several tokens, unless the table knows it."""
    long = {name: parts for name, parts in wished.items() if len(parts) > 1 and name not in vectors}
    if not long:
        return stream
    number = {token: i for i, token in enumerate(stream.types)}
    runs = {
        tuple(number[part] for part in parts): name
        for name, parts in long.items()
        if all(part in number for part in parts)
    }
    return join(stream, runs)


def unlearnable(
    wished: Iterable[str], types: Collection[str], vectors: Vectors, what: str
) -> Iterator[str]:
    """A sentence on the words that never occur, and one on those that need no learning."""
    known = [word for word in wished if word in vectors]
    absent = [word for word in wished if word not in types and word not in vectors]
    for words, why in (
        (absent, "never occur in the corpus and were not learned"),
        (known, "are in the table already and were left as they are"),
    ):
        if words:
            more = ", ..." if len(words) > 10 else ""
            yield f"{len(words):,} of the {what} {why}: {', '.join(words[:10])}{more}."
