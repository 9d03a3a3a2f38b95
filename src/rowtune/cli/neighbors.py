"""`rowtune neighbors`: what lies near a word, or near a sum of words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import progress_bars
from rowtune.cli.tables import plain_table
from rowtune.report.readable import readable

if TYPE_CHECKING:
    from rowtune.learn.around import Around, Unknown


def neighbors(
    vectors: Annotated[str, typer.Argument(help="Word vectors: a file, or glove-6b-50d.")],
    words: Annotated[
        list[str],
        typer.Argument(metavar="WORD...", help="Words, or a sum: king - man + woman."),
    ],
    k: Annotated[int, typer.Option("-k", "--count", min=1, help="How many to show.")] = 10,
    json: Annotated[
        str | None, typer.Option("--json", help="Write the result here as JSON; - for stdout.")
    ] = None,
) -> None:
    """Show the rows with the greatest cosine to a word, or to a sum of words.

    Exit code 0; 1 if a word has no row: then it says which forms of the word have one, and which
    words are spelled almost like it. The words of a sum are no neighbours of it.

    [bold]Examples[/bold]

        rowtune neighbors glove-6b-50d frog

        rowtune neighbors glove-6b-50d paris london -k 5

        rowtune neighbors glove-6b-50d king - man + woman

        rowtune neighbors out.txt 'paris - france + japan' frog --json near.json
    """
    from rowtune.learn.around import around, parse_query, unknown  # noqa: PLC0415
    from rowtune.vectors import load  # noqa: PLC0415

    check_folder_of(json)
    with progress_bars() as progress:
        table = load(vectors, progress=progress)
        queries = parse_query(words, table)
        asked = dict.fromkeys(word for terms in queries for word, _ in terms)
        lacking = [gone for word in asked if (gone := unknown(table, word))]
        absent = {each.word for each in lacking}
        whole = [terms for terms in queries if not absent & {word for word, _ in terms}]
        found = around(table, whole, k, progress)
    if json is not None:
        write_json(
            {
                "queries": [
                    {
                        "query": _title(each),
                        "neighbors": [
                            {"word": readable(word), "cosine": cosine}
                            for word, cosine in each.neighbours
                        ],
                    }
                    for each in found
                ],
                "unknown": [
                    {
                        "word": readable(each.word),
                        "lacking": each.lacking,
                        "known_form": each.known_form and readable(each.known_form),
                        "spelled_alike": [readable(word) for word in each.spelled_alike],
                    }
                    for each in lacking
                ],
            },
            json,
        )
    console = console_beside(json)
    for each in found:
        shown = plain_table(_title(each), "cosine", right=("cosine",))
        for word, cosine in each.neighbours:
            shown.add_row(Text(readable(word)), f"{cosine:.3f}")
        console.print(shown)
    _print_unknown(lacking, len(table), console)
    if lacking:
        raise typer.Exit(1)


def _title(each: Around) -> str:
    first, *rest = each.terms
    text = "".join(f" {'+' if sign > 0 else '-'} {word}" for word, sign in rest)
    return readable(first[0] + text)


def _print_unknown(lacking: list[Unknown], rows: int, console: Console) -> None:
    for each in lacking:
        text = f"{each.word!r} is not among the {rows:,} rows"
        if each.known_form:
            text += f"; the table has {each.known_form!r} ({each.lacking} differs)"
        if each.spelled_alike:
            text += f"; spelled almost alike: {', '.join(each.spelled_alike)}"
        if not each.known_form and not each.spelled_alike:
            text += ", nor is any form of it; `rowtune extend` learns a row from text that has it"
        console.print(Text(readable(text), style="yellow"), soft_wrap=True)
