"""Answers to analogies, beside a plain loop and gensim, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import rowtune
from rowtune.errors import ShapeError
from rowtune.evaluate import Questions, answer, answers, compare_answers, read_questions
from rowtune.evaluate.analogies import wilson


def questions_of(words, sections=("one",), section=None):
    return Questions("questions", tuple(words), tuple(section or [0] * len(words)), sections, ())


@pytest.fixture(scope="module")
def planes():
    """500 words; 300 questions whose answers are near where both measures look."""
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((500, 6)).astype(np.float32)
    asked = rng.integers(0, 510, (300, 4))
    for own in asked:
        a, b, c, d = own
        if own.max() < 500 and rng.random() < 0.7:
            rows[d] = rows[b] - rows[a] + rows[c] + 0.4 * rng.standard_normal(6)
    words = [f"w{i}" for i in range(500)]
    return rowtune.Vectors(words, rows), questions_of(
        [tuple(f"w{i}" for i in own) for own in asked.tolist()]
    )


def plain(vectors, question, limit=None):
    """Both answers by their formulas."""
    rows = vectors.matrix[:limit].astype(float)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    ids = [vectors.words.index(word) if word in vectors else 10**9 for word in question]
    if max(ids) >= len(unit):
        return None
    a, b, c = (unit @ unit[i] for i in ids[:3])
    totals = b - a + c
    products = ((b + 1) / 2) * ((c + 1) / 2) / ((a + 1) / 2 + 0.001)
    for scores in (totals, products):
        scores[ids[:3]] = -np.inf
        scores[~rows.any(axis=1)] = -np.inf
    return int(totals.argmax()), int(products.argmax())


@pytest.mark.parametrize("among", [None, 300])
@pytest.mark.parametrize(("tile", "words"), [(8192, 1024), (64, 40), (100, 4)])
def test_answers_are_those_of_a_plain_loop(planes, monkeypatch, tile, words, among):
    monkeypatch.setattr(answers, "_TILE", tile)
    monkeypatch.setattr(answers, "_WORDS", words)
    vectors, questions = planes
    told = []
    found = answer(vectors, questions, among=among, progress=lambda *step: told.append(step))
    right = [plain(vectors, question, among) for question in questions.words]
    assert found.known.tolist() == [each is not None for each in right]
    assert 0 < found.known.sum() < 300
    wanted = np.array([each or (-1, -1) for each in right])
    assert np.array_equal(found.rows["3CosAdd"], wanted[:, 0])
    assert np.array_equal(found.rows["3CosMul"], wanted[:, 1])
    assert not np.array_equal(wanted[:, 0], wanted[:, 1])
    assert found.among == (among or 500)
    assert told[-1] == ("answering", among or 500, among or 500)


@pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`")  # by gensim itself
def test_accuracies_are_those_of_gensim(planes, tmp_path):
    vectors, questions = planes
    path = tmp_path / "q.txt"
    lines = [" ".join(own) for own in questions.words]
    path.write_text("\n".join([": one", *lines[:100], ": gram two", *lines[100:], ""]))
    keyed = rowtune.vectors.to_gensim(vectors)
    questions = read_questions(path)
    for among in (500, 300):
        found = compare_answers(questions, [answer(vectors, questions, among=among)])
        share, sections = keyed.evaluate_word_analogies(path, restrict_vocab=among)
        one, two, semantic, syntactic, every = found.own[0]
        for ours, theirs in zip((one, two, every), sections, strict=True):
            assert ours.right["3CosAdd"] == len(theirs["correct"]) > 0
            assert ours.known == len(theirs["correct"]) + len(theirs["incorrect"])
        assert every.right["3CosAdd"] / every.known == pytest.approx(share)
        assert (one.questions, two.questions, every.questions) == (100, 200, 300)
        assert (semantic.right, syntactic.right) == (one.right, two.right)
    products = answer(vectors, questions).rows["3CosMul"]
    for question, row in zip(questions.words[:40], products[:40].tolist(), strict=True):
        if row >= 0:
            a, b, c, _ = question
            ((theirs, _),) = keyed.most_similar_cosmul(positive=[b, c], negative=[a], topn=1)
            assert vectors.words[row] == theirs


def test_what_is_no_answer():
    words = ["a", "b", "c", "zero", "nan", "b", "B", "d"]
    b = [0.0, 1, 0.2]
    rows = np.array([[1, 0, 0], b, [1, 0.2, 0], [0, 0, 0], [np.nan, 1, 1], b, b, [0, 1, 0.9]], "f4")
    asked = questions_of([("a", "b", "c", "d"), ("A", "b", "c", "B"), ("zero", "b", "c", "d"),
                          ("a", "b", "c", "nan"), ("a", "b", "c", "gone")])  # fmt: skip
    found = answer(rowtune.Vectors(words, rows), asked)
    assert found.known.tolist() == [True, True, False, False, False]
    # The second row of b is b again; another case is another word, and so an answer.
    assert found.rows["3CosAdd"].tolist() == [6, 6, -1, -1, -1]
    assert found.right["3CosAdd"].tolist() == [False, True, False, False, False]
    assert found.lookups.unusable == ("zero", "nan")
    assert (found.lookups.exact, found.lookups.other_case) == (7, 1)


def test_a_row_without_direction_is_no_answer_even_if_all_others_are_bad():
    rows = np.array([[1, 0], [0, 1], [0.1, 1], [0, 0], [np.nan, 0], [1, -2]], "f4")
    vectors = rowtune.Vectors(["a", "b", "c", "zero", "nan", "d"], rows)
    found = answer(vectors, questions_of([("a", "b", "c", "d")]))
    assert [each.tolist() for each in found.right.values()] == [[True], [True]]


def test_a_table_of_nothing_but_the_question():
    vectors = rowtune.Vectors(["a", "b", "c"], np.eye(3, dtype="f4"))
    questions = questions_of([("a", "b", "c", "a"), ("x", "y", "z", "a")])
    found = answer(vectors, questions)
    assert found.rows["3CosAdd"].tolist() == [-1, -1]
    scores = compare_answers(questions, [found])
    assert scores.own[0][-1].right == {"3CosAdd": 0, "3CosMul": 0}
    nothing = questions_of([("x", "y", "z", "a")])
    scores = compare_answers(nothing, [answer(vectors, nothing)] * 2)
    assert scores.own[0][-1].known == 0
    assert scores.own[0][-1].interval == {"3CosAdd": None, "3CosMul": None}
    assert scores.differences == ()
    with pytest.raises(ShapeError, match="among is 0; expected 1 or more"):
        answer(vectors, questions, among=0)


@pytest.mark.parametrize(("right", "number"), [(0, 7), (7, 7), (3, 10), (450, 1000)])
def test_the_interval_is_wilsons(right, number):
    theirs = stats.binomtest(right, number).proportion_ci(0.95, "wilson")
    assert wilson(right, number) == pytest.approx(tuple(theirs))


def test_totals_of_semantic_and_syntactic_sections_are_there_if_both_are(planes):
    vectors, questions = planes
    for sections, totals in (
        (("family", "gram1", "gram2"), ["semantic", "syntactic", "all"]),
        (("family", "city", "other"), ["all"]),
        (("gram1", "gram2", "gram3"), ["all"]),
    ):
        asked = questions_of(questions.words, sections, [i % 3 for i in range(300)])
        (own,) = compare_answers(asked, [answer(vectors, asked)]).own
        assert [each.part for each in own] == [*sections, *totals]
        assert sum(each.known for each in own[:3]) == own[-1].known
        if len(totals) > 1:
            assert own[3].known == own[0].known
            assert own[4].right["3CosMul"] == own[1].right["3CosMul"] + own[2].right["3CosMul"]


def test_side_by_side_over_what_all_tables_know(planes):
    vectors, questions = planes
    rng = np.random.default_rng(0)
    noisy = vectors.matrix + 2 * rng.standard_normal(vectors.matrix.shape).astype(np.float32)
    worse = rowtune.Vectors(vectors.words[100:], noisy[100:])
    tables = [answer(vectors, questions, "a"), answer(worse, questions, "b"),
              answer(vectors, questions, "c")]  # fmt: skip
    found = compare_answers(questions, tables, seed=1)
    shared = tables[1].known
    assert [each.known for each in found.common] == [shared.sum()] * 3
    assert found.own[0][-1].known > shared.sum()
    for i, method in enumerate(("3CosAdd", "3CosMul")):
        first, second = (each.right[method][shared].astype(int) for each in tables[:2])
        down, same = found.differences[i], found.differences[2 + i]
        assert (down.table, down.measure, same.table, same.measure) == ("b", method, "c", method)
        assert down.difference == pytest.approx((second - first).mean())
        drawn = rng.integers(0, len(first), (4000, len(first)))
        plain_interval = np.percentile((second - first)[drawn].mean(1), (2.5, 97.5))
        assert down.interval == pytest.approx(plain_interval, abs=0.02)
        assert down.difference < 0
        assert (same.difference, same.interval) == (0, (0, 0))
    assert compare_answers(questions, tables[:1]).common == ()
