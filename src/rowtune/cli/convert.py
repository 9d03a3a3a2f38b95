"""`rowtune convert`: a table from any format into any."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from rowtune.cli.inputs import refuse_to_overwrite, words_in
from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import progress_bars
from rowtune.report.readable import plural, readable


def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Word vectors: a file, or glove-6b-50d.")
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Write here: .txt, .vec, .bin (then .gz, ...), .npy, .safetensors, .tsv.",
        ),
    ],
    dtype: Annotated[
        str | None, typer.Option(help="Round the values to float16, float32 or float64.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The first rows only, this many.")
    ] = None,
    words: Annotated[
        Path | None, typer.Option(help="The rows of these words only: a file, one a line.")
    ] = None,
    json: Annotated[
        str | None, typer.Option("--json", help="Write the facts here as JSON; - for stdout.")
    ] = None,
) -> None:
    """Write a table in the format that the name of OUT asks for.

    Rows keep their order and every bit, unless --dtype rounds them. OUT appears whole or not at
    all, and is never one of the files that are read.

    [bold]Examples[/bold]

        rowtune convert glove-6b-50d glove.vec

        rowtune convert vectors.vec vectors.safetensors --dtype float16

        rowtune convert vectors.bin small.txt.gz --limit 20000

        rowtune convert vectors.vec mine.npy --words words.txt
    """
    from rowtune.vectors import kind_of  # noqa: PLC0415 - `--help` stays fast
    from rowtune.vectors.conversion import convert as write  # noqa: PLC0415

    check_folder_of(out, json)
    kind_of(out)  # an unknown ending is refused before anything is read
    refuse_to_overwrite([out, out.with_suffix(".words.txt"), json], [words])
    refuse_to_overwrite([json], [source])
    wanted = None if words is None else words_in(words)
    with progress_bars() as progress:
        done = write(source, out, dtype=dtype, limit=limit, words=wanted, progress=progress)
    size = out.stat().st_size if out.is_file() else 0
    if json is not None:
        facts = {"file": str(out), "bytes": size, "rows": done.rows, "dim": done.dim,
                 "dtype": done.dtype, "missing": [readable(w) for w in done.missing]}  # fmt: skip
        write_json(facts, json)
    console = console_beside(json)
    if done.missing:
        some = ", ".join(readable(word) for word in done.missing[:10])
        text = f"{plural(len(done.missing), 'word')} not in the table: {some}"
        console.print(Text(text + (", ..." if len(done.missing) > 10 else ""), style="yellow"))
    console.print(
        f"written: {out}: {plural(done.rows, 'row')} x {done.dim} {done.dtype}, {size:,} bytes",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
