"""The table of new words in a real Chromium: search, sort, reasons, rows that open, no scripts."""

from __future__ import annotations

import pytest

from rowtune.report.readable import readable
from rowtune.report.verdict import ranked_words

ROWS = "#list tbody tr"


def names(page):
    return [text.strip() for text in page.locator("#list tbody th").all_text_contents()]


def until(page, expression, arg=None):
    """Ask again and again: Playwright's own way needs eval, which the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(expression, arg):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {expression}")


@pytest.fixture
def ordered(long_case):
    extension = long_case.extension
    return [extension.new_words[i] for i in ranked_words(extension)]


def test_the_first_rows_are_there_and_more_come_by_scrolling(page, ordered):
    assert names(page) == [readable(word.word).strip() for word in ordered[:40]]
    page.locator("#end").scroll_into_view_if_needed()
    until(page, "document.querySelectorAll('#list tbody tr').length === 80")
    assert names(page) == [readable(word.word).strip() for word in ordered[:80]]


def test_search_narrows_rows_and_the_word_itself_comes_first(page, ordered):
    page.fill("#search", "NEW12")
    assert names(page)[0] == "new12"
    assert set(names(page)) == {word.word for word in ordered if "new12" in word.word}
    assert page.text_content("#found") == f"{len(names(page))} of 230 words"
    page.fill("#search", "nothing has this")
    assert names(page) == []
    assert page.is_visible("#none")
    page.fill("#search", "")
    assert page.text_content("#found") == "230 words"
    assert not page.is_visible("#none")


def test_search_finds_neighbours_too(page, ordered):
    near = {w.word for w in ordered if any("old77" in name for name, _ in w.neighbours)}
    assert near
    page.fill("#search", "old77")
    assert set(names(page)) == {readable(word).strip() for word in near}


@pytest.mark.parametrize("word", ["<script>alert(1)</script>", r"$\frac{", "{{ 7 * 7 }}"])
def test_words_that_look_like_markup_stay_words(page, word):
    page.fill("#search", word)
    assert names(page) == [word]
    page.click(f"{ROWS} button")
    assert page.locator(".more mark").first.text_content() == word


def test_a_row_opens_with_the_keyboard_and_shows_where_the_word_stands(page, ordered):
    page.focus("#search")
    page.fill("#search", ordered[0].word)
    button = page.locator(f"{ROWS} button").first
    button.focus()
    assert button.get_attribute("aria-expanded") == "false"
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    said = page.locator(".more").text_content()
    assert f"Seen {ordered[0].count:,} times, with a known word around 900 times." in said
    assert page.locator(".more li").all_text_contents() == list(ordered[0].excerpts)
    page.keyboard.press("Enter")
    assert page.locator(".more").count() == 0


def test_a_word_is_marked_by_itself_only(page, ordered):
    word = next(word for word in ordered if word.excerpts and word.word.startswith("new1"))
    page.fill("#search", word.word)
    page.locator(f"{ROWS} button").first.click()
    assert page.locator(".more mark").all_text_contents() == [word.word] * 2
    kept = "['table', 'light', 'start', 'wordTable'].filter((name) => name in window)"
    assert page.evaluate(kept) == []  # scripts leave no names behind


def test_it_sorts_by_count_and_by_confidence_unmeasured_last(page, long_case):
    counts = sorted(word.count for word in long_case.extension.new_words)
    shown = "Array.from(document.querySelectorAll('#list tbody tr'), r => r.cells[{}].textContent)"
    head = page.locator("th[data-sort=count]")
    for direction, expected in (("descending", counts[::-1]), ("ascending", counts)):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == direction
        assert page.evaluate(shown.format(1)) == [f"{count:,}" for count in expected[:40]]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") is None
    head = page.locator("th[data-sort=confidence]")
    for first in ("0.71 high", "0.31 low"):
        head.locator("button").click()
        assert page.evaluate(shown.format(2))[0] == first
        page.fill("#search", "new11")
        assert page.evaluate(shown.format(2))[-1] == "not measured"
        page.fill("#search", "")
    head.locator("button").click()  # a third press: the order of the page again


def test_one_reason_alone(page, long_case):
    expected = sum(word.lacking == "case" for word in long_case.extension.new_words)
    page.locator("input[name=reason][value=case]").focus()
    page.keyboard.press("Space")
    assert page.text_content("#found") == f"{expected} of 230 words"
    whys = page.locator("#list tbody td.why").all_text_contents()
    assert set(whys) == {"case differs: old0"}


def test_without_scripts_the_essentials_are_there(visit, long_case):
    page = visit(java_script_enabled=False).page
    assert page.locator(ROWS).count() == 230
    assert page.locator(ROWS).last.is_visible()
    assert not page.is_visible("#search")
    for text in ("new words learned", "bit for bit", "ab" * 32, "80.0%", "Every method"):
        assert page.get_by_text(text).first.is_visible(), text
    assert page.get_by_text("The map needs scripts").is_visible()
    assert not page.is_visible("#map-plot")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(visit, width):
    page = visit(viewport={"width": width, "height": 800}).drawn().page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cut = """Array.from(document.querySelectorAll("#list tr > *")).filter(
        (cell) => cell.offsetParent && cell.scrollWidth > cell.clientWidth + 1).length"""
    assert page.evaluate(cut) == 0
