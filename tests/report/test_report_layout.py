"""Where dots and names go: neighbours together, names apart."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from rowtune.report.canvas import LIGHT, blank, drawable
from rowtune.report.labels import Names
from rowtune.report.neighbourhood import affinities, kept_neighbours, plane
from rowtune.report.word_map import draw_places, place_words


def clusters(each=15, dim=20):
    random = np.random.default_rng(1)
    centres = 4 * random.normal(size=(4, dim))
    group = np.repeat(np.arange(4), each)
    return centres[group] + random.normal(size=(4 * each, dim)), group


def test_rows_of_one_group_stay_together():
    rows, group = clusters()
    flat = plane(rows)
    far = ((flat[:, None] - flat[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(far, np.inf)
    same = group[far.argsort(axis=1)[:, :5]] == group[:, None]
    assert same.mean() > 0.99
    assert np.abs(flat).max() <= 1
    assert np.ptp(flat, axis=0).min() > 1.5


def test_only_directions_count_and_runs_agree():
    rows, _ = clusters()
    lengths = np.random.default_rng(2).integers(1, 4, size=(len(rows), 1)) * 2.0
    np.testing.assert_array_equal(plane(rows), plane(rows))
    np.testing.assert_allclose(plane(rows * 2.0), plane(rows), atol=1e-6)
    assert plane(rows * lengths, steps=1) == pytest.approx(plane(rows, steps=1), abs=1e-6)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6, 7])
def test_few_rows_and_rows_of_zeros(count):
    rows = np.random.default_rng(0).normal(size=(count, 3))
    rows[:1] = 0
    flat = plane(rows)
    assert flat.shape == (count, 2)
    assert np.isfinite(flat).all()


def test_equal_rows_do_not_break_it():
    assert np.isfinite(plane(np.ones((8, 4)))).all()


@pytest.mark.parametrize("perplexity", [6.0, 20.0])
def test_affinities_have_the_asked_perplexity(perplexity):
    rows, _ = clusters()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    both = affinities(unit, perplexity=perplexity)
    assert both.sum() == pytest.approx(1)
    np.testing.assert_allclose(both, both.T)
    assert np.diag(both).max() == 0
    # Symmetrising only adds neighbours, so the entropy of a row stays near what was asked.
    share = both / both.sum(axis=1, keepdims=True)
    entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(axis=1)
    assert np.exp(entropy).mean() == pytest.approx(perplexity, rel=0.35)


def test_two_rows_are_all_of_each_others_neighbourhood():
    np.testing.assert_allclose(affinities(np.eye(2), perplexity=1.0), [[0, 0.5], [0.5, 0]])


def test_kept_neighbours_tells_torn_pairs():
    known = np.eye(8)
    new = known[:2] * 3.0
    flat_known = np.column_stack([np.arange(8.0), np.zeros(8)])
    torn = np.array([[0.1, 0], [7.0, 0]])  # the second lies far from its own
    assert kept_neighbours(new, known, torn, flat_known).tolist() == [0, -1]
    assert kept_neighbours(new, known[:0], torn, flat_known[:0]).tolist() == [-1, -1]


def test_names_touch_neither_each_other_nor_strange_dots():
    figure = blank(6, 4, LIGHT)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-1.1, 1.1)
    axes.set_ylim(-1.1, 1.1)
    dots = np.random.default_rng(5).uniform(-1, 1, size=(70, 2))
    line = np.column_stack([np.linspace(-1, 1, 200), np.full(200, 0.1)])
    names = Names(axes, dots, radius=5, lines=line)
    put = [
        i for i in range(len(dots)) if names.put(i, f"word-{i}", size=9, color="k", weight="bold")
    ]
    assert 15 < len(put) < 70  # some fit, some were left out
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert len(boxes) == len(put)
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    places, struck = axes.transData.transform(dots), axes.transData.transform(line)
    room = axes.get_window_extent()
    for own, box in zip(put, boxes, strict=True):
        assert box.x0 >= room.x0 and box.y0 >= room.y0 and box.x1 <= room.x1 and box.y1 <= room.y1
        assert [i for i in range(len(dots)) if box.contains(*places[i])] in ([], [own])
        assert not any(box.contains(*point) for point in struck)


def test_the_map_prefers_words_that_are_new_altogether(case):
    places = place_words(case.extension, case.vectors, most=6, around=2)
    facts = {word.word: word for word in case.extension.new_words}
    assert [facts[word].lacking for word in places.new] == ["new"] * 6
    counts = [facts[word].count for word in places.new]
    assert counts == sorted(counts, reverse=True)
    for word in places.new:
        assert {name for name, _ in facts[word].neighbours[:2]} <= set(places.known)
    assert places.of == 30
    assert places.kept == pytest.approx(np.mean([near >= 0 for near in places.tied]))
    for word, near in zip(places.new, places.tied, strict=True):
        if near >= 0:
            assert places.known[near] in {name for name, _ in facts[word].neighbours}


def test_new_words_are_the_strong_dots_and_known_ones_the_faint(case):
    places = place_words(case.extension, case.vectors)
    axes = blank(11, 7, LIGHT).add_axes((0, 0, 1, 1))
    draw_places(axes, places, LIGHT)
    dots = {to_hex(dots.get_facecolor()[0]): dots.get_offsets() for dots in axes.collections}
    np.testing.assert_array_equal(dots[LIGHT.new], places.flat_new)
    np.testing.assert_array_equal(dots[LIGHT.faint], places.flat_known)
    strong = {text.get_text() for text in axes.texts if text.get_color() == LIGHT.new}
    assert len(strong) > 10
    assert strong <= {drawable(word) for word in places.new}


def test_a_map_of_nothing_says_so(case):
    nothing = replace(case.extension, new_words=(), rows=case.extension.rows[:0])
    axes = blank(11, 7, LIGHT).add_axes((0, 0, 1, 1))
    draw_places(axes, place_words(nothing, case.vectors), LIGHT)
    assert [text.get_text() for text in axes.texts] == ["No new words: the table knows them all."]
