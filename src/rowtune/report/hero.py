"""One wide picture that tells the whole story: what was learned, what stayed, how well it went."""

from __future__ import annotations

import dataclasses
import os
from typing import BinaryIO

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rowtune.learn.result import Extension
from rowtune.report.canvas import LIGHT, Theme, blank, save, write
from rowtune.report.readable import plural, rank_text
from rowtune.report.scores import draw_scores
from rowtune.report.verdict import OURS
from rowtune.report.word_map import Places, Rows, draw_places, place_words

LEFT = 0.655  # where the right-hand column begins, as a share of the width


def readme_picture(
    extension: Extension,
    vectors: Rows,
    target: str | os.PathLike[str] | BinaryIO,
    *,
    theme: Theme = LIGHT,
    places: Places | None = None,
) -> None:
    """Draw the map of new words beside the freeze proof and the pretend-OOV ranks.

    Parameters
    ----------
    extension : Extension
        What `rowtune.learn.extend` returned.
    vectors : mapping of word to row
        The known rows, as `rowtune.load` gives them.
    target : path or open binary file
        A path ends in .png, .svg or .pdf; a file receives PNG.
    theme : Theme
        `LIGHT` or `DARK`.
    places : Places, optional
        From `place_words`, where the same layout is drawn twice.

    Raises
    ------
    KeyError
        A neighbour in ``extension`` that ``vectors`` does not have: it is another table.
    FormatError
        An ending that is none of the three.
    """
    if places is None:
        places = place_words(extension, vectors, most=34, around=3)
    figure = blank(13, 5.8, theme)
    axes = figure.add_axes((0.005, 0.05, LEFT - 0.045, 0.93))
    draw_places(axes, places, theme, size=8.5)
    _caption(figure, theme)
    figure.add_artist(Line2D([LEFT - 0.022] * 2, [0.06, 0.94], color=theme.faint, lw=0.8))
    _learned(figure, extension, theme)
    _frozen(figure, extension, theme)
    _scored(figure, extension, theme)
    save(figure, target)


def _caption(figure: Figure, theme: Theme) -> None:
    for x, color, text in ((0.02, theme.new, "new words"), (0.115, theme.soft, "old words")):
        figure.add_artist(
            Line2D([x], [0.036], marker="o", ms=5, color=color, markeredgewidth=0, ls="none")
        )
        write(figure, x + 0.009, 0.035, text, size=8, color=theme.soft, va="center")
    write(figure, 0.21, 0.035, "t-SNE on cosines: only closeness means something", size=8,
          color=theme.soft, va="center")  # fmt: skip


def _learned(figure: Figure, extension: Extension, theme: Theme) -> None:
    number = len(extension.new_words)
    write(figure, LEFT, 0.945, f"{number:,}", size=27, weight="bold", color=theme.new, va="top")
    coverage = extension.coverage
    before, after = (
        part / max(coverage.tokens, 1) for part in (coverage.tokens_before, coverage.tokens_after)
    )
    words = "new word learned" if number == 1 else "new words learned"
    write(figure, LEFT, 0.862, f"{words}: coverage of the text goes\n"
          f"from {before:.1%} to {after:.1%}", size=9.5, color=theme.ink, va="top",
          linespacing=1.35)  # fmt: skip


def _frozen(figure: Figure, extension: Extension, theme: Theme) -> None:
    proof = extension.frozen
    write(
        figure, LEFT, 0.705, f"{proof.rows:,}", size=27, weight="bold", color=theme.known, va="top"
    )
    same = "not one bit of them changed" if proof.identical else "AND THEY CHANGED"
    write(figure, LEFT, 0.622, f"old rows, {same}", size=9.5, color=theme.ink, va="top")
    sign = "=" if proof.identical else "\u2260"
    write(figure, LEFT, 0.577, f"SHA-256 {proof.sha256_before[:16]}\u2026 {sign} "
          f"{proof.sha256_after[:16]}\u2026", size=8, color=theme.soft, va="top")  # fmt: skip


def _scored(figure: Figure, extension: Extension, theme: Theme) -> None:
    if OURS not in extension.pretend_oov:
        return
    ours = extension.pretend_oov[OURS]
    hidden = plural(len(extension.held_out), "known word")
    write(figure, LEFT, 0.475, rank_text(ours.median_rank), size=27, weight="bold", color=theme.new,
          va="top")  # fmt: skip
    write(figure, LEFT, 0.392, f"median rank of the true row, {hidden} hidden\n"
          "and learned again; shorter is better, log scale:", size=9.5, color=theme.ink,
          va="top", linespacing=1.35)  # fmt: skip
    axes = figure.add_axes((LEFT + 0.118, 0.045, 0.215, 0.245))
    # Joint ways that lost are in the report; here there is room for the plain ones.
    plain = {name: score for name, score in extension.pretend_oov.items() if " + " not in name}
    draw_scores(
        [axes],
        dataclasses.replace(extension, pretend_oov=plain),
        theme,
        size=8.5,
        heads=False,
        only=("Median rank",),
    )
