"""`rowtune coverage`: what a text has that the vectors lack, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import progress_bars
from rowtune.cli.tables import plain_table
from rowtune.report.readable import readable

if TYPE_CHECKING:
    from rowtune.learn.lacking import Gaps, Lacking

_WHY = {
    "case": "other case is known",
    "number": "other number or digits known",
    "punctuation": "other marks are known",
    "compound": "all its parts are known",
    "typo": "rare, one edit from a frequent word",
    "new": "truly new",
}


def coverage(
    vectors: Annotated[str, typer.Argument(help="Word vectors: a file, or glove-6b-50d.")],
    corpus: Annotated[
        list[str],
        typer.Argument(help="Files, folders, globs, - for stdin, or python-docs."),
    ],
    min_count: Annotated[
        int, typer.Option(min=1, help="Words seen so often are no typos, and joined ones whole.")
    ] = 5,
    top: Annotated[int, typer.Option(min=0, help="Words to show of each kind.")] = 8,
    json: Annotated[
        str | None, typer.Option("--json", help="Write all lacking words here; - for stdout.")
    ] = None,
) -> None:
    """Show what a text has that the vectors lack, by distinct word and by occurrence, and why.

    For most lacking words the table has a form that differs in case, number or marks alone, or the
    parts of a compound, or what a typo was meant to be. The rest are truly new: what
    [bold]rowtune extend[/bold] is for.

    [bold]Examples[/bold]

        rowtune coverage glove-6b-50d python-docs

        rowtune coverage vectors.vec notes/ 'papers/*.txt' --top 20

        zcat posts.gz | rowtune coverage vectors.bin - --json lacking.json
    """
    from rowtune.learn.corpus import Corpus  # noqa: PLC0415 - `--help` stays fast
    from rowtune.learn.lacking import lacking  # noqa: PLC0415
    from rowtune.vectors import load  # noqa: PLC0415

    check_folder_of(json)
    with progress_bars() as progress:
        text = Corpus(corpus)
        table = load(vectors, progress=progress)
        gaps = lacking(table, text.documents(progress), min_count, progress)
    if json is not None:
        write_json(_as_json(gaps), json)
    console = console_beside(json)
    _print(gaps, top, console)
    for note in text.notes:
        console.print(Text(f"Note: {readable(note)}", style="yellow"))


def _as_json(gaps: Gaps) -> dict[str, Any]:
    from rowtune.learn.lacking import KINDS  # noqa: PLC0415

    return {
        "types": gaps.types,
        "types_known": gaps.known_types,
        "tokens": gaps.tokens,
        "tokens_known": gaps.known_tokens,
        "numbers_and_marks": gaps.other_tokens,
        "numbers_and_marks_known": gaps.known_other_tokens,
        "lower_case_text": gaps.lower,
        "lacking": {
            kind: {
                "types": len(own),
                "tokens": sum(each.count for each in own),
                "words": [
                    {"word": readable(each.word), "count": each.count,
                     "known": [readable(known) for known in each.known]}
                    for each in own
                ],
            }
            for kind in KINDS
            for own in [gaps.of(kind)]
        },
    }  # fmt: skip


def _print(gaps: Gaps, top: int, console: Console) -> None:
    from rowtune.learn.lacking import KINDS  # noqa: PLC0415

    share = gaps.known_tokens / gaps.tokens
    console.print(
        f"[bold]{share:.1%}[/] of {gaps.tokens:,} occurrences have a row, and "
        f"{gaps.known_types / gaps.types:.1%} of {gaps.types:,} distinct words",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if gaps.lower:
        cured = share + sum(each.count for each in gaps.of("case")) / gaps.tokens
        console.print(f"in lower case, as the table has its words: {cured:.1%}", highlight=False)
    if gaps.other_tokens:
        known = gaps.known_other_tokens / gaps.other_tokens
        console.print(
            f"numbers and marks: {known:.1%} of {gaps.other_tokens:,} have a row", highlight=False
        )
    if not gaps.lacking:
        return
    table = plain_table("lacking", "words", "occurrences", "share", "most frequent",
                        right=("words", "occurrences", "share"))  # fmt: skip
    for kind in KINDS:
        own = gaps.of(kind)
        if own:
            seen = sum(each.count for each in own)
            some = Text(overflow="fold")
            some.append(f"{_WHY[kind]}: ", style="dim")
            some.append(", ".join(map(_shown, own[:top])) + (", ..." if len(own) > top else ""))
            table.add_row(kind, f"{len(own):,}", f"{seen:,}", f"{seen / gaps.tokens:.2%}", some)
    console.print()
    console.print(table)


def _shown(each: Lacking) -> str:
    known = f" ({' + '.join(map(readable, each.known))})" if each.known else ""
    return f"{readable(each.word)}{known} {each.count:,}"
