"""The sentences that every report opens with, written once."""

from __future__ import annotations

from rowtune.learn.result import Extension, NewWord
from rowtune.report.readable import method_name, plural, rank_text, readable

OURS = "rowtune"
WHY = {
    "case": "case differs",
    "punctuation": "punctuation differs",
    "number": "number differs",
    "phrase": "several words of the text",
    "new": "new",
}


def best_methods(extension: Extension) -> dict[str, set[str]]:
    """For ``cosine``, ``median_rank`` and ``overlap10`` the methods that do best, ties included."""
    scores = extension.pretend_oov
    if not scores:
        return {"cosine": set(), "median_rank": set(), "overlap10": set()}
    cosine = max(score.cosine for score in scores.values())
    rank = min(score.median_rank for score in scores.values())
    overlap = max(score.overlap10 for score in scores.values())
    return {
        "cosine": {name for name, score in scores.items() if score.cosine == cosine},
        "median_rank": {name for name, score in scores.items() if score.median_rank == rank},
        "overlap10": {name for name, score in scores.items() if score.overlap10 == overlap},
    }


def scores_sentence(extension: Extension) -> str:
    """Return the pretend-OOV headline: ours, the best other method, and where we lose."""
    ours = extension.pretend_oov.get(OURS)
    if ours is None:
        return (
            "No known word was frequent enough to be hidden and learned again: quality unmeasured."
        )
    words = plural(len(extension.held_out), "known word")
    text = (
        f"Hidden and learned again, {words} came back at median rank "
        f"{rank_text(ours.median_rank)} of {extension.frozen.rows:,} (cosine {ours.cosine:.2f})"
    )
    others = {name: score for name, score in extension.pretend_oov.items() if name != OURS}
    if others:
        name, score = min(others.items(), key=lambda pair: pair[1].median_rank)
        text += (
            f"; the best other method, {method_name(name)}, at {rank_text(score.median_rank)} "
            f"({score.cosine:.2f})"
        )
    return text + "." + _where_we_lose(extension)


def _where_we_lose(extension: Extension) -> str:
    titles = {"cosine": "cosine", "median_rank": "median rank", "overlap10": "overlap at 10"}
    lost = [
        f"{titles[measure]} ({', '.join(sorted(method_name(name) for name in winners))})"
        for measure, winners in best_methods(extension).items()
        if OURS not in winners
    ]
    if not lost:
        return ""
    first, last = lost[:-1], lost[-1]
    return f" Another method did better on {', '.join(first)}{' and ' if first else ''}{last}."


def why(word: NewWord) -> str:
    """Say why the table lacked ``word``, with the form that it does have."""
    reason = WHY.get(word.lacking, word.lacking)
    return f"{reason}: {readable(word.known_form)}" if word.known_form else reason


def ranked_words(extension: Extension) -> list[int]:
    """Positions of the new words as a reader wants them: new altogether first, then by count."""
    words = extension.new_words
    return sorted(range(len(words)), key=lambda i: (words[i].lacking != "new", -words[i].count))
