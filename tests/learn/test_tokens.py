from __future__ import annotations

import numpy as np
import pytest

from rowtune.learn import stream, tokens


def settled(text: str, known=(), min_count: int = 5) -> list[str]:
    found = stream.settle(
        stream.read([[text]], lower=True),
        lambda token, count: token in known or (count >= min_count and tokens.is_word(token)),
    )
    return [found.types[i] if i >= 0 else "|" for i in found.ids]


@pytest.mark.parametrize(
    ("text", "known", "expected"),
    [
        ("Use UTF-8.", {"utf-8"}, ["use", "utf-8", "."]),
        ("os.path is", set(), ["os", "path", "is"]),
        ("os.path is", {"os.path"}, ["os.path", "is"]),
        ("don't, it\u2019s", set(), ["do", "n't", ",", "it", "'s"]),
        ("call __init__()", set(), ["call", "init", "(", ")"]),
        ("/usr/local-x/bin", set(), ["/", "usr", "local", "x", "bin"]),
        ("e.g. C++ 3.14 =====", {"e.g.", "c++", "3.14"}, ["e.g.", "c++", "3.14", "="]),
        ("_a.b_c.d-e_", set(), ["a", "b", "c", "d", "e"]),
    ],
)
def test_tokens_are_read_as_the_table_can_use_them(text, known, expected):
    assert settled(text, known) == [*expected, "|"]


def test_a_frequent_identifier_stays_whole_and_a_rare_one_strengthens_its_parts():
    text = "asyncio.run " * 5 + "asyncio.rare " * 4 + "asyncio "
    assert settled(text, min_count=5).count("asyncio.run") == 5
    assert settled(text, min_count=5).count("asyncio") == 5
    parts = "pkg.mod_a x pkg.mod_a " * 2 + "mod_a"
    assert settled(parts, min_count=5) == ["pkg", "mod_a", "x", "pkg", "mod_a"] * 2 + ["mod_a", "|"]


def test_numbers_paths_and_clitics_are_no_words():
    assert not any(map(tokens.is_word, ["3.14", "--", "and/or", "don't", "1_000"]))
    assert all(map(tokens.is_word, ["o'reilly", "x86_64", "__init__", "naïve"]))


def test_lower_case_is_detected_from_the_table():
    assert tokens.prefers_lower(["the", "of", "3.5", "--"])
    assert not tokens.prefers_lower(["The", "the", "of", "Paris"])
    assert tokens.prefers_lower([*["word"] * 2000, "Odd"])


def test_a_long_stream_on_disk_is_the_same(monkeypatch):
    text = "alpha beta.gamma alpha delta_x " * 50
    documents = [[text, text], [text]]
    plain = stream.settle(stream.read(documents, True), lambda _t, count: count > 1000)
    monkeypatch.setattr(stream, "_IN_MEMORY", 100)
    monkeypatch.setattr(stream, "_BLOCK", 64)
    spilled = stream.settle(stream.read(documents, True), lambda _t, count: count > 1000)
    assert isinstance(spilled.ids, np.memmap)
    assert spilled.types == plain.types
    np.testing.assert_array_equal(spilled.ids, plain.ids)
    np.testing.assert_array_equal(spilled.counts, plain.counts)
    assert (plain.ids == stream.BREAK).sum() == 2
