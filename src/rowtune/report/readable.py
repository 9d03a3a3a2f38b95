"""Words from real files, made fit to be shown: some hold bytes that are no text at all."""

from __future__ import annotations

import unicodedata

METHODS = {
    "rowtune": "Rowtune",
    "a_la_carte": "à la carte alone",
    "a la carte": "à la carte alone",
    "context_mean": "context mean",
    "table_mean": "mean of table",
    "mean_of_table": "mean of table",
}


def readable(word: str) -> str:
    """``word`` as text that any file, browser and terminal accepts.

    Bytes that were not UTF-8 (kept in the word as lone surrogates) and control characters become
    U+FFFD. The word itself is not changed anywhere: this is for the eye only.
    """
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in word)


def method_name(method: str) -> str:
    """The name of a pretend-OOV method as a reader would write it."""
    return METHODS.get(method, method.replace("_", " "))


def rank_text(rank: float) -> str:
    """A median rank: halves are kept where they matter (small ranks), thousands get a comma."""
    return f"{rank:,.1f}" if rank < 10 and rank % 1 else f"{rank:,.0f}"


def plural(number: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
