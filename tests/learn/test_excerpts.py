"""Places of the text for a word: which ones, and where they end."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from rowtune.learn.excerpts import _AROUND, excerpts
from rowtune.learn.survey import Survey


def read(text):
    """A survey of this text; ``|`` ends a document."""
    words = text.split()
    types = sorted(set(words) - {"|"})
    stream = np.array([-1 if w == "|" else types.index(w) for w in words], np.int32)
    counts = np.bincount(stream[stream >= 0], minlength=len(types))
    given = {"stream": stream, "types": types, "counts": counts}
    none = np.empty(0, np.int64)  # of what excerpts have no need
    return Survey(**{field.name: given.get(field.name, none) for field in fields(Survey)})


def places(text, word, most=3):
    survey = read(text)
    return excerpts(survey, np.array([survey.types.index(word)]), most)[0]


def test_a_place_is_the_word_with_so_many_tokens_on_either_side():
    text = " ".join(f"w{i}" for i in range(50))
    words = text.split()
    assert places(text, "w25") == (" ".join(words[25 - _AROUND : 25 + _AROUND + 1]),)
    assert _AROUND == 8


@pytest.mark.parametrize(("word", "expected"), [("a", "a b c d"), ("d", "a b c d")])
def test_a_word_at_either_end_of_the_text(word, expected):
    assert places("a b c d", word) == (expected,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x y | a W b | z", "a W b"),
        ("x | y | a W | z", "a W"),
        ("x y | W | z", "W"),
        ("W b | z | q |", "W b"),
        ("| | a W", "a W"),
    ],
)
def test_a_place_ends_where_its_document_ends(text, expected):
    assert places(text, "W") == (expected,)


def around(text, word, most=3):
    """Numbers of the occurrences that were taken: each stands behind a token that counts them."""
    found = places(text, word, most)
    return [int(place.split()[place.split().index(word) - 1][1:]) for place in found]


@pytest.mark.parametrize(
    ("times", "most", "expected"),
    [
        (1, 3, [0]),
        (2, 3, [0, 1]),
        (3, 3, [0, 1, 2]),
        (6, 3, [0, 2, 5]),
        (30, 3, [0, 14, 29]),
        (30, 1, [0]),
        (8, 4, [0, 2, 4, 7]),
        (2, 5, [0, 1]),
    ],
)
def test_the_first_place_is_the_first_and_the_others_are_spread(times, most, expected):
    # Documents of their own, so that no place sees the next occurrence.
    assert around(" | ".join(f"n{i} W" for i in range(times)), "W", most) == expected


def test_no_more_than_asked_for_where_the_count_does_not_divide():
    for times in range(1, 40):
        found = around(" | ".join(f"n{i} W" for i in range(times)), "W")
        assert len(found) == min(times, 3) and found[0] == 0
        assert sorted(set(found)) == found


def test_each_type_gets_its_own_places_in_the_order_asked_for():
    survey = read("a b | b c | c d e | b")
    asked = np.array([survey.types.index(word) for word in "eab"])
    assert excerpts(survey, asked) == [("c d e",), ("a b",), ("a b", "b c", "b")]
    assert excerpts(survey, asked[:0]) == []
