"""`rowtune extend`: the main job, from a table and a corpus to a table with new rows."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from rowtune.cli.inputs import refuse_to_overwrite, words_in
from rowtune.cli.output import check_folder, check_folder_of, console_beside, write_json
from rowtune.cli.progress import Report, progress_bars
from rowtune.errors import FormatError

if TYPE_CHECKING:
    from rowtune.learn.result import Extension
    from rowtune.vectors import Vectors


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
    from rowtune.vectors import check_format_for, kind_of, load  # noqa: PLC0415

    check_folder_of(out, json)
    if report is not None:
        check_folder(report if report.exists() else report.absolute().parent)
    refuse_to_overwrite([out, out.with_suffix(".words.txt"), json], [words, *corpus])
    if out.exists() and not out.is_file():
        raise FormatError(f"{out} is no regular file; name one to write the table to")
    kind_of(out)  # an unknown ending is refused now, not after the work
    wanted = None if words is None else words_in(words)
    with progress_bars() as progress:
        # Not from the cache: old rows go from the file itself into OUT.
        table = load(vectors, cache=False, progress=progress)
        check_format_for(table, out)
        result = learn.extend(
            table, corpus, min_count=min_count, words=wanted, seed=seed, progress=progress
        )
        result = _written(result, vectors, table, out, progress)
        if report is not None:
            from rowtune.report.page import write_report  # noqa: PLC0415

            page = write_report(result, table, report, command=_command(), progress=progress)
    if json is not None:
        write_json(summary(result), json)
    console = console_beside(json)
    print_extension(result, console)
    if not result.frozen.identical:  # never seen; a bug must not look like success
        console.print(f"[red]not written[/]: {escape(str(out))} is as it was", soft_wrap=True)
        raise typer.Exit(1)
    done = f"written: {out}" if report is None else f"written: {out}\nreport:  {page}"
    console.print(done, highlight=False, markup=False, soft_wrap=True)


def _written(
    result: Extension, source: str, table: Vectors, out: Path, progress: Report
) -> Extension:
    """Write OUT beside its place, read it back, and give it its name only if the proof holds."""
    from rowtune.learn.result import FreezeProof  # noqa: PLC0415
    from rowtune.vectors import extend_file, verify  # noqa: PLC0415

    target = Path(os.path.realpath(out))
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".rowtune.") as folder:
        new = Path(folder, target.name)
        words = [word.word for word in result.new_words]
        extend_file(source, table, words, result.rows, new, progress=progress)
        progress("verifying", 0, 1)
        found = verify(table, new)
        progress("verifying", 1, 1)
        if found.ok:
            for file in sorted(Path(folder).iterdir(), key=lambda file: file == new):
                file.replace(target.parent / file.name)
    lost = not found.ok and found.sha256_before == found.sha256_after
    after = "some rows are missing" if lost else found.sha256_after
    proof = FreezeProof(found.rows, found.sha256_before, after)
    return dataclasses.replace(result, frozen=proof)


def _command() -> str:
    return shlex.join(["rowtune", *sys.argv[1:]])
