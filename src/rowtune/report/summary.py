"""The outcome of an extension as plain Python values, ready for `json.dump`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from rowtune.learn.result import Extension, NewWord, PartScore
from rowtune.report.confidence import level
from rowtune.report.provenance import versions
from rowtune.report.readable import readable


def summary(extension: Extension, *, command: str | None = None) -> dict[str, Any]:
    """Return everything about ``extension`` but the learned rows, which are in the file it wrote.

    Parameters
    ----------
    extension : Extension
        What `rowtune.learn.extend` returned.
    command : str, optional
        The command that a reader types to get the same result.

    Returns
    -------
    dict with the keys ``new_words`` (count), ``frozen`` (``rows``, ``sha256_before``,
    ``sha256_after``, ``identical``), ``pretend_oov`` (method -> ``cosine``, ``median_rank``,
    ``overlap10``; ours is ``"rowtune"``), ``held_out`` (number of words behind those scores),
    ``parts`` (``part``, ``method``, ``words``, the three scores, each with a 95 % ``_interval``),
    ``coverage``, ``settings``, ``seconds``, ``notes``, ``corpus_sha256`` (null if unknown),
    ``provenance`` (versions, machine, the command if given) and ``words`` (``word``, ``count``,
    ``contexts``, ``lacking``, ``known_form``, ``neighbours`` as [word, cosine] pairs,
    ``confidence`` and its ``confidence_level``, null where nothing was measured, ``excerpts``).
    Bytes of a word that are no UTF-8 appear as U+FFFD; numbers that JSON lacks (NaN, infinity) as
    null.
    """
    frozen = extension.frozen
    whole = {
        "new_words": len(extension.new_words),
        "frozen": {**asdict(frozen), "identical": frozen.identical},
        "pretend_oov": {method: asdict(score) for method, score in extension.pretend_oov.items()},
        "held_out": len(extension.held_out),
        "parts": [_part(part) for part in extension.parts],
        "coverage": asdict(extension.coverage),
        "settings": extension.settings,
        "seconds": extension.seconds,
        "notes": extension.notes,
        "corpus_sha256": extension.corpus_sha256 or None,
        "provenance": {**versions(), **({"command": command} if command else {})},
        "words": [_word(word) for word in extension.new_words],
    }
    plain: dict[str, Any] = _plain(whole)
    return plain


def _word(word: NewWord) -> dict[str, Any]:
    return {
        "word": word.word,
        "count": word.count,
        "contexts": word.contexts,
        "lacking": word.lacking,
        "known_form": word.known_form,
        "neighbours": word.neighbours,
        "confidence": word.confidence,
        "confidence_level": level(word.confidence),
        "excerpts": word.excerpts,
    }


def _part(part: PartScore) -> dict[str, Any]:
    return {
        "part": part.part,
        "method": part.method,
        "words": part.words,
        **asdict(part.score),
        "cosine_interval": part.cosine_interval,
        "median_rank_interval": part.rank_interval,
        "overlap10_interval": part.overlap_interval,
    }


def _plain(value: Any) -> Any:
    """Turn NumPy scalars and arrays, tuples, sets and paths into what JSON knows."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {readable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=str)
    return readable(str(value))
