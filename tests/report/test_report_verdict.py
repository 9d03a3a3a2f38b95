"""What a report concludes: the headline, the levels of confidence, who is level with the best."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rowtune.learn.result import HeldOutWord, Score
from rowtune.report.confidence import bands, level
from rowtune.report.headline import headline
from rowtune.report.score_tables import (
    best_and_worst,
    level_with_best,
    lost_by_noise,
    part_rows,
    source_heads,
)
from rowtune.report.verdict import scores_sentence


@pytest.mark.parametrize(
    ("cosine", "expected"),
    [
        (0.71, "30 new words learned, close to where they belong (cosine 0.71)."),
        (0.65, "30 new words learned, close to where they belong (cosine 0.65)."),
        (0.64, "30 new words learned, roughly where they belong (cosine 0.64)."),
        (0.5, "30 new words learned, roughly where they belong (cosine 0.50)."),
        (-0.1, "30 new words learned, far from where they belong (cosine \u22120.10). "
               "Do not rely on them."),
        (float("nan"), "30 new words learned; how good the rows are could not be measured."),
    ],
)  # fmt: skip
def test_the_headline_says_how_good_the_rows_are(case, cosine, expected):
    scores = {"rowtune": Score(cosine, 9.0, 0.1)}
    assert headline(replace(case.extension, pretend_oov=scores)) == expected


def test_the_headline_of_one_word_and_of_none(case):
    one = replace(case.extension, new_words=case.extension.new_words[:1])
    assert headline(one).startswith("1 new word learned, far from where it belongs (")
    assert headline(one).endswith("Do not rely on it.")
    unmeasured = replace(one, pretend_oov={})
    assert headline(unmeasured).endswith("could not be measured.")
    assert headline(replace(one, new_words=())).startswith("No new word learned: the table")


def test_levels_begin_at_their_thresholds():
    assert [level(x) for x in (0.9, 0.65, 0.6499, 0.5, 0.4999, -1.0)] == [
        "high", "high", "medium", "medium", "low", "low",
    ]  # fmt: skip
    assert level(None) is None
    assert level(float("nan")) is None


def hidden(cosines, ranks):
    return tuple(
        HeldOutWord(f"w{i}", 20, {"rowtune": c}, {"rowtune": r})
        for i, (c, r) in enumerate(zip(cosines, ranks, strict=True))
    )


def test_bands_tell_what_a_level_was_worth(case):
    words = hidden([0.9, 0.7, 0.65, 0.3, 0.1], [1, 3, 8, 500, 700])
    found = bands(replace(case.extension, held_out=words))
    assert [(band.level, band.range, band.words, band.median_rank) for band in found] == [
        ("high", "0.65 or more", 3, 3.0),
        ("medium", "0.50 to 0.65", 0, None),
        ("low", "below 0.50", 2, 600.0),
    ]


def test_best_and_worst_share_no_word(case):
    words = hidden([0.1, 0.9, 0.5], [9, 1, 5])
    best, worst = best_and_worst(replace(case.extension, held_out=words))
    assert [word.word for word in best] == ["w1"]
    assert [word.word for word in worst] == ["w0"]
    many = hidden([i / 40 for i in range(40)], range(40))
    best, worst = best_and_worst(replace(case.extension, held_out=many))
    assert [word.word for word in best] == [f"w{i}" for i in range(39, 31, -1)]
    assert [word.word for word in worst] == [f"w{i}" for i in range(8)]


def test_intervals_that_meet_that_of_the_best_are_level_with_it(full):
    # Ranks 8.5 (6.8 to 10.2) and 12 (9.6 to 14.4) meet; 80.5 (64 to 97) does not.
    assert level_with_best(full.extension) == {"rowtune", "spelling"}
    assert level_with_best(replace(full.extension, parts=())) == set()


def test_part_rows_stand_in_the_order_of_form_contexts_and_both(full):
    assert source_heads(full.extension) == ["form only", "contexts only", "both (Rowtune)"]
    rows = part_rows(full.extension)
    assert [(row.name, row.words) for row in rows] == [
        ("all", 60), ("seen 20 to 49 times", 50), ("seen 50 to 99 times", 40),
        ("no close relative", 30),
    ]  # fmt: skip
    for row in rows:
        assert [part.method for part in row.scores] == ["spelling", "contexts only", "rowtune"]
        assert {part.part for part in row.scores} == {row.name}


def losing(extension, by):
    """Let spelling win on the cosine by ``by``; its interval reaches 0.1 to each side."""
    win = 0.45 + by
    parts = tuple(
        replace(
            part,
            score=replace(part.score, cosine=win),
            cosine_interval=(win - 0.1, win + 0.1),
        )
        if part.method == "spelling"
        else part
        for part in extension.parts
    )
    scores = {**extension.pretend_oov, "spelling": Score(win, 12.0, 0.02)}
    return replace(extension, parts=parts, pretend_oov=scores)


def test_a_loss_within_the_intervals_is_told_apart_from_a_real_one(full):
    assert lost_by_noise(losing(full.extension, 0.05))
    assert not lost_by_noise(losing(full.extension, 0.3))
    assert not lost_by_noise(full.extension)  # it lost nothing
    sentence = scores_sentence(losing(full.extension, 0.3))
    assert sentence.endswith("Another method did better on cosine (spelling).")


def test_several_losses_are_listed(case):
    scores = {"rowtune": Score(0.5, 9.0, 0.1), "spelling": Score(0.6, 5.0, 0.2)}
    assert scores_sentence(replace(case.extension, pretend_oov=scores)).endswith(
        "did better on cosine (spelling), median rank (spelling) and overlap at 10 (spelling)."
    )
