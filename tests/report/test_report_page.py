"""The page: safe with any word, complete, self-contained, and never half written."""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from rowtune.learn.result import FreezeProof, Score
from rowtune.report.page import write_report
from rowtune.report.readable import readable

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
def written(full, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "made" / "anew"
    path = write_report(
        full.extension,
        full.vectors,
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
    kinds = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    assert kinds == [None, "application/json", "text/plain", None]
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
    empty_icon = [place for place in places if not place.startswith("#")]
    assert empty_icon == ["data:,"]
    assert len(places) == 8  # and links to six sections, one from the very top
    html = (written / "index.html").read_text("utf-8")
    assert "url(" not in html
    assert "@import" not in html
    assert "://" not in html  # what draws is packed, and asks nothing: see the tests in a browser
    policy = next(attrs for _, attrs in page.tags if "http-equiv" in attrs)
    assert policy["content"].startswith("default-src 'none'")


def test_two_still_pictures_stand_beside_it(written):
    assert sorted(p.name for p in written.iterdir()) == ["index.html", "map.png", "pretend_oov.png"]
    for name in ("map.png", "pretend_oov.png"):
        assert (written / name).read_bytes().startswith(b"\x89PNG")


def script_of(page_text, name):
    found = re.search(f'<script type="[a-z/]+" id="{name}">([^<]*)</script>', page_text)
    assert found, name
    return found.group(1)


def test_the_library_inside_is_whole(written):
    from plotly.offline import get_plotlyjs

    packed = script_of((written / "index.html").read_text("utf-8"), "library")
    assert gzip.decompress(base64.b64decode(packed)).decode("utf-8") == get_plotlyjs()


def test_the_data_stays_in_its_script_whatever_words_say(full, written):
    text = script_of((written / "index.html").read_text("utf-8"), "data")
    assert text.isascii()  # no U+2028, no marks that turn text around
    assert not set("<>&") & set(text)
    data = json.loads(text)
    first = full.extension.new_words[0]
    assert first.word in data["words"]["excerpts"][0][0]
    assert "</script> \u2028" in data["words"]["excerpts"][0][1]


def test_links_lead_to_what_is_there(page):
    places = {place[1:] for place in page.attributes("href") if place.startswith("#")}
    assert places <= set(page.attributes("id"))
    assert len(page.attributes("id")) == len(set(page.attributes("id")))
    keys = ("aria-labelledby", "for", "aria-controls")
    named = {name for key in keys for name in page.attributes(key)}
    assert named <= set(page.attributes("id")) | {"map", "charts"}


def test_the_verdict_comes_first(page):
    text = " ".join(page.text.split())
    assert "30 new words learned, far from where they belong (cosine 0.45). Do not rely" in text
    assert "All 90 old rows are the same, bit for bit." in text
    assert text.index("bit for bit") < text.index("Coverage of the corpus")
    assert "median rank 8.5 of 90 (cosine 0.45)" in text
    assert "the best other method, spelling, at 12" in text
    assert "did better" not in text
    assert text.count("ab" * 32) == 4  # proof and provenance, before and after
    assert "identical" in text


def test_it_tells_coverage_settings_seconds_and_provenance(page):
    text = " ".join(page.text.split())
    for fact in (
        "80.0% 4,000", "96.0% 4,800", "50.0% 100", "65.0% 130", "ngrams (3, 4, 5)", "learn 1.50",
        "in all 1.75", "vectors toy", f"NumPy {np.__version__}", "case differs: old0",
        "corpus " + "ef" * 32, "numba 0.", f"Python {sys.version.split()[0]}",
    ):  # fmt: skip
        assert fact in text, fact


def test_confidence_is_a_number_and_a_word_with_thresholds_that_are_told(page):
    text = " ".join(page.text.split())
    for fact in ("0.71 high", "0.55 medium", "0.31 low", "not measured"):
        assert fact in text, fact
    assert "high is 0.65 or more; medium is 0.50 to 0.65; low is below 0.50." in text
    assert "It was not measured" not in text


def test_parts_stand_with_their_intervals(page):
    text = " ".join(page.text.split())
    assert "hidden words number form only contexts only both (Rowtune)" in text
    assert "no close relative 30 0.400 0.30 to 0.50rank 12 9.6 to 14" in text
    assert "Rowtune level with the best 0.450 0.35 to 0.55 8.5 6.8 to 10" in text
    assert "random 0.000 \u22120.10 to 0.10" in text


def test_a_bare_extension_makes_a_page_too(case, tmp_path):
    page = Page(write_report(case.extension, case.vectors, tmp_path).read_text("utf-8"))
    text = " ".join(page.text.split())
    assert "It was not measured for these words." in text
    assert text.count("not measured") == 31
    assert "corpus ef" not in text
    assert "level with the best" not in text
    assert "cosine-plot" not in page.attributes("id")
    assert "cloud-plot" in page.attributes("id")


def test_a_long_table_is_cut_and_says_so(case, tmp_path, monkeypatch):
    monkeypatch.setattr("rowtune.report.page.MOST_ROWS", 12)
    page = Page(write_report(case.extension, case.vectors, tmp_path).read_text("utf-8"))
    assert "The first 12 of 30 are here" in " ".join(page.text.split())
    assert "30 new words learned" in page.text


def test_the_library_is_loaded_for_a_page_only():
    code = "import sys, rowtune.report.page\nassert 'plotly' not in sys.modules, 'plotly'\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_changed_rows_are_the_headline(small, tmp_path):
    changed = replace(small.extension, frozen=FreezeProof(90, "ab" * 32, "cd" * 32))
    html = write_report(changed, small.vectors, tmp_path).read_text("utf-8")
    assert "do not use this result" in html
    assert "bit for bit" not in html
    assert html.count(">different<") == 2
    assert ">identical<" not in html


def test_a_method_that_beats_ours_is_named(small, tmp_path):
    scores = {**small.extension.pretend_oov, "context mean": Score(0.9, 300.0, 0.02)}
    lost = replace(small.extension, pretend_oov=scores)
    html = write_report(lost, small.vectors, tmp_path).read_text("utf-8")
    assert "Another method did better on cosine (context mean)." in html


def test_nothing_learned_and_nothing_measured_is_still_a_page(small, tmp_path):
    empty = replace(
        small.extension, new_words=(), rows=small.extension.rows[:0], pretend_oov={}, held_out=()
    )
    page = Page(write_report(empty, small.vectors, tmp_path).read_text("utf-8"))
    assert "No new word learned" in page.text
    assert "quality unmeasured" in page.text
    assert "already has every word" in page.text
    assert "input" not in [tag for tag, _ in page.tags]
