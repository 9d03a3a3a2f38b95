"""Close relatives by spelling: words that share most of their letters from the start.

A hidden ``connections`` is easy while ``connection`` is in sight. Truly new words seldom have such
a relative, so scores over the hidden words without one are the honest forecast for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SHORTEST = 4  # letters that two relatives share at least


def close_relatives(words: Sequence[str], others: Iterable[str]) -> list[str | None]:
    """For each word one of ``others`` with the same stem, or None.

    Two words count as relatives if they share a prefix of at least four letters that is at least
    two thirds of either word. A word is no relative of itself.
    """
    stems: dict[str, list[str]] = {}
    for other in others:
        for size in _sizes(other):
            kept = stems.setdefault(other[:size], [])
            if len(kept) < 2:  # one of two differs from any word
                kept.append(other)
    return [_relative(word, stems) for word in words]


def _relative(word: str, stems: dict[str, list[str]]) -> str | None:
    for size in reversed(_sizes(word)):
        for other in stems.get(word[:size], ()):
            if other != word:
                return other
    return None


def _sizes(word: str) -> range:
    return range(max(_SHORTEST, -(-2 * len(word) // 3)), len(word) + 1)
