"""Known words that are one slip of the keyboard away from another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Typos:
    """Finds the frequent word that a rare one was probably meant to be: the first letter is right.

    Every word is indexed by itself and by what is left of it when one character is dropped: two
    words that are one edit apart (a character more, less or other, or two neighbours swapped) have
    one of these in common. So a search costs the length of the word, not the size of the table.

    Parameters
    ----------
    words : iterable of str
        Frequent words, the most frequent first: of several that are one edit away the first is
        meant.
    shortest : int
        Shorter words are left out; there nearly every word is one edit away from another.
    """

    def __init__(self, words: Iterable[str], shortest: int = 5) -> None:
        self.shortest = shortest
        self.words = [word for word in words if len(word) >= shortest and word.isalpha()]
        self._with: dict[str, list[int]] = {}
        for i, word in enumerate(self.words):
            for form in _forms(word):
                self._with.setdefault(form, []).append(i)

    def meant(self, word: str) -> str | None:
        """The frequent word that is one edit from ``word``, if there is any."""
        if len(word) < self.shortest or not word.isalpha():
            return None
        near = {i for form in _forms(word) for i in self._with.get(form, ())}
        for meant in (self.words[i] for i in sorted(near)):
            # Slips seldom hit the first letter; what differs there is mostly another word.
            if meant[0] == word[0] and is_one_edit(word, meant):
                return meant
        return None


def _forms(word: str) -> Iterator[str]:
    yield word
    yield from {word[:i] + word[i + 1 :] for i in range(len(word))}


def is_one_edit(one: str, other: str) -> bool:
    """Whether one insertion, deletion, substitution or swap of neighbours makes one the other."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    a, b = one[at:], other[at:]
    if len(a) != len(b):
        return a[1:] == b if len(a) > len(b) else a == b[1:]
    return a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
