"""The outcome of an extension as plain Python values, ready for `json.dump`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from rowtune.learn.result import Extension, NewWord
from rowtune.report.readable import readable


def summary(extension: Extension) -> dict[str, Any]:
    """Return everything about ``extension`` but the learned rows, which are in the file it wrote.

    Returns
    -------
    dict with the keys ``new_words`` (count), ``frozen`` (``rows``, ``sha256_before``,
    ``sha256_after``, ``identical``), ``pretend_oov`` (method -> ``cosine``, ``median_rank``,
    ``overlap10``; ours is ``"rowtune"``), ``held_out`` (number of words behind those scores),
    ``coverage``, ``settings``, ``seconds``, ``notes`` and ``words`` (``word``, ``count``,
    ``contexts``, ``lacking``, ``known_form``, ``neighbours`` as [word, cosine] pairs). Bytes of a
    word that are no UTF-8 appear as U+FFFD; numbers that JSON lacks (NaN, infinity) as null.
    """
    frozen = extension.frozen
    whole = {
        "new_words": len(extension.new_words),
        "frozen": {**asdict(frozen), "identical": frozen.identical},
        "pretend_oov": {method: asdict(score) for method, score in extension.pretend_oov.items()},
        "held_out": len(extension.held_out),
        "coverage": asdict(extension.coverage),
        "settings": extension.settings,
        "seconds": extension.seconds,
        "notes": extension.notes,
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
