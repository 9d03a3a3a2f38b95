"""How far a new row can be trusted: a number from hidden words, and a word for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rowtune.learn.result import Extension, HeldOutWord
from rowtune.report.verdict import OURS

# Cosines with the true row. `bands` says in every report what they were worth on that table.
HIGH, MEDIUM = 0.65, 0.5
LEVELS = ("high", "medium", "low")


@dataclass(frozen=True)
class Band:
    """The hidden words that came back with a cosine of one level."""

    level: str
    range: str  # "0.65 or more"
    words: int
    median_rank: float | None  # of the true row; None where no word came back so


def level(cosine: float | None) -> str | None:
    """Return ``"high"``, ``"medium"`` or ``"low"``; None for None and for what is no number."""
    if cosine is None or np.isnan(cosine):
        return None
    return LEVELS[0] if cosine >= HIGH else LEVELS[1] if cosine >= MEDIUM else LEVELS[2]


def bands(extension: Extension) -> list[Band]:
    """Say what each level meant for the hidden words, so that the thresholds are no mere words."""
    measured = [word for word in extension.held_out if OURS in word.cosine and OURS in word.rank]
    ranges = (f"{HIGH:.2f} or more", f"{MEDIUM:.2f} to {HIGH:.2f}", f"below {MEDIUM:.2f}")
    return [
        _band(name, text, [word for word in measured if level(word.cosine[OURS]) == name])
        for name, text in zip(LEVELS, ranges, strict=True)
    ]


def _band(name: str, text: str, words: Sequence[HeldOutWord]) -> Band:
    rank = float(np.median([word.rank[OURS] for word in words])) if words else None
    return Band(name, text, len(words), rank)
