"""Pictures: valid, not blank, the right size, indifferent to odd words and to threads."""

from __future__ import annotations

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from rowtune.errors import FormatError, ShapeError
from rowtune.report import canvas
from rowtune.report.pictures import (
    DARK,
    LIGHT,
    convergence,
    map_of_new_words,
    pretend_oov_chart,
    readme_picture,
)


def pixels(draw):
    file = io.BytesIO()
    draw(file)
    file.seek(0)
    return matplotlib.image.imread(file, format="png")[..., :3]


def near(image, color, slack=0.02):
    """Number of pixels of about this colour."""
    return int((np.abs(image - np.array(to_rgb(color))).max(axis=-1) < slack).sum())


def distinct_colours(image):
    return len(np.unique((image * 255).round().astype(np.int64) @ [65536, 256, 1]))


def six(dim, snapshots=40):
    ends = np.repeat(np.eye(3)[:, :dim], 2, axis=0)
    starts = np.random.default_rng(3).normal(size=(6, dim))
    share = np.linspace(0, 1, snapshots)[:, None, None]
    return (1 - share) * starts + share * ends


PICTURES = {
    "map": (
        lambda case, to, theme: map_of_new_words(case.extension, case.vectors, to, theme=theme)
    ),
    "scores": (lambda case, to, theme: pretend_oov_chart(case.extension, to, theme=theme)),
    "readme": (
        lambda case, to, theme: readme_picture(case.extension, case.vectors, to, theme=theme)
    ),
    "six-2": (lambda case, to, theme: convergence(six(2), to, losses=np.arange(40.0), theme=theme)),
    "six-3": (lambda case, to, theme: convergence(six(3), to, losses=np.arange(40.0), theme=theme)),
}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", PICTURES)
def test_it_is_a_picture_with_something_in_it(case, name, theme):
    image = pixels(lambda to: PICTURES[name](case, to, theme))
    height, width, _ = image.shape
    assert 1500 <= width <= 2200
    assert 700 <= height <= 1500
    assert distinct_colours(image) > 100
    assert near(image, theme.new) > 500
    assert near(image, theme.paper) > 0.5 * height * width
    rim = np.concatenate([image[:6].reshape(-1, 3), image[-6:].reshape(-1, 3)])
    assert near(rim, theme.paper) == len(rim)  # nothing is cut off above or below
    sides = np.concatenate([image[:, :6].reshape(-1, 3), image[:, -6:].reshape(-1, 3)])
    assert near(sides, theme.paper) == len(sides)


def test_two_threads_draw_what_one_draws(case):
    def draw(_=None):
        return pixels(lambda to: PICTURES["map"](case, to, LIGHT))

    alone = draw()
    with ThreadPoolExecutor(2) as pool:
        for image in pool.map(draw, range(4)):
            np.testing.assert_array_equal(image, alone)


@pytest.mark.parametrize("ending", ["svg", "pdf", "png"])
def test_the_ending_names_the_format(case, tmp_path, ending):
    path = tmp_path / f"picture.{ending}"
    readme_picture(case.extension, case.vectors, path)
    content = path.read_bytes()
    assert content.startswith({"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}[ending])
    if ending == "svg":
        ElementTree.fromstring(content)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_an_unknown_ending_is_refused_and_leaves_the_file(case, tmp_path):
    path = tmp_path / "picture.jpeg"
    path.write_bytes(b"old")
    with pytest.raises(FormatError, match=r"picture\.jpeg.*\.png, \.svg or \.pdf"):
        pretend_oov_chart(case.extension, path)
    assert path.read_bytes() == b"old"


def test_an_empty_extension_still_gives_pictures(case):
    empty = replace(
        case.extension, new_words=(), rows=case.extension.rows[:0], pretend_oov={}, held_out=()
    )
    for draw in (
        lambda to: map_of_new_words(empty, case.vectors, to),
        lambda to: pretend_oov_chart(empty, to),
        lambda to: readme_picture(empty, case.vectors, to),
    ):
        assert near(pixels(draw), LIGHT.soft, 0.2) > 300  # the sentence that says so


def test_one_new_word_without_neighbours(case):
    word = replace(case.extension.new_words[0], neighbours=())
    lone = replace(case.extension, new_words=(word,), rows=case.extension.rows[:1])
    assert near(pixels(lambda to: map_of_new_words(lone, case.vectors, to)), LIGHT.new) > 100


def test_characters_without_a_glyph_become_a_box_and_dollars_stay():
    assert canvas.drawable("a\U00010fffb") == "a\u25a1b"
    assert canvas.drawable("caf\udce9") == "caf\ufffd"
    assert canvas.drawable("$x_1$ \u00e9\u03c0") == "$x_1$ \u00e9\u03c0"
    figure = canvas.blank(2, 1, LIGHT)
    plain = canvas.write(figure, 0, 0, "$x_1$", size=10, color="k")
    assert not plain.get_parse_math()


def test_rings_stand_at_the_starts_and_shapes_at_the_ends(monkeypatch):
    drawn = []
    module = sys.modules[convergence.__module__]
    monkeypatch.setattr(module, "save", lambda figure, target: drawn.append(figure))
    paths = six(2)
    convergence(paths, io.BytesIO(), labels="abcdef")
    axes = drawn[0].axes[0]
    spots = np.concatenate([dots.get_offsets() for dots in axes.collections])
    expected = np.stack([paths[0], paths[-1]], axis=1).reshape(12, 2)  # start, end, item by item
    np.testing.assert_allclose(spots, expected)
    colours = [tuple(dots.get_facecolor()[0]) for dots in axes.collections][1::2]
    assert colours[0] == colours[1] != colours[2] == colours[3] != colours[4] == colours[5]
    assert [text.get_text() for text in axes.texts] == list("abcdef")
    assert axes.get_aspect() == 1


@pytest.mark.parametrize(
    ("trajectory", "losses", "labels", "message"),
    [
        (np.zeros((5, 6)), None, "abcdef", r"shape \(5, 6\)"),
        (np.zeros((5, 6, 4)), None, "abcdef", r"shape \(5, 6, 4\)"),
        (np.zeros((0, 6, 2)), None, "abcdef", r"shape \(0, 6, 2\)"),
        (np.zeros((5, 6, 2)), np.zeros(4), "abcdef", r"\(4,\).*5 snapshots"),
        (np.zeros((5, 6, 2)), None, "abc", "3 labels"),
    ],
)
def test_wrong_shapes_are_refused(tmp_path, trajectory, losses, labels, message):
    with pytest.raises(ShapeError, match=message):
        convergence(trajectory, tmp_path / "x.png", losses=losses, labels=labels)
    assert list(tmp_path.iterdir()) == []


def test_losses_may_have_gaps():
    whole = np.linspace(1, 0, 40)
    first_missing = np.where(np.arange(40) == 0, np.nan, whole)
    none = np.full(40, np.nan)
    ink = [
        near(pixels(lambda to, c=curve: convergence(six(2), to, losses=c)), LIGHT.ink)
        for curve in (whole, first_missing, none)
    ]
    assert ink[1] > 0.9 * ink[0]  # the line is there but for its first piece
    assert ink[2] < 0.9 * ink[0]


def test_drawing_needs_no_pyplot_and_a_summary_no_matplotlib():
    code = (
        "import sys, rowtune.report.summary, rowtune.report.console\n"
        "assert 'matplotlib' not in sys.modules, 'summary draws'\n"
        "import rowtune.report.pictures, rowtune.report.page\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
