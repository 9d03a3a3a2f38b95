"""The map and the charts in a real Chromium: hover, zoom, click, colours, keys, no network."""

from __future__ import annotations

import html

import numpy as np
import pytest

NEW, OLD = 2, 1  # traces of the map


def until(page, expression, arg=None):
    """Ask again and again: Playwright's own way needs eval, which the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(expression, arg):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {expression}")


def ranges(page):
    return page.evaluate(
        "(({xaxis, yaxis}) => [...xaxis.range, ...yaxis.range])"
        "(document.getElementById('map-plot').layout)"
    )


def place(page, number, i):
    """Bring the map into view; return where point ``i`` of a trace is, in pixels."""
    page.locator("#map-plot").scroll_into_view_if_needed()
    box = page.locator("#map-plot").bounding_box()
    x0, x1, y0, y1 = ranges(page)
    x, y = (page.evaluate(f"document.getElementById('map-plot').data[{number}].{axis}[{i}]")
            for axis in "xy")  # fmt: skip
    across, down = (x - x0) / (x1 - x0), (y1 - y) / (y1 - y0)
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def loneliest(page, number):
    """Return the point of a trace that lies farthest from all others: no doubt which is hit."""
    spots = [
        np.array(page.evaluate(
            f"document.getElementById('map-plot').data[{k}].x.map((x, i) => "
            f"[x, document.getElementById('map-plot').data[{k}].y[i]])"
        ))
        for k in (OLD, NEW)
    ]  # fmt: skip
    mine, all_spots = spots[number - 1], np.vstack(spots)
    far = np.sort(((mine[:, None] - all_spots[None]) ** 2).sum(axis=-1), axis=1)[:, 1]
    return int(far.argmax())


def shown_name(page, number, i):
    text = page.evaluate(f"document.getElementById('map-plot').data[{number}].hovertext[{i}]")
    return text[text.index("\u2068") + 1 : text.index("\u2069")]


def test_hover_tells_the_word_and_its_facts(page):
    i = loneliest(page, NEW)
    page.mouse.move(*place(page, NEW, i))
    label = page.locator("#map-plot .hoverlayer .hovertext")
    label.wait_for()
    text = label.text_content()
    assert shown_name(page, NEW, i) in text
    assert "seen " in text
    assert "confidence " in text
    assert "nearest old words:" in text


def test_words_that_look_like_markup_are_shown_as_they_are(page, long_case):
    texts = page.evaluate("document.getElementById('map-plot').data[2].hovertext")
    i = next(i for i, text in enumerate(texts) if "script" in text)
    assert texts[i].startswith("<b>\u2068&lt;script&gt;alert(1)&lt;/script&gt;\u2069</b>")
    page.mouse.move(*place(page, NEW, i))
    page.locator("#map-plot .hoverlayer .hovertext").wait_for()
    assert page.evaluate("document.querySelectorAll('svg script').length") == 0


def test_buttons_keys_and_wheel_zoom_and_double_click_shows_everything(page):
    whole = ranges(page)
    page.click("[data-zoom=in]")
    nearer = ranges(page)
    assert nearer[1] - nearer[0] == pytest.approx((whole[1] - whole[0]) / 1.5)
    page.click("[data-zoom=out]")
    assert ranges(page) == pytest.approx(whole)
    page.focus("#map-plot")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    moved = ranges(page)
    assert moved[0] == pytest.approx(nearer[0] + 0.15 * (nearer[1] - nearer[0]))
    page.keyboard.press("0")
    assert ranges(page) == pytest.approx(whole)
    page.mouse.move(*place(page, NEW, loneliest(page, NEW)))
    page.mouse.wheel(0, -240)
    until(
        page,
        "(whole) => document.getElementById('map-plot').layout.xaxis.range[0] > whole + 0.01",
        arg=whole[0],
    )
    page.mouse.dblclick(*place(page, NEW, loneliest(page, NEW)))  # on a word too
    until(
        page,
        "(whole) => Math.abs(document.getElementById('map-plot').layout.xaxis.range[0] - whole)"
        " < 1e-9",
        arg=whole[0],
    )
    assert ranges(page) == pytest.approx(whole)
    page.wait_for_timeout(400)  # longer than a click is held back
    assert page.input_value("#search") == ""


def test_the_wheel_scrolls_the_page_until_the_map_is_asked(page):
    whole = ranges(page)
    page.mouse.move(*place(page, NEW, 0))
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, -120)
    until(page, "(before) => scrollY < before", arg=before)
    assert ranges(page) == whole


def test_dragging_moves_the_map_and_names_follow(page):
    page.click("[data-zoom=in]")
    page.click("[data-zoom=in]")
    page.locator("#map-plot").scroll_into_view_if_needed()
    start, names = ranges(page), trace_text(page)
    box = page.locator("#map-plot").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 200, y + 50, steps=4)
    page.mouse.up()
    until(
        page,
        "(start) => document.getElementById('map-plot').layout.xaxis.range[0] < start - 0.01",
        arg=start[0],
    )
    assert trace_text(page) != names


def trace_text(page):
    return page.evaluate("document.getElementById('map-plot').data[2].text")


def test_more_names_fit_after_zooming_and_each_is_drawn(page):
    """Plotly drops the place of an empty name; a name that fits later must still appear."""
    for _ in range(3):
        page.click("[data-zoom=in]")
    wanted = {name for name in trace_text(page) if name != "\u200b"}
    assert wanted
    drawn = set(page.locator("#map-plot .textpoint text").all_text_contents())
    plain = {html.unescape(name) for name in wanted}
    assert plain <= drawn


def test_search_leaves_the_found_words_bright(page):
    page.fill("#search", "new12")
    found = page.locator("#list tbody tr").count()
    until(
        page,
        "(found) => document.getElementById('map-plot').data[2].marker.opacity"
        ".filter((o) => o === 1).length === found",
        arg=found,
    )
    page.fill("#search", "")
    until(page, "document.getElementById('map-plot').data[2].marker.opacity.every((o) => o === 1)")


def test_a_click_on_the_map_opens_the_row(page):
    i = loneliest(page, NEW)
    word = shown_name(page, NEW, i)
    page.mouse.click(*place(page, NEW, i))
    until(page, "document.querySelector('#list .more') !== null")
    first = page.locator("#list tbody th").first
    assert first.text_content() == word
    assert first.locator("button").get_attribute("aria-expanded") == "true"
    assert page.evaluate("document.activeElement.closest('tr') !== null")
    j = loneliest(page, OLD)
    old = shown_name(page, OLD, j)
    page.mouse.click(*place(page, OLD, j))
    until(page, "(old) => document.getElementById('search').value === old", arg=old)
    assert page.locator("#list tbody tr").count() > 0


def colours(page):
    return page.evaluate(
        "[document.getElementById('map-plot').data[2].marker.color,"
        " document.getElementById('cosine-plot').layout.font.color,"
        " getComputedStyle(document.querySelector('section')).backgroundColor]"
    )


def test_dark_and_light_follow_the_system_while_the_page_is_open(page):
    page.emulate_media(color_scheme="light")
    light = colours(page)
    assert light == ["#b4470a", "#1b2430", "rgb(255, 255, 255)"]
    page.emulate_media(color_scheme="dark")
    until(page, "document.getElementById('cosine-plot').layout.font.color !== '#1b2430'")
    assert colours(page) == ["#ff9a52", "#e8edf3", "rgb(22, 27, 34)"]
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # paper is white
    assert colours(page) == light
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert colours(page) == ["#ff9a52", "#e8edf3", "rgb(22, 27, 34)"]


def test_it_prints(page):
    assert page.pdf().startswith(b"%PDF")


def test_methods_can_be_ticked_and_both_charts_follow(page):
    names = (
        "['cosine-plot', 'rank-plot'].map("
        "(id) => document.getElementById(id).data.map((trace) => trace.name))"
    )
    first = page.evaluate(names)
    assert first[0] == first[1]
    assert len(first[0]) == 4
    page.get_by_label("random").focus()
    page.keyboard.press("Space")
    until(page, "document.getElementById('rank-plot').data.length === 5")
    assert "\u2068random\u2069" in page.evaluate(names)[0]
    bars = page.evaluate("document.getElementById('cosine-plot').data[0]")
    assert bars["error_y"]["array"] == pytest.approx([0.1] * 4)
    page.keyboard.press("Space")


def test_a_browser_that_cannot_unpack_says_so_and_the_table_still_works(browser, index):
    context = browser.new_context()
    context.add_init_script("delete window.DecompressionStream")
    page = context.new_page()
    page.goto(index.as_uri())
    page.get_by_text("This browser could not draw").first.wait_for()
    page.fill("#search", "new12")
    assert "of 230" in page.text_content("#found")
    context.close()
