"""A small extension with words that break careless reports."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest

from rowtune.learn.result import (
    Coverage,
    Extension,
    FreezeProof,
    HeldOutWord,
    NewWord,
    PartScore,
    Score,
)
from rowtune.vectors.vectors import Vectors

# Markup, mathematics (well-formed and broken), bytes that were no UTF-8, signs that no font has,
# terminal markup, entities, a right-to-left word, a control character.
AWKWARD = (
    "<script>alert(1)</script>", "$x_1$", r"$\frac{", "caf\udce9", "\U00010fff\u4e2d",
    "[red]x[/red]", "a&amp;b", "\u05d0\u05d1", "bell\x07", '"quoted\'', "{{ 7 * 7 }}",
)  # fmt: skip
METHODS = ("random", "context mean", "a la carte", "rowtune")


@dataclass(frozen=True)
class Case:
    """What a report is made of."""

    extension: Extension
    vectors: Vectors


def make_case(new: int = 30, known: int = 90, dim: int = 12, hidden: int = 60) -> Case:
    random = np.random.default_rng(7)
    words = [f"old{i}" for i in range(known)]
    matrix = random.normal(size=(known, dim)).astype(np.float32)
    rows = random.normal(size=(new, dim)).astype(np.float32)
    names = [*AWKWARD, *(f"new{i}" for i in range(new))][:new]
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    new_words = []
    for i, name in enumerate(names):
        cosines = unit @ rows[i] / np.linalg.norm(rows[i])
        nearest = np.argsort(-cosines)[:5]
        new_words.append(
            NewWord(
                word=name,
                count=1000 - i,
                contexts=900 - i,
                neighbours=tuple((words[j], float(cosines[j])) for j in nearest),
                lacking="case" if i % 3 == 1 else "new",
                known_form="old0" if i % 3 == 1 else None,
            )
        )
    scores = {
        name: Score(0.15 * i, 8000.0 / 10**i + 0.5, 0.01 * i) for i, name in enumerate(METHODS)
    }
    held_out = tuple(
        HeldOutWord(
            words[i],
            5 + i * i,
            {name: float(random.uniform(0, 1)) for name in METHODS},
            {name: int(random.integers(1, known)) for name in METHODS},
        )
        for i in range(hidden)
    )
    extension = Extension(
        new_words=tuple(new_words),
        rows=rows,
        coverage=Coverage(200, 100, 100 + new, 5000, 4000, 4800),
        frozen=FreezeProof(known, "ab" * 32, "ab" * 32),
        pretend_oov=scores,
        held_out=held_out,
        settings={
            "window": np.int64(5),
            "ridge": np.float32(0.5),
            "ngrams": (3, 4, 5),
            "off": None,
        },
        seconds={"read": 0.25, "learn": 1.5},
        notes=("Two words were <rare>.",),
    )
    return Case(extension, Vectors(words, matrix))


@pytest.fixture(scope="session")
def case() -> Case:
    return make_case()


SOURCES = ("spelling", "contexts only")  # what the blend is compared with, part by part
PARTS = ("all", "seen 20 to 49 times", "seen 50 to 99 times", "no close relative")
LEVELS = (0.71, 0.55, 0.31, None)  # high, medium, low, not measured


def filled(case: Case) -> Case:
    """The same case with everything that an extension may hold: parts, confidence, excerpts."""
    extension = case.extension
    words = tuple(
        replace(
            word,
            confidence=LEVELS[i % 4],
            excerpts=(f"one {word.word} two", f"</script> \u2028 {word.word}\u202e &amp;")
            if i % 2 == 0
            else (),
        )
        for i, word in enumerate(extension.new_words)
    )
    scores = {
        "spelling": Score(0.40, 12.0, 0.02),
        "contexts only": Score(0.20, 700.0, 0.01),
        **extension.pretend_oov,
    }
    parts = tuple(
        PartScore(
            part,
            method,
            60 - 10 * i,
            score,
            (score.cosine - 0.1, score.cosine + 0.1),
            (score.median_rank * 0.8, score.median_rank * 1.2),
            (0.0, 0.05),
        )
        for i, part in enumerate(PARTS)
        for method, score in scores.items()
    )
    full = replace(
        extension, new_words=words, pretend_oov=scores, parts=parts, corpus_sha256="ef" * 32
    )
    return Case(full, case.vectors)


@pytest.fixture(scope="session")
def full(case) -> Case:
    return filled(case)


@pytest.fixture(scope="session")
def small() -> Case:
    """Enough for a page, quickly drawn."""
    return make_case(new=6, known=20, hidden=10)


def chromium() -> str | None:
    """Find a browser of this machine; CHROMIUM names one that stands elsewhere."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = (os.environ.get("CHROMIUM"), *map(shutil.which, names))
    return next((path for path in found if path), None)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; for one module, because Playwright keeps an event loop of its own."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs Playwright: pip install playwright"
    )
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here: apt install chromium, or set CHROMIUM to its path")
    # Chromium has no sandbox for root, which is who runs tests in a container.
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=path, args=args)
        yield started
        started.close()


class Visit:
    """The page in a tab, with all that the browser said and asked meanwhile."""

    def __init__(self, browser, path, **context):
        self.context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 900}, **context}
        )
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message) or dialog.dismiss())
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.address = path.as_uri()
        self.page.goto(self.address)

    def drawn(self):
        self.page.wait_for_selector("html[data-drawn=yes]")
        return self

    def end(self):
        self.context.close()
        assert self.said == []
        assert self.asked == [self.address]


@pytest.fixture(scope="session")
def long_case() -> Case:
    """More words than the table shows at a time."""
    return filled(make_case(new=230))


@pytest.fixture(scope="session")
def index(long_case, tmp_path_factory):
    from rowtune.report.page import write_report

    folder = tmp_path_factory.mktemp("seen")
    return write_report(long_case.extension, long_case.vectors, folder, command="rowtune extend")


@pytest.fixture
def visit(browser, index):
    """Opens the page as often as a test asks; at its end nothing may have been said or asked."""
    open_now = []

    def opened(**context):
        open_now.append(Visit(browser, index, **context))
        return open_now[-1]

    yield opened
    for one in open_now:
        one.end()


@pytest.fixture(scope="module")
def tab(browser, index):
    """One tab for a whole module: unpacking what draws takes a second."""
    visit = Visit(browser, index, color_scheme="light").drawn()
    yield visit
    visit.end()


@pytest.fixture
def page(tab):
    """The page of the tab, as if it had just been opened."""
    page = tab.page
    page.emulate_media(color_scheme="light")
    page.check("input[name=reason][value='']", force=True)
    page.fill("#search", "")
    page.click("[data-zoom=all]")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)  # Plotly takes a second click within 300 ms for a double one
    yield page
    assert tab.said == []
