"""`rowtune extend`: the main job, from a table and a corpus to a table with new rows."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import Report, progress_bars

if TYPE_CHECKING:
    from rowtune.learn.result import Extension


def extend(
    vectors: Annotated[str, typer.Argument(help="Word vectors: a file, or glove-6b-50d.")],
    corpus: Annotated[
        list[str],
        typer.Argument(help="Files, folders, globs, - for stdin, or python-docs."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="Write here, in the format of the name (.txt, .vec, .bin, ...)."
        ),
    ],
    min_count: Annotated[
        int, typer.Option(min=1, help="Learn words that occur at least this often.")
    ] = 5,
    words: Annotated[
        Path | None, typer.Option(help="Learn these words only: a file, one a line.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML report to this folder.")
    ] = None,
    json: Annotated[
        str | None, typer.Option("--json", help="Write the result here as JSON; - for stdout.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is drawn at random.")] = 0,
) -> None:
    """Learn rows for the words of a corpus that the vectors lack; every old row keeps its bits.

    Known words are hidden and learned again to measure how good the new rows are; the report shows
    it beside simpler methods. OUT holds the old rows first, byte for byte.

    [bold]Examples[/bold]

        rowtune extend glove-6b-50d python-docs -o out.txt --report report

        rowtune extend vectors.vec notes/ 'papers/*.txt' -o more.vec --min-count 10

        zcat posts.gz | rowtune extend vectors.bin - -o more.bin
    """
    from rowtune import learn  # noqa: PLC0415 - `--help` stays fast
    from rowtune.report.console import print_extension  # noqa: PLC0415
    from rowtune.report.summary import summary  # noqa: PLC0415
    from rowtune.vectors import kind_of, load  # noqa: PLC0415

    check_folder_of(out, report, json)
    kind_of(out)  # an unknown ending is refused now, not after the work
    wanted = None if words is None else _words_in(words)
    with progress_bars() as progress:
        table = load(vectors, progress=progress)
        result = learn.extend(
            table, corpus, min_count=min_count, words=wanted, seed=seed, progress=progress
        )
        result = _written(result, vectors, out, progress)
        if report is not None:
            from rowtune.report.page import write_report  # noqa: PLC0415

            page = write_report(result, table, report, command=_command(), progress=progress)
    if json is not None:
        write_json(summary(result), json)
    console = console_beside(json)
    print_extension(result, console)
    console.print(f"written: {out}", highlight=False)
    if report is not None:
        console.print(f"report:  {page}", highlight=False)
    if not result.frozen.identical:  # never seen; a bug must not look like success
        raise typer.Exit(1)


def _written(result: Extension, source: str, out: Path, progress: Report) -> Extension:
    """Write OUT, read it back, and let the freeze proof be about the file that people will use."""
    from rowtune.learn.result import FreezeProof  # noqa: PLC0415
    from rowtune.vectors import extend_file, load, verify  # noqa: PLC0415

    table = load(source)
    new_words = [word.word for word in result.new_words]
    extend_file(source, table, new_words, result.rows, out, progress=progress)
    progress("verifying", 0, 1)
    found = verify(table, out)
    progress("verifying", 1, 1)
    proof = FreezeProof(found.rows, found.sha256_before, found.sha256_after)
    return dataclasses.replace(result, frozen=proof)


def _words_in(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    return [word for line in lines if (word := line.strip())]


def _command() -> str:
    return shlex.join(["rowtune", *sys.argv[1:]])
