"""Sentences of Python's own documentation, and the words in them that a tokenizer shatters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rowtune.learn.corpus import PYTHON_DOCS, Corpus

WORDS, CHARACTERS = 5, 200  # a sentence has at least, and at most
BEGINNING = 6  # words that tell one sentence from another
PIECES = 3  # a word is shattered where it is cut into so many, or more

_SENTENCE_ENDS = re.compile(r"(?<=[.!?:;]) +(?=[A-Z`'\"(])")
# Neither a part of a longer name nor an attribute: "asyncio", but not "asyncio_mode" or ".asyncio".
_WORD = re.compile(r"(?<![\w.])[a-z]{4,}(?!\w)")


def sentences() -> list[str]:
    """Those of the docstrings of the running interpreter's standard library, in a fixed order.

    Two that begin with the same six words are one: "Python Character Mapping Codec cp037 ..." comes
    sixty times, and would be both learned from and tested on.
    """
    kept: dict[tuple[str, ...], str] = {}
    for document in Corpus([PYTHON_DOCS]).documents():
        for paragraph in re.split(r"\n\s*\n", "".join(document)):
            for text in _SENTENCE_ENDS.split(" ".join(paragraph.split())):
                words = re.findall("[a-z]+", text.lower())
                if len(words) >= WORDS and len(text) <= CHARACTERS:
                    kept.setdefault(tuple(words[:BEGINNING]), text)
    return list(kept.values())


def shattered_words(
    texts: Sequence[str], tokenizer: Any, at_least: int, at_most: int
) -> dict[str, list[int]]:
    """Words that the tokenizer cuts into three pieces or more, and the ids of their pieces.

    Parameters
    ----------
    at_least : int
        Sentences that a word must be in.
    at_most : int
        Words; those that most sentences have.
    """
    having = Counter(word for text in texts for word in set(_WORD.findall(text)))
    # By count, then by letters: the choice must not depend on the order of a set.
    often = sorted((w for w in having if having[w] >= at_least), key=lambda w: (-having[w], w))
    pieces = {w: tokenizer(w, add_special_tokens=False)["input_ids"] for w in often}
    shattered = [w for w in often if len(pieces[w]) >= PIECES]
    return {w: pieces[w] for w in shattered[:at_most]}


def is_whole_word_in(words: Sequence[str], text: str) -> bool:
    """Whether one of ``words`` is in ``text``, whatever its case, and not only in a longer word."""
    return not set(words).isdisjoint(re.findall(r"\w+", text.lower()))


def split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of ``count`` sentences 70 % to learn from and 30 % to test on, as positions."""
    order = np.random.default_rng(seed).permutation(count)
    return np.split(order, [int(0.7 * count)])  # type: ignore[return-value]
