"""Pretend-OOV in pictures: every method beside ours, and how ours depends on a word's frequency."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from rowtune.learn.result import Extension, HeldOutWord, Score
from rowtune.report.canvas import FONT, LIGHT, Theme, blank, quiet_axes, save, title, write
from rowtune.report.labels import Names
from rowtune.report.readable import method_name, plural, rank_text
from rowtune.report.verdict import OURS


def _signed(cosine: float) -> str:
    return f"{cosine:.3f}".replace("-", "\u2212")


# Title, explanation, value, and how the value is written.
PANELS: tuple[tuple[str, str, Callable[[Score], float], Callable[[float], str]], ...] = (
    ("Cosine", "with the true row; longer is better", lambda s: s.cosine, _signed),
    ("Median rank", "of the true row, log scale; shorter is better",
     lambda s: s.median_rank, rank_text),
    ("Overlap at 10", "shared nearest neighbours; longer is better",
     lambda s: s.overlap10, "{:.1%}".format),
)  # fmt: skip


def pretend_oov_chart(
    extension: Extension,
    target: str | os.PathLike[str] | BinaryIO,
    *,
    theme: Theme = LIGHT,
) -> None:
    """Draw the three pretend-OOV scores of every method, and our cosine against the word count.

    Parameters
    ----------
    extension : Extension
        What `rowtune.learn.extend` returned.
    target : path or open binary file
        A path ends in .png, .svg or .pdf; a file receives PNG.
    theme : Theme
        `LIGHT` or `DARK`.

    Raises
    ------
    FormatError
        An ending that is none of the three.
    """
    methods = ranked_methods(extension)
    if not methods:
        figure = blank(12, 2, theme)
        write(
            figure, 0.5, 0.5, "No known word was frequent enough to be hidden and learned again.",
            size=12, color=theme.soft, ha="center", va="center",
        )  # fmt: skip
        save(figure, target)
        return
    bars, cloud = 0.36 * len(methods) + 0.25, 3.1  # inches
    height = bars + cloud + 2.95
    figure = blank(12, height, theme)
    write(figure, 0.015, 1 - 0.3 / height, "Known words hidden and learned again", size=15,
          weight="bold", color=theme.ink, va="top")  # fmt: skip
    write(figure, 0.015, 1 - 0.68 / height, _about(extension), size=9.5, color=theme.soft, va="top")
    bottom = 1 - (1.6 + bars) / height
    columns = [
        figure.add_axes((left, bottom, 0.235, bars / height)) for left in (0.165, 0.45, 0.735)
    ]
    draw_scores(columns, extension, theme)
    cloud_axes = figure.add_axes((0.055, 0.52 / height, 0.92, cloud / height))
    _draw_cloud(cloud_axes, extension.held_out, theme)
    save(figure, target)


def ranked_methods(extension: Extension) -> list[str]:
    """Names of the methods, best mean cosine first."""
    scores = extension.pretend_oov
    return sorted(scores, key=lambda method: -scores[method].cosine)


def _about(extension: Extension) -> str:
    words = plural(len(extension.held_out), "word")
    return (
        f"{words}, each compared with the row that it really has among "
        f"{extension.frozen.rows:,} known rows. The methods that lose are shown too."
    )


def draw_scores(
    columns: list[Any],
    extension: Extension,
    theme: Theme,
    *,
    size: float = 9.5,
    heads: bool = True,
    only: tuple[str, ...] = ("Cosine", "Median rank", "Overlap at 10"),
) -> None:
    """Draw one score on each axes of ``columns``, all methods; names stand left of the first."""
    methods = ranked_methods(extension)
    scores = [extension.pretend_oov[method] for method in methods]
    panels = [panel for panel in PANELS if panel[0] in only]
    for axes, (head, below, value, shown) in zip(columns, panels, strict=True):
        values = [value(score) for score in scores]
        _draw_column(axes, methods, values, shown, theme, size=size, log=head == "Median rank")
        if heads:
            title(axes, theme, head, below)
    for row, method in enumerate(methods):
        write(
            columns[0], -0.04, row, method_name(method), size=size,
            color=theme.new if method == OURS else theme.ink,
            weight="bold" if method == OURS else "normal",
            transform=columns[0].get_yaxis_transform(), ha="right", va="center",
        )  # fmt: skip


def _draw_column(
    axes: Any,
    methods: list[str],
    values: list[float],
    shown: Callable[[float], str],
    theme: Theme,
    *,
    size: float,
    log: bool,
) -> None:
    quiet_axes(axes, theme)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    sizes = np.log10(np.maximum(values, 1.0)) if log else np.asarray(values)
    low, high = min(0.0, sizes.min()), max(sizes.max(), 1e-9)
    axes.set_xlim(low - 0.02 * (high - low), high + 0.28 * (high - low))  # room for the figure
    axes.axvline(0, color=theme.faint, lw=0.8, zorder=0)
    for row, (method, length, value) in enumerate(zip(methods, sizes, values, strict=True)):
        color = theme.new if method == OURS else theme.soft
        axes.plot([0, length], [row, row], color=color, lw=3 if method == OURS else 2,
                  solid_capstyle="butt", alpha=1 if method == OURS else 0.55)  # fmt: skip
        axes.scatter([length], [row], s=46 if method == OURS else 30, color=color, zorder=3)
        write(
            axes, max(length, 0) + 0.045 * (high - low), row, shown(value), size=size, color=color,
            weight="bold" if method == OURS else "normal", va="center",
        )  # fmt: skip


def _draw_cloud(axes: Any, held_out: tuple[HeldOutWord, ...], theme: Theme) -> None:
    quiet_axes(axes, theme)
    words = [word for word in held_out if OURS in word.cosine]
    title(
        axes,
        theme,
        "Rowtune's cosine and how often the word was seen",
        "one dot per hidden word; the line is the median of words seen about as often",
    )
    axes.set_xscale("log")
    counts = np.array([max(word.count, 1) for word in words], float)
    cosines = np.array([word.cosine[OURS] for word in words], float)
    if not words:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.set_xlim(counts.min() / 1.15, counts.max() * 1.3)
    axes.set_ylim(min(0.0, cosines.min()) - 0.03, 1.02)
    _count_ticks(axes, counts.min(), counts.max(), theme)
    axes.scatter(counts, cosines, s=15, color=theme.known, alpha=0.55, lw=0)
    middle = _running_median(counts, cosines)
    axes.plot(*middle.T, color=theme.new, lw=2.5, solid_capstyle="round")
    dots = np.column_stack([counts, cosines])
    names = Names(axes, dots, radius=4.0)
    order = np.argsort(cosines)
    for dot in [*order[:8], *order[::-1][:8]]:
        names.put(int(dot), words[dot].word, size=8, color=theme.soft, weight="normal")


def _count_ticks(axes: Any, low: float, high: float, theme: Theme) -> None:
    ticks = [d * 10**p for p in range(9) for d in (1, 2, 5) if low <= d * 10**p <= high]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontfamily=FONT)
    axes.set_xticks([], minor=True)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.50", "0.75", "1"], fontfamily=FONT)
    axes.grid(axis="y", color=theme.faint, lw=0.6, alpha=0.6)
    axes.set_axisbelow(True)
    write(axes, 0.5, -0.1, "times seen in the corpus", size=9, color=theme.soft, ha="center",
          va="top", transform=axes.transAxes)  # fmt: skip


def _running_median(counts: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """Medians over up to eight groups of equal size along the count, as (groups, 2)."""
    order = np.argsort(counts, kind="stable")
    groups = np.array_split(order, max(1, min(8, len(order) // 15)))
    return np.array([(np.median(counts[g]), np.median(cosines[g])) for g in groups])
