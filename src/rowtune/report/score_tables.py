"""Tables of pretend-OOV for a page: methods, parts of the hidden words, the best and the worst."""

from __future__ import annotations

from dataclasses import dataclass

from rowtune.learn.result import Extension, HeldOutWord, PartScore
from rowtune.report.verdict import OURS, best_methods

EVERY = "all"
# What a new row can be learned from, one after the other, then all methods' common yardstick.
SOURCES = {"spelling": "form only", "contexts only": "contexts only", OURS: "both (Rowtune)"}
SHOWN = 8  # hidden words at each end


@dataclass(frozen=True)
class PartRow:
    """One part of the hidden words, with the scores from form, from contexts and from both."""

    name: str
    words: int
    scores: tuple[PartScore | None, ...]  # in the order of `source_heads`


def spread_of(extension: Extension) -> dict[str, PartScore]:
    """Return method -> its score over all hidden words, with intervals; empty if none were made."""
    return {part.method: part for part in extension.parts if part.part == EVERY}


def level_with_best(extension: Extension) -> set[str]:
    """Return the methods whose interval of the median rank meets that of the best one.

    Hidden words are few: where intervals overlap, they do not tell the methods apart.
    """
    spread = spread_of(extension)
    if not spread:
        return set()
    best = min(spread.values(), key=lambda part: part.score.median_rank)
    low, high = best.rank_interval
    return {
        method
        for method, part in spread.items()
        if part.rank_interval[0] <= high and part.rank_interval[1] >= low
    }


def source_heads(extension: Extension) -> list[str]:
    """Return the columns of `part_rows`: the sources that were measured."""
    return [head for method, head in SOURCES.items() if method in extension.pretend_oov]


def part_rows(extension: Extension) -> list[PartRow]:
    """Return one row for each part of the hidden words, in the order they came."""
    methods = [method for method in SOURCES if method in extension.pretend_oov]
    at = {(part.part, part.method): part for part in extension.parts}
    rows = []
    for name in dict.fromkeys(part.part for part in extension.parts):
        scores = tuple(at.get((name, method)) for method in methods)
        words = next(part.words for part in extension.parts if part.part == name)
        rows.append(PartRow(name, words, scores))
    return rows


def best_and_worst(extension: Extension) -> tuple[list[HeldOutWord], list[HeldOutWord]]:
    """Return the hidden words that came back closest and farthest, no word in both lists."""
    words = [word for word in extension.held_out if OURS in word.cosine and OURS in word.rank]
    words.sort(key=lambda word: -word.cosine[OURS])
    shown = min(SHOWN, len(words) // 2)
    return words[:shown], words[len(words) - shown :][::-1]


def lost_by_noise(extension: Extension) -> bool:
    """Tell whether every measure we lost on is one where our interval meets the winner's."""
    spread = spread_of(extension)
    if OURS not in spread:
        return False
    ours = spread[OURS]
    lost = [
        (_interval(ours, measure), _interval(spread[name], measure))
        for measure, winners in best_methods(extension).items()
        for name in winners
        if OURS not in winners and name in spread
    ]
    return bool(lost) and all(a[0] <= b[1] and b[0] <= a[1] for a, b in lost)


def _interval(part: PartScore, measure: str) -> tuple[float, float]:
    intervals = {
        "cosine": part.cosine_interval,
        "median_rank": part.rank_interval,
        "overlap10": part.overlap_interval,
    }
    return intervals[measure]
