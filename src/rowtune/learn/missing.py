"""Why a table lacks a word: for its case, punctuation or number alone, or because it is new."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_PUNCTUATION = re.compile(r"[^\w\s]|_")
_DIGITS = re.compile(r"\d+")


def reason(word: str, known: Callable[[str], bool], phrase: bool = False) -> tuple[str, str | None]:
    """Why ``word`` is lacking, and the known form that differs in that alone.

    Parameters
    ----------
    word : str
        A word that is not in the table.
    known : callable
        Whether the table has a form.
    phrase : bool
        It stands for several words of the text, which is reason enough.

    Returns
    -------
    lacking : "case", "punctuation", "number", "phrase" or "new"
        "number" is either sense of the word: other digits (``python3``, ``python``; tables that
        mask digits as ``#`` or ``0`` count too), or singular for plural and the reverse.
    known_form : str or None
    """
    if phrase:
        return "phrase", None
    for lacking, forms in (
        ("case", _cases(word)),
        ("punctuation", _unpunctuated(word)),
        ("number", _numbers(word)),
    ):
        for form in forms:
            if form and form != word and known(form):
                return lacking, form
    return "new", None


def _cases(word: str) -> Iterator[str]:
    yield from (word.lower(), word.capitalize(), word.upper(), word.title())


def _unpunctuated(word: str) -> Iterator[str]:
    if not _PUNCTUATION.search(word):
        return
    yield word.strip("_")
    yield _PUNCTUATION.sub("", word)
    for mark in ("-", "_", "."):
        yield _PUNCTUATION.sub(mark, word)


def _numbers(word: str) -> Iterator[str]:
    if _DIGITS.search(word):
        yield _DIGITS.sub(lambda run: "#" * len(run.group()), word)
        yield _DIGITS.sub(lambda run: "0" * len(run.group()), word)
        yield _DIGITS.sub("", word).strip("-_.")
    if word.endswith("ies"):
        yield word[:-3] + "y"
    if word.endswith("es"):
        yield word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]
    else:
        yield word + "s"
        yield word + "es"
