"""One self-contained HTML page about an extension: it opens anywhere and asks no network."""

from __future__ import annotations

import base64
import datetime
import io
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from rowtune.atomic import replacing
from rowtune.learn.result import Extension
from rowtune.report.canvas import DARK, LIGHT
from rowtune.report.neighbourhood import Progress
from rowtune.report.readable import method_name, plural, rank_text, readable
from rowtune.report.scores import pretend_oov_chart, ranked_methods
from rowtune.report.verdict import OURS, best_methods, ranked_words, scores_sentence, why
from rowtune.report.word_map import Rows, map_of_new_words, place_words


def write_report(
    extension: Extension,
    vectors: Rows,
    folder: str | os.PathLike[str],
    *,
    command: str | None = None,
    source_names: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write ``index.html`` with its two pictures inside, and the pictures as ``map.png`` and
    ``pretend_oov.png`` beside it.

    Everything is made before anything is written, and each file appears whole or not at all: an
    error leaves an older report as it was.

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
    page = _page(extension, pictures, command, source_names or {}).encode("utf-8")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("map.png", pictures["map"]),
        ("pretend_oov.png", pictures["pretend_oov"]),
        ("index.html", page),  # last: whoever sees the new page sees the new pictures too
    ):
        with replacing(place / name) as file:
            file.write(content)
    return place / "index.html"


def _draw(extension: Extension, vectors: Rows, progress: Progress | None) -> dict[str, bytes]:
    """Draw each picture on light and on dark paper; the page shows the one that fits."""
    places = place_words(extension, vectors, progress=progress)
    drawn = {}
    for i, (suffix, theme) in enumerate((("", LIGHT), ("_dark", DARK))):
        file = io.BytesIO()
        map_of_new_words(extension, vectors, file, theme=theme, places=places)
        drawn["map" + suffix] = file.getvalue()
        file = io.BytesIO()
        pretend_oov_chart(extension, file, theme=theme)
        drawn["pretend_oov" + suffix] = file.getvalue()
        if progress is not None:
            progress("pictures", 2 * i + 2, 4)
    return drawn


def _page(
    extension: Extension,
    pictures: dict[str, bytes],
    command: str | None,
    source_names: Mapping[str, str],
) -> str:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        readable=lambda value: readable(str(value)), method=method_name, rank=rank_text, why=why
    )
    template = environment.from_string(_part("page.html.j2"))
    return template.render(
        extension=extension,
        frozen=extension.frozen,
        learned=plural(len(extension.new_words), "new word"),
        rows=plural(extension.frozen.rows, "old row"),
        words=[extension.new_words[i] for i in ranked_words(extension)],
        sentence=scores_sentence(extension),
        methods=ranked_methods(extension),
        best=best_methods(extension),
        ours=OURS,
        coverage=_coverage(extension),
        seconds_in_all=sum(extension.seconds.values()),
        provenance=_provenance(command, source_names),
        pictures={name: _inline(content) for name, content in pictures.items()},
        style=Markup(_part("page.css")),
        script=Markup(_part("page.js")),
    )


def _part(name: str) -> str:
    return (files("rowtune.report") / name).read_text("utf-8")


def _inline(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def _coverage(extension: Extension) -> list[dict[str, Any]]:
    """Rows of the coverage table; shares are percentages."""
    cover = extension.coverage
    return [
        {
            "name": name,
            "all": whole,
            "before": before,
            "after": after,
            "share_before": 100 * before / max(whole, 1),
            "share_after": 100 * after / max(whole, 1),
        }
        for name, whole, before, after in (
            ("Occurrences (tokens)", cover.tokens, cover.tokens_before, cover.tokens_after),
            ("Distinct words (types)", cover.types, cover.types_before, cover.types_after),
        )
    ]


def _provenance(command: str | None, source_names: Mapping[str, str]) -> dict[str, str]:
    try:
        version = metadata.version("rowtune")
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        version = "not installed"
    known = {"command": command} if command else {}
    return {
        **known,
        **source_names,
        "rowtune": version,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "written": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
