"""The page: safe with any word, complete, self-contained, and never half written."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from rowtune.learn.result import FreezeProof, Score
from rowtune.report.page import write_report
from rowtune.report.readable import readable
from rowtune.vectors.vectors import Vectors

VOID = {"meta", "link", "input", "source", "img", "col", "br"}


class Page(HTMLParser):
    """Collects elements, attributes and text, and fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.isolated: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "bdi":
            self.isolated.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " " if tag in ("dt", "td", "th") else ""

    def handle_data(self, data):
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.text += data
        if "bdi" in self.open:
            self.isolated[-1] += data

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


@pytest.fixture(scope="module")
def written(case, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "made" / "anew"
    path = write_report(
        case.extension,
        case.vectors,
        folder,
        command="rowtune extend <a> & b",
        source_names={"vectors": "toy", "corpus": "a/b"},
    )
    assert path == folder / "index.html"
    return folder


@pytest.fixture(scope="module")
def page(written):
    return Page((written / "index.html").read_text("utf-8"))


def test_every_new_word_and_neighbour_is_there_as_text(case, page):
    shown = set(page.isolated)
    for word in case.extension.new_words:
        assert readable(word.word) in shown
        assert {name for name, _ in word.neighbours} <= shown


def test_words_never_become_markup(page):
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "<script>alert(1)</script>" in page.isolated
    assert "$x_1$" in page.isolated
    assert "a&amp;b" in page.isolated  # not unescaped once too often
    assert "{{ 7 * 7 }}" in page.isolated
    assert "Two words were <rare>." in page.text
    assert "rowtune extend <a> & b" in page.text


def test_it_asks_no_network(written, page):
    places = [
        p for name in ("src", "srcset", "href", "action", "data") for p in page.attributes(name)
    ]
    assert len(places) == 5  # two pictures on two papers, and an empty icon
    assert all(place.startswith("data:") for place in places)
    html = (written / "index.html").read_text("utf-8")
    assert "url(" not in html
    assert "@import" not in html
    assert "://" not in html  # base64 has no colon
    policy = next(attrs for _, attrs in page.tags if "http-equiv" in attrs)
    assert policy["content"].startswith("default-src 'none'")


def test_its_pictures_are_the_files_beside_it(written, page):
    inside = [source for source in page.attributes("src") if source]
    assert len(inside) == 2
    for source, name in zip(inside, ("map.png", "pretend_oov.png"), strict=True):
        content = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        assert content == (written / name).read_bytes()
    dark = [source for source in page.attributes("srcset") if source]
    assert len(set(dark + inside)) == 4


def test_the_verdict_comes_first(page):
    text = " ".join(page.text.split())
    assert "30 new words learned. All 90 old rows are the same, bit for bit." in text
    assert text.index("bit for bit") < text.index("Coverage")
    assert "median rank 8.5 of 90 (cosine 0.45)" in text
    assert "the best other method, à la carte alone, at 80" in text
    assert "did better" not in text
    assert "ab" * 32 in text
    assert "identical" in text


def test_it_tells_coverage_settings_seconds_and_provenance(page):
    text = " ".join(page.text.split())
    for fact in (
        "80.0% 4,000", "96.0% 4,800", "50.0% 100", "65.0% 130", "ngrams (3, 4, 5)", "learn 1.50",
        "in all 1.75", "vectors toy", f"NumPy {np.__version__}", "case differs: old0",
    ):  # fmt: skip
        assert fact in text, fact


def test_changed_rows_are_the_headline(case, tmp_path):
    changed = replace(case.extension, frozen=FreezeProof(90, "ab" * 32, "cd" * 32))
    html = write_report(changed, case.vectors, tmp_path).read_text("utf-8")
    assert "do not use this result" in html
    assert "bit for bit" not in html
    assert ">different<" in html


def test_a_method_that_beats_ours_is_named(case, tmp_path):
    scores = {**case.extension.pretend_oov, "context_mean": Score(0.9, 300.0, 0.02)}
    lost = replace(case.extension, pretend_oov=scores)
    html = write_report(lost, case.vectors, tmp_path).read_text("utf-8")
    assert "Another method did better on cosine (context mean)." in html


def test_nothing_learned_and_nothing_measured_is_still_a_page(case, tmp_path):
    empty = replace(
        case.extension, new_words=(), rows=case.extension.rows[:0], pretend_oov={}, held_out=()
    )
    page = Page(write_report(empty, case.vectors, tmp_path).read_text("utf-8"))
    assert "0 new words learned." in page.text
    assert "quality unmeasured" in page.text
    assert "already has every word" in page.text
    assert "input" not in [tag for tag, _ in page.tags]


def test_a_failing_disk_leaves_the_old_page(case, tmp_path, monkeypatch):
    index = write_report(case.extension, case.vectors, tmp_path)
    index.write_bytes(b"the old page")
    real = os.replace

    def full(source, target):
        if str(target).endswith("index.html"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(case.extension, case.vectors, tmp_path)
    assert index.read_bytes() == b"the old page"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "index.html",
        "map.png",
        "pretend_oov.png",
    ]


def test_another_table_is_refused_before_anything_is_written(case, tmp_path):
    (tmp_path / "map.png").write_bytes(b"old")
    other = Vectors(["elsewhere"], np.ones((1, 12), np.float32))
    with pytest.raises(KeyError, match="old"):
        write_report(case.extension, other, tmp_path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("map.png", b"old")]


def test_progress_is_told_to_the_end(case, tmp_path):
    seen = []
    write_report(case.extension, case.vectors, tmp_path, progress=lambda *at: seen.append(at))
    assert {stage for stage, _, _ in seen} == {"map", "pictures"}
    assert seen[-1] == ("pictures", 4, 4)
