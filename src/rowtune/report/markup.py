"""The page's HTML: a template filled with what was learned, all of it escaped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from rowtune.learn.result import Extension, NewWord
from rowtune.report import score_tables
from rowtune.report.confidence import bands, level
from rowtune.report.headline import headline
from rowtune.report.provenance import hashes, versions, written_now
from rowtune.report.readable import method_name, plural, rank_text, readable
from rowtune.report.scores import ranked_methods
from rowtune.report.verdict import OURS, WHY, best_methods, scores_sentence, why

STYLES = ("page.css", "words.css", "charts.css")
SCRIPTS = (
    "words.js", "opened.js", "paint.js", "labels.js", "moving.js", "map.js", "charts.js", "page.js",
)  # fmt: skip
NEAR = 5  # neighbours in a row; the others show when it is opened


def html_page(
    extension: Extension,
    words: Sequence[NewWord],
    *,
    shown_on_map: int,
    kept_on_map: float,
    data: str,
    library: str,
    command: str | None,
    source_names: Mapping[str, str],
) -> str:
    """Return the page as text.

    Parameters
    ----------
    extension : Extension
        What `rowtune.learn.extend` returned.
    words : sequence of NewWord
        The rows of the table, in their order.
    shown_on_map, kept_on_map
        New words on the map, and the share of them that lie beside their nearest old word there.
    data : str
        From `rowtune.report.page_data.page_data`.
    library : str
        From `rowtune.report.plotting_library.packed_plotly`; empty where nothing is drawn.
    command, source_names
        As `rowtune.report.page.write_report` takes them.
    """
    template = _environment().get_template("page.html.j2")
    return template.render(
        extension=extension,
        frozen=extension.frozen,
        old_rows=plural(extension.frozen.rows, "old row"),
        headline=headline(extension),
        sentence=scores_sentence(extension),
        lost_by_noise=score_tables.lost_by_noise(extension),
        ours=OURS,
        our_score=extension.pretend_oov.get(OURS),
        coverage=_coverage(extension),
        words=words,
        near=NEAR,
        reasons=_reasons(words),
        bands=bands(extension),
        confident=any(word.confidence is not None for word in words),
        shown_on_map=shown_on_map,
        kept_on_map=kept_on_map,
        methods=ranked_methods(extension),
        best=best_methods(extension),
        tables=score_tables,
        command=command,
        facts={
            "Hashes (SHA-256)": hashes(extension),
            "Versions": {**source_names, **versions(), "written": written_now()},
            "Settings": extension.settings,
        },
        seconds_in_all=sum(extension.seconds.values()),
        style=Markup("\n".join(_part(name) for name in STYLES)),
        script=Markup("\n".join(_part(name) for name in SCRIPTS)),
        data=Markup(data),
        library=library,
    )


def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_part),
    )
    environment.filters.update(
        readable=lambda value: readable(str(value)),
        method=method_name,
        rank=rank_text,
        why=why,
        level=level,
        decimals=_decimals,
        thousands="{:,}".format,
        percent=_percent,
    )
    return environment


def _part(name: str) -> str:
    return (files("rowtune.report") / "web" / name).read_text("utf-8")


def _decimals(value: float, places: int = 2) -> str:
    """A number with a real minus sign."""
    return f"{value:.{places}f}".replace("-", "\u2212")


def _percent(share: float) -> str:
    return "\u2013" if math.isnan(share) else f"{100 * share:.1f}%"


def _coverage(extension: Extension) -> list[dict[str, Any]]:
    cover = extension.coverage
    return [
        {
            "name": name,
            "of": what,
            "all": whole,
            "before": before,
            "after": after,
            "share_before": before / max(whole, 1),
            "share_after": after / max(whole, 1),
        }
        for name, what, whole, before, after in (
            ("Occurrences", "tokens", cover.tokens, cover.tokens_before, cover.tokens_after),
            ("Distinct words", "types", cover.types, cover.types_before, cover.types_after),
        )
    ]


def _reasons(words: Sequence[NewWord]) -> list[tuple[str, str, int]]:
    """Return (reason, as it is shown, number of words), the commonest first."""
    counts = Counter(word.lacking for word in words)
    return [(reason, WHY.get(reason, reason), n) for reason, n in counts.most_common()]
