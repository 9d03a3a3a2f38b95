"""The new words among the old ones, on a plane."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from rowtune.learn.result import Extension, NewWord
from rowtune.report.canvas import LIGHT, Theme, blank, save, title, write
from rowtune.report.labels import Names
from rowtune.report.neighbourhood import Floats, Progress, kept_neighbours, plane
from rowtune.report.readable import plural
from rowtune.report.verdict import ranked_words


class Rows(Protocol):
    """What a picture needs of a table of word vectors: the row of a word that it has."""

    def __getitem__(self, word: str, /) -> Any: ...


@dataclass(frozen=True)
class Places:
    """New words and their neighbours with their places on the plane, most frequent first."""

    new: tuple[str, ...]
    known: tuple[str, ...]
    flat_new: Floats  # (new, 2)
    flat_known: Floats  # (known, 2)
    tied: tuple[int, ...]  # for each new word its nearest known word, -1 where that lies far off
    kept: float  # share of new words that are tied
    of: int  # all new words, shown or not


def place_words(
    extension: Extension,
    vectors: Rows,
    *,
    most: int = 70,
    around: int = 4,
    progress: Progress | None = None,
) -> Places:
    """Choose words to show and lay them out; one layout serves several pictures.

    Parameters
    ----------
    extension : Extension
        Its words that are truly new come first, then those that differ from a known one in case,
        punctuation or number alone; the more frequent before the less.
    vectors : mapping of word to row
        The known rows, as `rowtune.load` gives them.
    most : int
        New words to show at most.
    around : int
        Nearest known words to show with each.
    progress : callable, optional
        Called with (stage, done, total).
    """
    ranked = ranked_words(extension)[:most]
    chosen = [extension.new_words[i] for i in ranked]
    known = tuple(dict.fromkeys(_neighbours(chosen, around)))
    new_rows = np.asarray(extension.rows[ranked], np.float64)
    width = extension.rows.shape[1]
    known_rows = _stack([vectors[word] for word in known], width)
    flat = plane(np.vstack([new_rows, known_rows]), progress=progress)
    flat_new, flat_known = flat[: len(chosen)], flat[len(chosen) :]
    tied = kept_neighbours(new_rows, known_rows, flat_new, flat_known)
    return Places(
        new=tuple(word.word for word in chosen),
        known=known,
        flat_new=flat_new,
        flat_known=flat_known,
        tied=tuple(int(i) for i in tied),
        kept=float((tied >= 0).mean()) if chosen else 1.0,
        of=len(extension.new_words),
    )


def _neighbours(chosen: list[NewWord], around: int) -> Iterator[str]:
    for depth in range(around):  # all the nearest first: they get their names first
        for word in chosen:
            if depth < len(word.neighbours):
                yield word.neighbours[depth][0]


def _stack(rows: list[NDArray[Any]], width: int) -> Floats:
    return np.asarray(rows, np.float64).reshape(len(rows), width)


def draw_places(axes: Any, places: Places, theme: Theme, *, size: float = 9) -> None:
    """Draw dots, threads to the nearest known word, and as many names as fit."""
    axes.set_xlim(-1.07, 1.07)
    axes.set_ylim(-1.07, 1.07)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_facecolor("none")
    if not places.new:
        write(
            axes, 0, 0, "No new words: the table knows them all.",
            size=size + 2, color=theme.soft, ha="center", va="center",
        )  # fmt: skip
        return
    for i, near in enumerate(places.tied):
        if near >= 0:
            ends = np.vstack([places.flat_new[i], places.flat_known[near]])
            axes.plot(ends[:, 0], ends[:, 1], color=theme.new, alpha=0.45, lw=0.9, zorder=1)
    axes.scatter(*places.flat_known.T, s=11, color=theme.faint, lw=0, zorder=2)
    axes.scatter(*places.flat_new.T, s=34, color=theme.new, lw=0.8, ec=theme.paper, zorder=3)
    dots = np.vstack([places.flat_new, places.flat_known])
    ties = np.vstack([np.zeros((0, 2)), *_along(places)])
    radius = np.repeat([6.0, 3.5], [len(places.new), len(places.known)])  # as scattered above
    names = Names(axes, dots, radius, lines=ties)
    for i, word in enumerate(places.new):
        names.put(i, word, size=size, color=theme.new, weight="bold")
    for j, word in enumerate(places.known[: int(1.4 * len(places.new)) + 8]):
        names.put(len(places.new) + j, word, size=size - 1.5, color=theme.soft, weight="normal")


def _along(places: Places) -> Iterator[Floats]:
    """Points on each tie, so that no name is struck through."""
    for i, near in enumerate(places.tied):
        if near >= 0:
            share = np.linspace(0.15, 0.85, 15)[:, None]
            yield share * places.flat_new[i] + (1 - share) * places.flat_known[near]


def map_of_new_words(
    extension: Extension,
    vectors: Rows,
    target: str | os.PathLike[str] | BinaryIO,
    *,
    theme: Theme = LIGHT,
    places: Places | None = None,
) -> None:
    """Draw the new words in a strong colour among their known neighbours in grey.

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
        places = place_words(extension, vectors)
    figure = blank(11, 7.6, theme)
    axes = figure.add_axes((0.015, 0.06, 0.97, 0.84))
    title(axes, theme, "New words among the old ones", _legend(places))
    draw_places(axes, places, theme)
    write(figure, 0.015, 0.015, _honest(places), size=8, color=theme.soft, va="bottom",
          linespacing=1.35)  # fmt: skip
    save(figure, target)


def _legend(places: Places) -> str:
    if len(places.new) == places.of:
        shown = plural(places.of, "new word")
    else:
        shown = f"{len(places.new)} of {places.of:,} new words (new altogether first, by count)"
    return f"{shown}, tied to the nearest old word where the map keeps both close; grey: old words"


def _honest(places: Places) -> str:
    if not places.new:
        return ""
    return (
        "Layout: t-SNE on cosines. Only closeness means something; the axes, and distances "
        f"between far groups, do not.\n{places.kept:.0%} of the new words shown have their nearest "
        "old word among the five closest here."
    )
