"""`rowtune extend`: the main job, from a table and a corpus to a table with new rows."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from rowtune.cli.inputs import refuse_to_overwrite, words_in
from rowtune.cli.output import check_folder, check_folder_of, console_beside, write_json
from rowtune.cli.progress import progress_bars
from rowtune.cli.proven import check_out, write_proven
from rowtune.cli.stopping import finish_on_interrupt
from rowtune.errors import FormatError


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
    phrases: Annotated[
        bool, typer.Option("--phrases", help="Learn phrases too, such as event_loop.")
    ] = False,
    glossary: Annotated[
        Path | None,
        typer.Option(help="Learn these words too: a file, 'word: definition' a line."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep finished stages in OUT.stages, and go on there.")
    ] = False,
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
    it beside simpler methods. OUT holds the old rows first, byte for byte. Ctrl-C ends the reading
    and finishes with what was read; a second one stops at once and writes nothing.

    [bold]Examples[/bold]

        rowtune extend glove-6b-50d python-docs -o out.txt --report report

        rowtune extend vectors.vec notes/ 'papers/*.txt' -o more.vec --min-count 10

        rowtune extend vectors.vec notes/ -o more.vec --phrases --glossary terms.txt

        zcat posts.gz | rowtune extend vectors.bin - -o more.bin
    """
    from rowtune import learn  # noqa: PLC0415 - `--help` stays fast
    from rowtune.learn.glossary import read_glossary  # noqa: PLC0415
    from rowtune.learn.stages import forget  # noqa: PLC0415
    from rowtune.report.console import print_extension  # noqa: PLC0415
    from rowtune.report.summary import summary  # noqa: PLC0415
    from rowtune.vectors import check_format_for, load  # noqa: PLC0415

    check_folder_of(out, json)
    if report is not None:
        check_folder(report if report.exists() else report.absolute().parent)
    check_out(out, [json, report], [words, glossary, *corpus])
    refuse_to_overwrite([json, report], [vectors])
    stages = out.with_name(f"{out.name}.stages") if resume else None
    if stages is not None:
        _check_stages(stages, corpus)
    wanted = None if words is None else words_in(words)
    defined = None if glossary is None else read_glossary(glossary)
    with progress_bars() as progress:
        # Not from the cache: old rows go from the file itself into OUT.
        table = load(vectors, cache=False, progress=progress)
        check_format_for(table, out)
        with finish_on_interrupt() as enough:
            result = learn.extend(
                table,
                corpus,
                min_count=min_count,
                words=wanted,
                phrases=phrases,
                glossary=defined,
                seed=seed,
                enough=enough,
                resume=stages,
                progress=progress,
            )
        names = [word.word for word in result.new_words]
        proof = write_proven(vectors, table, names, result.rows, out, progress)
        result = dataclasses.replace(result, frozen=proof)
        if report is not None:
            from rowtune.report.page import write_report  # noqa: PLC0415

            page = write_report(result, table, report, command=_command(), progress=progress)
    if json is not None:
        write_json(summary(result, command=_command()), json)
    console = console_beside(json)
    print_extension(result, console)
    if not result.frozen.identical:  # never seen; a bug must not look like success
        console.print(f"[red]not written[/]: {escape(str(out))} is as it was", soft_wrap=True)
        raise typer.Exit(1)
    if stages is not None:
        forget(stages)  # all is written
    done = f"written: {out}" if report is None else f"written: {out}\nreport:  {page}"
    console.print(done, highlight=False, markup=False, soft_wrap=True)


def _check_stages(stages: Path, corpus: list[str]) -> None:
    if stages.exists() and not stages.is_dir():
        raise FormatError(f"{stages} is no folder; move it, or write to another name than OUT")
    for source in corpus:
        if Path(source).is_dir() and stages.resolve().is_relative_to(Path(source).resolve()):
            raise FormatError(
                f"{stages} would lie in the corpus folder {source} and change it from run to run; "
                "with --resume, write OUT somewhere else"
            )


def _command() -> str:
    return shlex.join(["rowtune", *sys.argv[1:]])
