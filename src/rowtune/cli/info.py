"""`rowtune info`: what a file of vectors is, or what a file of rows holds."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import progress_bars
from rowtune.cli.tables import list_table, plain_table
from rowtune.report.readable import plural, readable

if TYPE_CHECKING:
    from rowtune.vectors.facts import Facts

_SHOWN = 5


def info(
    vectors: Annotated[
        str, typer.Argument(help="Word vectors: a file, or glove-6b-50d; or a patch of rows.")
    ],
    json: Annotated[
        str | None, typer.Option("--json", help="Write the facts here as JSON; - for stdout.")
    ] = None,
) -> None:
    """Show what a file of vectors is: format, words, lengths of rows, what is odd, hashes.

    Rows without use (zeros, NaN), words with several rows and the way words are written are what
    spoils results later. The fingerprint is what patches call the table they belong to; of a patch
    it shows which rows it holds, and of which table.

    [bold]Examples[/bold]

        rowtune info glove-6b-50d

        rowtune info vectors.vec --json facts.json

        rowtune info rows.safetensors
    """
    from rowtune.cli.patch_info import is_patch, show_patch  # noqa: PLC0415 - `--help` stays fast
    from rowtune.learn.tokens import prefers_lower  # noqa: PLC0415
    from rowtune.vectors import load  # noqa: PLC0415
    from rowtune.vectors.facts import describe, format_of  # noqa: PLC0415

    check_folder_of(json)
    if is_patch(vectors):
        show_patch(Path(vectors), json)
        return
    with progress_bars() as progress:
        # Not from the cache: the hashes are those of the file.
        table = load(vectors, cache=False, progress=progress)
        facts, kind = describe(table, progress), format_of(vectors)
        lower = prefers_lower(table.words)
    if json is not None:
        write_json(_as_json(facts, vectors, kind, lower), json)
    _print(facts, vectors, kind, lower, console_beside(json))


def _as_json(facts: Facts, name: str, kind: str, lower: bool) -> dict[str, Any]:
    found = dataclasses.asdict(facts)
    found["repeated"] = [readable(word) for word in facts.repeated]
    for band in found["bands"]:
        for key in ("low", "median", "high"):
            band[key] = None if math.isnan(band[key]) else band[key]
    return {"file": name, "format": kind, **found, "lower_case_text": lower}


def _print(facts: Facts, name: str, kind: str, lower: bool, console: Console) -> None:
    title = f"{name}: {facts.rows:,} rows x {facts.dim} {facts.dtype}, {kind}"
    console.print(Text(readable(title), style="bold"), soft_wrap=True)
    about = list_table()
    for key, text in _lines(facts, lower):
        about.add_row(key, Text(text))
    console.print(about)
    bands = plain_table("rows", "5 % shorter", "median length", "5 % longer",
                        right=("5 % shorter", "median length", "5 % longer"))  # fmt: skip
    for band in facts.bands:
        lengths = (f"{value:.3f}" for value in (band.low, band.median, band.high))
        bands.add_row(f"{band.first:,} to {band.last:,}", *lengths)
    if facts.bands:
        console.print()
        console.print(bands)


def _lines(facts: Facts, lower: bool) -> list[tuple[str, str]]:
    repeated = ", ".join(readable(word) for word in facts.repeated[:_SHOWN])
    more = ", ..." if len(facts.repeated) > _SHOWN else ""
    case = facts.case
    total = max(1, case.words)
    lines = [
        ("words", f"{facts.words:,} distinct"),
        ("repeated", f"{plural(len(facts.repeated), 'word')}: {repeated}{more}"),
        ("zero rows", _rows(facts.zero_rows)),
        ("NaN, infinity", _rows(facts.not_finite_rows)),
        (
            "case",
            f"{case.lower / total:.1%} lower, {case.capitalized / total:.1%} Capitalized, "
            f"{case.upper / total:.1%} UPPER, {case.mixed / total:.1%} miXed: "
            f"text is {'lower-cased' if lower else 'taken as it is'} for this table",
        ),
        ("with digits", plural(facts.with_digit, "word")),
        ("with spaces", plural(facts.with_space, "word")),
        ("not UTF-8", plural(facts.not_text, "word")),
        ("markers", ", ".join(facts.markers)),
        ("rows' SHA-256", facts.sha256),
        ("fingerprint", facts.fingerprint),
    ]
    absent = {"repeated": not facts.repeated, "markers": not facts.markers,
              "with spaces": not facts.with_space, "not UTF-8": not facts.not_text}  # fmt: skip
    return [(key, "none" if absent.get(key) else text) for key, text in lines]


def _rows(rows: tuple[int, ...]) -> str:
    if not rows:
        return "none"
    shown = ", ".join(f"{row + 1:,}" for row in rows[:_SHOWN])
    return f"{len(rows):,} (row {shown}{', ...' if len(rows) > _SHOWN else ''}, counted from 1)"
