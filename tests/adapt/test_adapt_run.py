"""`adapt` as a whole: what it finds, what it keeps, and that the same seed gives the same bits."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

import rowtune
from judged_texts import BAD, GOOD, KNOWN, texts_with_labels
from rowtune.adapt import adapt, compare, training
from rowtune.adapt.ways import DROPPED, EVERYTHING, OURS, RANDOM, TFIDF, WAYS
from rowtune.errors import CorpusError
from rowtune.report.adaptation import adaptation_as_json, print_adaptation, verdict


@pytest.fixture(scope="module")
def found():
    rows = np.random.default_rng(0).standard_normal((len(KNOWN), 8)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ROUNDS", 3)  # enough here, and quick
        return adapt(rowtune.Vectors(KNOWN, rows), texts_with_labels(), seeds=3)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(training, "ROUNDS", 3)


def of(found, way):
    return next(score for score in found.ways if score.way == way)


def test_new_words_that_say_the_label_are_learned(found):
    assert [score.way for score in found.ways] == list(WAYS)
    for way in (OURS, EVERYTHING, TFIDF):
        assert of(found, way).accuracy.mean() > 0.9, way
    assert of(found, DROPPED).accuracy.mean() < 0.7
    gaps = {gap.way: gap for gap in found.differences}
    assert set(gaps) == {*WAYS} - {OURS}
    assert gaps[DROPPED].verdict == "better"
    assert gaps[EVERYTHING].verdict == "not told apart"
    for way, gap in gaps.items():
        both = of(found, OURS).accuracy - of(found, way).accuracy
        assert gap.mean == pytest.approx(both.mean())
    assert found.new_words == (6, 6, 6)
    assert found.test_with_new == 1
    assert found.parts == (168, 36, 36)
    assert found.labels == {"bad": 120, "good": 120}
    assert of(found, OURS).trained_rows == 6
    assert (of(found, DROPPED).trained_rows, of(found, RANDOM).trained_rows) == (0, 0)
    assert of(found, EVERYTHING).trained_rows > 6
    assert found.coverage.tokens_before * 7 == found.coverage.tokens_after * 6


def test_the_final_rows_are_of_all_texts_and_tell_the_labels_apart(found):
    assert set(found.words) == {*GOOD, *BAD}
    assert sum(found.counts) == 240
    assert found.rows.shape == (6, 8)
    assert found.rows.dtype == np.float32
    row = dict(zip(found.words, found.rows, strict=True))
    way = np.mean([row[w] for w in GOOD], 0) - np.mean([row[w] for w in BAD], 0)
    middle = np.mean(found.rows, 0)
    assert all((row[w] - middle) @ way > 0 for w in GOOD)
    assert all((row[w] - middle) @ way < 0 for w in BAD)


def test_the_same_seed_gives_the_same_bits(vectors, quick):
    one, again, other = (adapt(vectors, texts_with_labels(60), seeds=1, seed=i) for i in (3, 3, 4))
    assert again.rows.tobytes() == one.rows.tobytes()
    for a, b in zip(again.ways, one.ways, strict=True):
        assert a.accuracy.tobytes() == b.accuracy.tobytes()
        assert a.settings == b.settings
    assert other.rows.tobytes() != one.rows.tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_known_rows_keep_their_bits_whatever_is_in_them(vectors, dtype, quick):
    rows = vectors.matrix.astype(dtype)
    bits = rows.view(f"u{rows.itemsize}")
    bits[0, 0] = np.array(np.nan, dtype).view(bits.dtype) | 5  # a NaN with a payload
    rows[1, 1], rows[2, 2] = -0.0, np.inf
    before = rows.tobytes()
    found = adapt(rowtune.Vectors(KNOWN, rows), texts_with_labels(120), seeds=1)
    assert rows.tobytes() == before
    assert found.frozen.identical
    assert found.frozen.rows == len(KNOWN)
    assert found.rows.dtype == dtype
    assert np.isfinite(found.rows).all()
    assert any("NaN, infinity" in note for note in found.notes)


def test_a_known_row_that_moves_is_seen(vectors, monkeypatch, quick):
    real = compare.fit

    def wrong(way, task, split, setting):
        return real(EVERYTHING if way == OURS else way, task, split, setting)

    monkeypatch.setattr(compare, "fit", wrong)
    assert not adapt(vectors, texts_with_labels(60), seeds=1, final=False).frozen.identical


def test_test_texts_choose_nothing(vectors, quick):
    """With other labels on the test texts, every way is trained and chosen as it was."""
    train, test = texts_with_labels(240), texts_with_labels(60, seed=9, name="test.csv")
    flipped = dataclasses.replace(test, labels=test.labels[::-1])
    one = adapt(vectors, train, test, seeds=1, final=False)
    two = adapt(vectors, train, flipped, seeds=1, final=False)
    assert one.parts == (204, 36, 60)
    for a, b in zip(one.ways, two.ways, strict=True):
        assert a.settings == b.settings
    assert of(one, OURS).accuracy.mean() > 0.9
    assert of(two, OURS).accuracy.mean() < 0.1
    assert one.words == ()
    assert one.rows.shape == (0, 8)


def test_every_way_tries_as_many_settings(vectors, monkeypatch, quick):
    seen = []
    real = training.fit

    def counting(way, task, split, setting):
        seen.append(way)
        return real(way, task, split, setting)

    monkeypatch.setattr(compare, "fit", counting)
    steps = []
    adapt(
        vectors, texts_with_labels(60), seeds=1, final=False,
        progress=lambda stage, done, total: steps.append((stage, done, total)),
    )  # fmt: skip
    assert {seen.count(way) for way in seen} == {len(compare.TFIDF_SETTINGS)} == {4}
    comparing = [(done, total) for stage, done, total in steps if stage == "comparing"]
    assert comparing == [(i, 20) for i in range(21)]


def test_early_stopping_goes_back_to_the_best_round(vectors, monkeypatch):
    found = iter([(0.5, -1.0), (0.7, -0.9), (0.7, -0.8), (0.7, -0.8), (0.6, 0.0), (0.6, 0.0)])
    monkeypatch.setattr(training, "_judge", lambda *_: next(found))
    snapshots = []
    real = training.WayRows.snapshot

    def recorded(self):
        snapshots.append(real(self))
        return snapshots[-1]

    monkeypatch.setattr(training.WayRows, "snapshot", recorded)
    texts = texts_with_labels(100)
    bags = training_bags(vectors, texts)
    labels = np.array([label == "good" for label in texts.labels], np.int64)
    task = training.Task(vectors.matrix, bags, labels, 2, 0)
    split = training.Split(np.arange(70), np.arange(70, 85), np.arange(85, 100))
    best = training.fit(OURS, task, split, training.Setting(0.01, 0.0))
    assert (best.round, best.accuracy, best.cost) == (3, 0.7, 0.8)
    assert next(found, None) is None  # three rounds that were no better, and no fourth
    assert len(snapshots) == 4
    assert np.array_equal(real(best.rows), snapshots[3])
    assert not np.array_equal(snapshots[2], snapshots[3])


def training_bags(vectors, texts):
    from rowtune.adapt.bags import Texts

    return Texts(vectors, texts.texts).bags(np.arange(70), 1)


def test_no_new_words_is_said(vectors, quick):
    texts = texts_with_labels(60)
    kept = tuple(" ".join(word for word in text.split() if word in KNOWN) for text in texts.texts)
    known = dataclasses.replace(texts, texts=kept)
    found = adapt(vectors, known, seeds=1)
    assert found.words == ()
    assert any("frozen rows and ours are the same" in note for note in found.notes)
    assert of(found, OURS).accuracy.tolist() == of(found, DROPPED).accuracy.tolist()
    assert np.isnan(of(found, OURS).with_new).all()
    assert adaptation_as_json(found)["ways"][OURS]["accuracy_with_new_word"]["by_seed"] == [None]


def test_what_cannot_be_asked(vectors):
    for wrong in ({"min_count": 0}, {"seeds": 0}):
        with pytest.raises(ValueError, match="give 1 or more"):
            adapt(vectors, texts_with_labels(), **wrong)
    empty = rowtune.Vectors([], np.empty((0, 3), np.float32))
    with pytest.raises(CorpusError, match="holds no words"):
        adapt(empty, texts_with_labels())


def test_the_verdict_says_who_wins_and_when_nobody_knows(found):
    said = verdict(found)
    assert "better than 'frozen, OOV dropped'" in said
    ways = tuple(
        dataclasses.replace(s, accuracy=s.accuracy - 0.3) if s.way == OURS else s
        for s in found.ways
    )
    gaps = tuple(
        dataclasses.replace(gap, verdict="worse" if gap.way == TFIDF else "not told apart")
        for gap in found.differences
    )
    lost = verdict(dataclasses.replace(found, ways=ways, differences=gaps))
    assert f"worse than '{TFIDF}'" in lost
    assert "; the most gets '" in lost
    one = tuple(dataclasses.replace(s, accuracy=s.accuracy[:1]) for s in found.ways)
    assert "One seed says nothing" in verdict(dataclasses.replace(found, ways=one))


def test_macro_f1_is_shown_for_uneven_labels(found):
    def shown(result):
        console = Console(file=io.StringIO(), width=120)
        print_adaptation(result, console)
        return console.file.getvalue()

    assert "macro-F1" not in shown(found)
    uneven = shown(dataclasses.replace(found, labels={"bad": 200, "good": 40}))
    assert "macro-F1" in uneven
    changed = dataclasses.replace(found.frozen, sha256_after="other")
    assert "CHANGED" in shown(dataclasses.replace(found, frozen=changed))
