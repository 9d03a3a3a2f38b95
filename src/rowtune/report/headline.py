"""The sentence at the head of a page: what was learned, and how good it is, plainly."""

from __future__ import annotations

from rowtune.learn.result import Extension
from rowtune.report.confidence import level
from rowtune.report.readable import plural
from rowtune.report.verdict import OURS

CLOSENESS = {"high": "close to", "medium": "roughly", "low": "far from"}


def headline(extension: Extension) -> str:
    """Return one sentence; it says so where the rows are bad and where nobody knows."""
    number = len(extension.new_words)
    if not number:
        return "No new word learned: the table already has every word that is frequent enough."
    learned = f"{plural(number, 'new word')} learned"
    ours = extension.pretend_oov.get(OURS)
    grade = level(ours.cosine) if ours is not None else None
    if ours is None or grade is None:
        return f"{learned}; how good the rows are could not be measured."
    belong = f"{CLOSENESS[grade]} where {'they belong' if number > 1 else 'it belongs'}"
    cosine = f"{ours.cosine:.2f}".replace("-", "\u2212")
    them = "them" if number > 1 else "it"
    warning = f" Do not rely on {them}." if grade == "low" else ""
    return f"{learned}, {belong} (cosine {cosine}).{warning}"
