"""One self-contained HTML page about an extension: it opens anywhere and asks no network."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

from rowtune.atomic import replacing
from rowtune.learn.result import Extension
from rowtune.report.canvas import LIGHT
from rowtune.report.markup import html_page
from rowtune.report.neighbourhood import Progress
from rowtune.report.page_data import page_data
from rowtune.report.plotting_library import packed_plotly
from rowtune.report.scores import pretend_oov_chart
from rowtune.report.verdict import ranked_words
from rowtune.report.word_map import Places, Rows, map_of_new_words, place_words

MOST_ROWS = 20_000  # of the table of new words: a browser searches them within a frame
ON_MAP, AROUND = 240, 3  # new words on the map that can be zoomed, and old words around each


def write_report(
    extension: Extension,
    vectors: Rows,
    folder: str | os.PathLike[str],
    *,
    command: str | None = None,
    source_names: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write ``index.html``, and beside it the pictures ``map.png`` and ``pretend_oov.png``.

    The page is one file of a little over 2 MB: plotly.js, which draws the map and the charts, is
    inside. Everything is made before anything is written, and each file appears whole or not at
    all: an error leaves an older report as it was.

    Parameters
    ----------
    extension : Extension
        What `rowtune.learn.extend` returned.
    vectors : mapping of word to row
        The known rows, as `rowtune.load` gives them.
    folder : path
        Made if it is not there.
    command : str, optional
        The command that a reader types to get the same result.
    source_names : mapping, optional
        What went in and came out, such as ``{"vectors": "glove-6b-50d", "corpus": "docs/"}``.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    Path of ``index.html``.

    Raises
    ------
    KeyError
        A neighbour in ``extension`` that ``vectors`` does not have: it is another table.
    OSError
        The folder cannot be made or written.
    """
    pictures = _draw(extension, vectors, progress)
    places = place_words(extension, vectors, most=ON_MAP, around=AROUND, progress=progress)
    page = _page(extension, places, command, source_names or {}).encode("utf-8")
    if progress is not None:
        progress("page", 3, 3)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name, content in (
        *pictures.items(),
        ("index.html", page),  # last: whoever sees the new page sees the new pictures too
    ):
        with replacing(place / name) as file:
            file.write(content)
    return place / "index.html"


def _draw(extension: Extension, vectors: Rows, progress: Progress | None) -> dict[str, bytes]:
    """Draw the two still pictures, for readers who want a file to put elsewhere."""
    drawn = {}
    places = place_words(extension, vectors, progress=progress)
    file = io.BytesIO()
    map_of_new_words(extension, vectors, file, theme=LIGHT, places=places)
    drawn["map.png"] = file.getvalue()
    if progress is not None:
        progress("page", 1, 3)
    file = io.BytesIO()
    pretend_oov_chart(extension, file, theme=LIGHT)
    drawn["pretend_oov.png"] = file.getvalue()
    if progress is not None:
        progress("page", 2, 3)
    return drawn


def _page(
    extension: Extension, places: Places, command: str | None, source_names: Mapping[str, str]
) -> str:
    words = [extension.new_words[i] for i in ranked_words(extension)[:MOST_ROWS]]
    drawable = bool(words or extension.parts or extension.held_out)
    return html_page(
        extension,
        words,
        shown_on_map=len(places.new),
        kept_on_map=places.kept,
        data=page_data(extension, words, places),
        library=packed_plotly() if drawable else "",
        command=command,
        source_names=source_names,
    )
