"""The terminal: verdict, scores and examples, whatever the words are."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from rowtune.learn.result import FreezeProof, PartScore, Score
from rowtune.report.console import print_extension


def printed(extension, width=140, **how):
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # refuses lone surrogates
    print_extension(extension, Console(file=file, width=width), **how)
    file.flush()
    return file.buffer.getvalue().decode("utf-8")


def test_it_says_what_was_learned_and_what_stayed(case):
    text = printed(case.extension)
    lines = text.splitlines()
    assert lines[0] == "30 new words learned."
    assert lines[1] == "All 90 old rows are the same, bit for bit."
    assert "ab" * 32 in lines[2]
    assert "Note: Two words were <rare>." in text
    assert "80.0%  96.0%  5,000" in text
    assert "50.0%  65.0%    200" in text


def test_every_method_has_its_line_best_first(case):
    lines = printed(case.extension).splitlines()
    table = [
        line.split() for line in lines if line.startswith(("Rowtune", "à la", "context", "random"))
    ]
    assert table == [
        ["Rowtune", "0.450", "8.5", "3.0%"],
        ["à", "la", "carte", "alone", "0.300", "80", "2.0%"],
        ["context", "mean", "0.150", "800", "1.0%"],
        ["random", "0.000", "8,000", "0.0%"],
    ]


def test_words_are_no_console_markup(case):
    everything = printed(case.extension, examples=30)
    assert "[red]x[/red]" in everything
    assert "$x_1$" in everything
    assert "caf\ufffd" in everything
    assert "bell\ufffd" in everything
    assert "case differs: old0" in everything


def test_it_shows_as_many_examples_as_asked(case):
    assert "new3" not in printed(case.extension, examples=2)
    assert printed(case.extension, examples=2).count("0.") < printed(case.extension).count("0.")


def test_changed_rows_are_shouted(case):
    changed = replace(case.extension, frozen=FreezeProof(90, "ab" * 32, "cd" * 32))
    text = printed(changed)
    assert "THE 90 OLD ROWS CHANGED: do not use this result." in text
    assert "cd" * 32 in text
    assert "bit for bit" not in text


def test_nothing_learned_prints_a_verdict_only(case):
    empty = replace(case.extension, new_words=(), pretend_oov={}, held_out=())
    text = printed(empty)
    assert text.startswith("0 new words learned.")
    assert "nearest known words" not in text
    assert "median rank" not in text


def test_parts_stand_below_with_intervals_for_form_contexts_and_both(case):
    methods = ("spelling", "contexts only", "rowtune")
    scores = {name: Score(0.1 * i, 40.0 - i, 0.2) for i, name in enumerate(methods, 1)}
    parts = tuple(
        PartScore(part, name, words, scores[name], (0.05, 0.42), (7, 1200), (0.1, 0.3))
        for part, words in (("all", 60), ("no close relative", 23))
        for name in methods
    )
    text = printed(replace(case.extension, pretend_oov=scores, parts=parts), width=180)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "Rowtune 0.300 37 20.0% 0.050 to 0.420, 7 to 1,200" in lines
    cells = " ".join(f"0.{i}00 (0.050 to 0.420), {40 - i}" for i in (1, 2, 3))
    assert f"all 60 {cells}" in lines
    assert f"no close relative 23 {cells}" in lines
