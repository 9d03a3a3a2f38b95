"""The island of data: what the scripts read is complete, plain, and cannot end its element."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rowtune.learn.result import PartScore, Score
from rowtune.report.page_data import page_data
from rowtune.report.verdict import ranked_words
from rowtune.report.word_map import place_words


def read(case, extension=None):
    extension = extension or case.extension
    words = [extension.new_words[i] for i in ranked_words(extension)]
    places = place_words(extension, case.vectors, most=9, around=2)
    return words, places, json.loads(page_data(extension, words, places))


def test_columns_stand_in_the_order_of_the_table(full):
    words, _, data = read(full)
    columns = data["words"]
    assert columns["count"] == [word.count for word in words]
    assert columns["contexts"] == [word.contexts for word in words]
    assert columns["confidence"] == [word.confidence for word in words]
    assert columns["lacking"] == [word.lacking for word in words]
    assert [len(texts) for texts in columns["excerpts"]] == [len(w.excerpts) for w in words]


def test_the_map_begins_with_the_first_words_of_the_table(full):
    words, places, data = read(full)
    assert list(places.new) == [word.word for word in words[:9]]
    np.testing.assert_allclose(data["map"]["new"], places.flat_new, atol=1e-4)
    np.testing.assert_allclose(data["map"]["known"], places.flat_known, atol=1e-4)
    assert data["map"]["names"] == list(places.known)
    assert data["map"]["tied"] == list(places.tied)


def test_scores_come_with_their_intervals(full):
    _, _, data = read(full)
    part = next(p for p in data["parts"] if (p["part"], p["method"]) == ("all", "a la carte"))
    assert part["name"] == "\u00e0 la carte alone"
    assert part["words"] == 60
    assert part["cosine"] == pytest.approx([0.3, 0.2, 0.4])
    assert part["rank"] == pytest.approx([80.5, 64.4, 96.6])
    assert data["levels"] == [0.65, 0.5]
    assert len(data["hidden"]["words"]) == 60


def test_no_number_that_json_lacks(full):
    nan = float("nan")
    strange = PartScore("all", "x", 9, Score(nan, nan, nan), (nan, nan), (0, np.inf), (nan, nan))
    _, _, data = read(full, replace(full.extension, parts=(strange,)))
    assert data["parts"][0]["cosine"] == [None, None, None]
    assert data["parts"][0]["rank"] == [None, 0, None]
