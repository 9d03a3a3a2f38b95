"""How text becomes tokens that a published table of word vectors is likely to know.

Tables such as GloVe were trained on text where clitics (``n't``, ``'s``) and punctuation are
tokens of their own while hyphenated and dotted forms stay whole. Technical text adds identifiers.
So a token is first taken as long as possible (``os.path``, ``utf-8``, ``__init__``) and read as its
parts only where neither the table nor the corpus has enough of the whole (`rowtune.learn.stream`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Abbreviations ("i.e."), then runs of word characters joined by single marks ("c++" included), then
# rulers, then one punctuation mark. No capturing group: findall must return whole tokens.
_TOKEN = re.compile(
    r"(?:[^\W\d_]\.){2,}(?!\w)"
    r"|\w+(?:[/.'\-]\w+)*(?:\+\+(?!\w))?"
    r"|\.{2,}|-{2,}|={2,}|\*{2,}|#{2,}|~{2,}"
    r"|[^\w\s]"
)
_CLITIC = re.compile(r"([^']+?)(n't|'(?:s|re|ve|ll|d|m))")
_LETTER = re.compile(r"[^\W\d_]")

# Coarse to fine: a path falls into dotted names before a name falls into words.
STEPS = ("/", ".", "'", "-", "_", "+", "=*#~")


def prefers_lower(words: Iterable[str]) -> bool:
    """Whether (almost) no word of a table has a capital: then text is lower-cased for it."""
    cased = letters = 0
    for word in words:
        if _LETTER.search(word):
            letters += 1
            cased += word != word.lower()
    return cased * 1000 <= letters


def split(text: str, lower: bool) -> list[str]:
    """The longest-form tokens of ``text``, in order."""
    if lower:
        text = text.lower()
    return _TOKEN.findall(text.replace("\u2019", "'"))


def has_letter(token: str) -> bool:
    """Whether a token is a word at all: numbers and punctuation have no letter."""
    return _LETTER.search(token) is not None


def is_word(token: str) -> bool:
    """Whether a token is worth a row of its own: it has a letter, and is neither path nor clitic.

    ``don't`` is two tokens to the tables, and ``and/or`` two words to a reader.
    """
    return has_letter(token) and "/" not in token and not _CLITIC.fullmatch(token)


def parts(token: str, step: str) -> list[str]:
    """``token`` split at the joiner ``step`` (one of `STEPS`); ``[token]`` when it has none.

    Joiners are dropped, clitics keep their apostrophe (``isn't`` is ``is`` and ``n't``), and a
    ruler such as ``=====`` says no more than ``=``.
    """
    if token[0] in step:
        stripped = token.strip(step)
        return [token[0]] if not stripped else parts(stripped, step)
    if step == "'":
        clitic = _CLITIC.fullmatch(token)
        if clitic:
            return [clitic.group(1), clitic.group(2)]
    return [piece for piece in token.split(step) if piece] or [token]
