"""`rowtune eval`."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

import rowtune
from rowtune import learn
from rowtune.cli.eval import Evaluation, _plain
from rowtune.cli.eval_tables import print_evaluation
from rowtune.evaluate import (
    Accuracy,
    AnalogyScores,
    Difference,
    Lookups,
    answer,
    compare_answers,
    compare_cosines,
    cosines_of,
    read_pairs,
    read_questions,
)

WORDS = ["king", "queen", "man", "woman"]
TWELVE = [(a, b) for a in WORDS for b in ["man", "woman", "frog"] if a != b]
TWELVE += [("King", "frogs"), ("toad", "king")]


@pytest.fixture
def files(table, tmp_path):
    """Two tables, twelve pairs of which each table lacks some, and three questions."""
    moved = table.matrix.copy()
    moved[0] += [0, 0, 1]
    words = [*table.words[:5], "toad"]
    rowtune.save(rowtune.Vectors(words, moved), tmp_path / "after.vec")
    lines = [f"{a}\t{b}\t{(7 * i) % 10}" for i, (a, b) in enumerate(TWELVE)]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "q.txt").write_text(
        ": family\nman king woman queen\nman woman king toad\n: gram1\nking queen man woman\n"
    )
    return tmp_path


def test_pairs_of_one_table(command, files):
    done = command("eval", "before.vec", "--pairs", "pairs.tsv", "--json", "found.json")
    assert done.code == 0, done.err
    facts = json.loads((files / "found.json").read_text())
    pairs = read_pairs(files / "pairs.tsv")
    table = rowtune.load(files / "before.vec")
    right = compare_cosines(pairs, [cosines_of(table, pairs, "before.vec")])
    (found,) = facts["pairs"]
    assert found["dataset"] == "pairs.tsv"
    assert found["own"][0]["spearman"] == right.own[0].spearman
    assert found["own"][0]["spearman_interval"] == list(right.own[0].spearman_interval)
    assert found["unknown_as_zero"] == list(right.unknown_as_zero)
    assert found["own"][0]["known"] == 11
    assert (facts["tables"], facts["analogies"], facts["pretend_oov"]) == (["before.vec"], [], [])
    own = right.own[0]
    low, high = own.spearman_interval
    assert "pairs.tsv: 12 pairs" in done.text
    assert (
        f"before.vec 11 (91.7 %) {own.spearman:.3f} ({low:.3f} to {high:.3f}) {own.pearson:.3f} "
        f"{right.unknown_as_zero[0]:.3f}"
    ) in done.text
    assert "5 of 8 words found as written, 2 in another case, 1 without a row (toad)" in done.text
    assert "that all tables know" not in done.text


def test_analogies_of_one_table(command, files):
    done = command("eval", "before.vec", "--analogies", "q.txt", "--json", "-")
    assert done.code == 0
    (found,) = json.loads(done.out)["analogies"]
    questions, table = read_questions(files / "q.txt"), rowtune.load(files / "before.vec")
    (right,) = compare_answers(questions, [answer(table, questions)]).own
    assert [(each["part"], each["known"], each["right"]) for each in found["own"][0]] == [
        (each.part, each.known, each.right) for each in right
    ]
    assert right[-1].right == {"3CosAdd": 1, "3CosMul": 1}
    assert "q.txt: 3 questions, answered from the first 6 rows" in done.text
    assert "family 1 (50.0 %) 100.0 (20.7 to 100.0) 100.0 (20.7 to 100.0)" in done.text
    assert "gram1 1 0.0 (0.0 to 79.3) 0.0" in done.text
    assert "all 2 (66.7 %) 50.0 (9.5 to 90.5)" in done.text
    assert "unknown questions as wrong: 3CosAdd 33.3 %, 3CosMul 33.3 %" in done.text
    assert "4 of 5 words found as written, 1 without a row (toad)" in done.text
    done = command("eval", "before.vec", "--analogies", "q.txt", "--among", "3")
    assert "answered from the first 3 rows" in done.text
    assert "all 0 (0.0 %) - -" in done.text


def test_two_tables_side_by_side(command, files):
    arguments = ("before.vec", "after.vec", "--pairs", "pairs.tsv", "--analogies", "q.txt")
    done = command("eval", *arguments, "--json", "found.json")
    assert done.code == 0
    facts = json.loads((files / "found.json").read_text())
    (pairs,), (questions,) = facts["pairs"], facts["analogies"]
    assert [each["known"] for each in pairs["own"]] == [11, 11]
    assert [each["known"] for each in pairs["common"]] == [10, 10]
    (change,) = pairs["differences"]
    first, second = (each["spearman"] for each in pairs["common"])
    assert change["difference"] == pytest.approx(second - first)
    assert change["interval"][0] <= change["difference"] <= change["interval"][1]
    assert "over the 10 pairs that all tables know:" in done.text
    low, high = change["interval"]
    shown = f"{change['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
    (line,) = [line for line in done.out.splitlines() if shown in line]
    assert line.split()[:2] == ["after.vec", f"{second:.3f}"]
    assert [each["known"] for each in questions["common"]] == [2, 2]
    assert [each["measure"] for each in questions["differences"]] == ["3CosAdd", "3CosMul"]
    assert "over the 2 questions that all tables know:" in done.text
    added = [each["right"]["3CosAdd"] for each in questions["common"]]
    assert f"after.vec 3CosAdd {50 * added[1]:.1f}" in done.text
    assert f"{50 * (added[1] - added[0]):+.1f}" in done.text
    assert "after.vec all 3 " in done.text


def test_each_difference_stands_in_its_own_row():
    part = Accuracy("all", 20, 20, {"3CosAdd": 8, "3CosMul": 9}, {"3CosAdd": None, "3CosMul": None})
    made = [
        ("b", "3CosAdd", 0.1),
        ("b", "3CosMul", -0.2),
        ("c", "3CosAdd", 0.3),
        ("c", "3CosMul", 0),
    ]
    changes = [Difference(name, way, more, (more - 0.01, more + 0.01)) for name, way, more in made]
    nothing = Lookups(4, 4, 0, (), ())
    scores = AnalogyScores("q", 20, ("a", "b", "c"), (9, 9, 8), ((part,),) * 3, (nothing,) * 3,
                           (part,) * 3, tuple(changes), ())  # fmt: skip
    out = io.StringIO()
    print_evaluation(Evaluation(["a", "b", "c"], analogies=[scores]), Console(file=out, width=90))
    rows = [line.split() for line in out.getvalue().splitlines()][-7:-1]
    assert [row[:4] for row in rows] == [
        ["a", "3CosAdd", "40.0"],
        ["a", "3CosMul", "45.0"],
        ["b", "3CosAdd", "40.0", "+10.0"],
        ["b", "3CosMul", "45.0", "-20.0"],
        ["c", "3CosAdd", "40.0", "+30.0"],
        ["c", "3CosMul", "45.0", "+0.0"],
    ]
    assert rows[2][4:] == ["(+9.0", "to", "+11.0)"]
    assert "answered from the first 9 and 8 rows" in out.getvalue()


def test_json_has_no_nan_and_no_numpy():
    whole = {"a": (np.float32(0.5), math.nan, math.inf), 1: [np.int64(3), True, None, "\udce9"]}
    plain = {"a": [0.5, None, None], "1": [3, True, None, "\ufffd"]}
    assert json.loads(json.dumps(_plain(whole), allow_nan=False)) == plain


def test_nothing_known_is_said_and_is_no_error(command, files):
    (files / "other.txt").write_text("x y 1\nz y 2\n")
    (files / "far.txt").write_text("x y z x\n")
    done = command("eval", "before.vec", "after.vec", "--pairs", "other.txt", "--analogies",
                   "far.txt", "--json", "found.json")  # fmt: skip
    assert done.code == 0, done.err
    assert "before.vec: no correlation: no pair is known" in done.text
    assert "before.vec: 0 of 3 words found as written, 3 without a row (x, y, z)" in done.text
    assert "all 0 (0.0 %) - -" in done.text
    facts = json.loads((files / "found.json").read_text())
    assert facts["pairs"][0]["own"][0]["spearman"] is None
    assert facts["pairs"][0]["differences"][0]["difference"] is None


def test_rows_without_direction_are_said(command, files):
    rows = np.array([[1, 0], [0, 0], [np.nan, 1], [1, 1]], "f4")
    rowtune.save(rowtune.Vectors(["king", "man", "woman", "caf\udce9"], rows), files / "odd.bin")
    (files / "odd.tsv").write_bytes(
        b"king\tman\t1\nking\twoman\t2\nking\tcaf\xe9\t3\n\xff\tking\t1\n"
    )
    done = command("eval", "odd.bin", "--pairs", "odd.tsv", "--json", "found.json")
    assert "2 with a row of zeros, NaN or infinity, left out (man, woman)" in done.text
    assert "1 without a row (\ufffd)" in done.text
    assert "no correlation: one pair alone is known" in done.text
    (found,) = json.loads((files / "found.json").read_text())["pairs"]
    assert found["lookups"][0]["unusable"] == ["man", "woman"]


@pytest.fixture
def world(tmp_path):
    rng = np.random.default_rng(0)
    words = [f"{a}{b}{c}" for a in "bdgklm" for b in "aeiou" for c in "nrst"]
    rows = rng.standard_normal((len(words), 8)).astype(np.float32)
    rowtune.save(rowtune.Vectors(words, rows), tmp_path / "small.vec")
    rowtune.save(rowtune.Vectors(words[:100], rows[:100]), tmp_path / "less.vec")
    lines = [" ".join(rng.choice(words, 8)) for _ in range(200)]
    (tmp_path / "one.txt").write_text("\n".join(lines[:100]))
    (tmp_path / "two.txt").write_text("\n".join(lines[100:]))
    return tmp_path


def test_pretend_oov_is_what_extend_says(command, world):
    arguments = ("--pretend-oov", "one.txt", "--pretend-oov", "two.txt", "--min-count", "12")
    done = command("eval", "small.vec", "less.vec", *arguments, "--seed", "2",
                   "--json", "found.json")  # fmt: skip
    assert done.code == 0, done.err
    found, less = json.loads((world / "found.json").read_text())["pretend_oov"]
    corpus = [world / "one.txt", world / "two.txt"]
    right = learn.extend(rowtune.load(world / "small.vec"), corpus, min_count=12, seed=2)
    assert (found["table"], less["table"]) == ("small.vec", "less.vec")
    assert found["held_out"] == len(right.held_out) >= 10
    assert set(found["scores"]) == set(right.pretend_oov)
    for method, score in right.pretend_oov.items():
        assert found["scores"][method]["cosine"] == pytest.approx(score.cosine, abs=1e-4)
    assert [(each["part"], each["method"], each["words"]) for each in found["parts"]] == [
        (each.part, each.method, each.words) for each in right.parts
    ]
    assert "pretend-OOV, small.vec" in done.text
    assert "pretend-OOV, less.vec" in done.text
    assert f"Hidden and learned again, {len(right.held_out)} known words came back" in done.text
    assert "hidden words number" in done.text  # by frequency, and without a close relative
    assert "no close relative" in done.text
    assert "Note: Scores are over" in done.text


def test_too_little_text_to_hide_words_is_said(command, world):
    (world / "short.txt").write_text("ban dan gan")
    done = command("eval", "small.vec", "--pretend-oov", "short.txt")
    assert done.code == 0
    assert "quality unmeasured" in done.text
    assert "too few to fit a map or to hide some" in done.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to evaluate by; add --pairs, --analogies or --pretend-oov, as in: "
             "rowtune eval before.vec --pairs wordsim353"),
        (["--pairs", "no.txt"], "no.txt: no such file"),
        (["--pairs", "bad.tsv"], "bad.tsv, line 2, column 3: 'x' is no number"),
        (["--analogies", "pairs.tsv"], "pairs.tsv, line 1: 3 words; expected four"),
        (["--pairs", "pairs.tsv", "--among", "5"], "--among is about --analogies"),
        (["--pretend-oov", "no/"], "no/: no such file"),
        (["--pretend-oov", "-", "--pretend-oov", "-"], "standard input can be read once"),
        (["after.vec", "--pretend-oov", "-"], "standard input can be read once"),
        (["--pairs", "pairs.tsv", "--json", "pairs.tsv"], "pairs.tsv is read by this command"),
        (["--pairs", "pairs.tsv", "--json", "no/x.json"], "no such folder"),
        (["gone.vec", "--pairs", "pairs.tsv"], "gone.vec: no such file"),
    ],
)  # fmt: skip
def test_mistakes(command, files, arguments, said):
    (files / "bad.tsv").write_text("a\tb\t1\na\tb\tx\n")
    before = (files / "pairs.tsv").read_bytes()
    done = command("eval", "before.vec", *arguments)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert done.out == ""
    assert (files / "pairs.tsv").read_bytes() == before
