"""`rowtune adapt`: rows for new words by a classifier of labelled texts, beside other ways."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import progress_bars
from rowtune.cli.proven import check_out, write_proven
from rowtune.errors import FormatError


def adapt(
    vectors: Annotated[str, typer.Argument(help="Word vectors: a file, or glove-6b-50d.")],
    labelled: Annotated[
        Path, typer.Argument(help="Texts with labels: .csv, .tsv, .jsonl or .parquet.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Write the table with the new rows here; the name says the format."
        ),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Test on these; else on 15 % of each split.")
    ] = None,
    text_column: Annotated[str, typer.Option(help="The column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="The column of the labels.")] = "label",
    min_count: Annotated[
        int, typer.Option(min=1, help="Words that training texts have so often get a row.")
    ] = 2,
    seeds: Annotated[
        int, typer.Option(min=1, help="Splits to compare on, each with its own first weights.")
    ] = 5,
    json: Annotated[
        str | None, typer.Option("--json", help="Write the result here as JSON; - for stdout.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The first of the seeds.")] = 0,
) -> None:
    """Learn rows for new words with a classifier of your texts; every known row keeps its bits.

    The same classifier is trained with the new words left out, with random rows that stay, and with
    all rows training, and beside it tf-idf with logistic regression: the table says which wins on
    texts that none has seen, and whether the difference says anything. OUT gets the rows of one
    more fit on all texts.

    [bold]Examples[/bold]

        rowtune adapt glove-6b-50d reviews.csv -o adapted.txt

        rowtune adapt vectors.vec train.jsonl --test test.jsonl -o more.vec --json more.json

        rowtune adapt glove-6b-50d posts.parquet --text-column body --label-column stars
    """
    from rowtune.adapt import adapt as learn  # noqa: PLC0415 - `--help` stays fast
    from rowtune.adapt import read_labelled  # noqa: PLC0415
    from rowtune.report.adaptation import adaptation_as_json, print_adaptation  # noqa: PLC0415
    from rowtune.vectors import check_format_for, load  # noqa: PLC0415

    check_folder_of(out, json)
    check_out(out, [json], [vectors, labelled, test])
    if test is not None and labelled.exists() and test.exists() and test.samefile(labelled):
        raise FormatError(
            f"{test} is the file that is trained on; without --test, a part of it is held back"
        )
    with progress_bars() as progress:
        texts = read_labelled(labelled, text_column, label_column)
        tests = None if test is None else read_labelled(test, text_column, label_column)
        # Old rows go from the file itself into OUT, so then the cache is not trusted.
        table = load(vectors, cache=out is None, progress=progress)
        if out is not None:
            check_format_for(table, out)
        result = learn(
            table, texts, tests, min_count=min_count, seeds=seeds, seed=seed,
            final=out is not None, progress=progress,
        )  # fmt: skip
        if out is not None and result.frozen.identical:
            proof = write_proven(vectors, table, result.words, result.rows, out, progress)
            result = dataclasses.replace(result, frozen=proof)
    if json is not None:
        write_json(adaptation_as_json(result), json)
    console = console_beside(json)
    print_adaptation(result, console)
    if not result.frozen.identical:  # never seen; a bug must not look like success
        if out is not None:
            console.print(f"[red]not written[/]: {escape(str(out))} is as it was", soft_wrap=True)
        raise typer.Exit(1)
    if out is not None:
        console.print(f"written: {out}", highlight=False, markup=False, soft_wrap=True)
