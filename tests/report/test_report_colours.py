"""Colours of the page: every text can be read on every ground it stands on, light and dark."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import product

import pytest

TEXTS = ("ink", "soft", "new", "known", "good", "bad", "third")
GROUNDS = ("paper", "card", "tint")


def schemes():
    style = (files("rowtune.report") / "web" / "page.css").read_text("utf-8")
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", style)
    return {
        name: dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for name, block in zip(("light", "dark"), blocks, strict=True)
    }


def brightness(colour):
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), [*product(TEXTS, GROUNDS)])
def test_text_stands_out_as_wcag_aa_asks(scheme, text, ground):
    colours = schemes()[scheme]
    light, dark = sorted((brightness(colours[text]), brightness(colours[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_both_schemes_define_the_same_colours():
    light, dark = schemes().values()
    assert set(light) == set(dark)
