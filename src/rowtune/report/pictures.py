"""Every picture that Rowtune draws, each a function of plain results and a place to write to."""

from __future__ import annotations

from rowtune.report.canvas import DARK, LIGHT, Theme
from rowtune.report.convergence import convergence
from rowtune.report.hero import readme_picture
from rowtune.report.scores import pretend_oov_chart
from rowtune.report.word_map import Places, map_of_new_words, place_words

__all__ = [
    "DARK",
    "LIGHT",
    "Places",
    "Theme",
    "convergence",
    "map_of_new_words",
    "place_words",
    "pretend_oov_chart",
    "readme_picture",
]
