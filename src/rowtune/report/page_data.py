"""What the scripts of the page draw: numbers and words, in a form that no word can break out of."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from rowtune.learn.result import Extension, NewWord
from rowtune.report.confidence import HIGH, MEDIUM
from rowtune.report.readable import method_name, readable
from rowtune.report.verdict import OURS
from rowtune.report.word_map import Places

FIGURES = 4  # decimals of a cosine or a place: less than a pixel


def page_data(extension: Extension, words: Sequence[NewWord], places: Places) -> str:
    """Return the data as JSON that is safe inside a ``script`` element.

    Parameters
    ----------
    extension : Extension
        What `rowtune.learn.extend` returned.
    words : sequence of NewWord
        The rows of the table in their order; the map shows the first ``len(places.new)`` of them.
    places : Places
        Where the map shows words.
    """
    data = {
        "words": {
            "count": [word.count for word in words],
            "contexts": [word.contexts for word in words],
            "confidence": [_number(word.confidence) for word in words],
            "lacking": [word.lacking for word in words],
            "excerpts": [[readable(text) for text in word.excerpts] for word in words],
        },
        "map": _map(places),
        "parts": [_part(part) for part in extension.parts],
        "hidden": _hidden(extension),
        "ours": OURS,
        "levels": [HIGH, MEDIUM],
        "rows": extension.frozen.rows,
    }
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    # JSON's own escapes: neither </script> nor <!-- can appear, and all is ASCII already.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _map(places: Places) -> dict[str, Any]:
    return {
        "new": [_place(spot) for spot in places.flat_new],
        "known": [_place(spot) for spot in places.flat_known],
        "names": [readable(word) for word in places.known],
        "tied": list(places.tied),
    }


def _place(spot: Any) -> list[float]:
    return [round(float(x), FIGURES) for x in spot]


def _part(part: Any) -> dict[str, Any]:
    return {
        "part": part.part,
        "method": part.method,
        "name": readable(method_name(part.method)),
        "words": part.words,
        "cosine": [_number(x) for x in (part.score.cosine, *part.cosine_interval)],
        "rank": [_number(x) for x in (part.score.median_rank, *part.rank_interval)],
    }


def _hidden(extension: Extension) -> dict[str, Any]:
    """Each hidden word with our cosine and rank, for the cloud over counts."""
    words = [word for word in extension.held_out if OURS in word.cosine]
    return {
        "words": [readable(word.word) for word in words],
        "count": [word.count for word in words],
        "cosine": [_number(word.cosine[OURS]) for word in words],
        "rank": [word.rank.get(OURS) for word in words],
        "relative": [None if w.relative is None else readable(w.relative) for w in words],
    }


def _number(value: float | None) -> float | None:
    """JSON has neither NaN nor infinity."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), FIGURES)
