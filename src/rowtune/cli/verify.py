"""`rowtune verify`: is every row of one table in another, bit for bit?"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.report.readable import readable

_SHOWN = 20


def verify(
    before: Annotated[str, typer.Argument(help="The table that was: a file, or a known name.")],
    after: Annotated[str, typer.Argument(help="The table that must still hold its rows.")],
    json: Annotated[
        str | None, typer.Option("--json", help="Write the result here as JSON; - for stdout.")
    ] = None,
) -> None:
    """Check that every word of BEFORE has the same bits in AFTER.

    Exit code 0 if so; 1 with the words that differ or are missing; 2 where a file cannot be read.

    [bold]Example[/bold]

        rowtune verify glove-6b-50d out.txt
    """
    from rowtune.vectors import verify as compare  # noqa: PLC0415 - `--help` stays fast

    check_folder_of(json)
    result = compare(before, after)
    if json is not None:
        write_json(
            {
                "ok": result.ok,
                "rows": result.rows,
                "differing": [readable(word.word) for word in result.differing],
                "missing": [readable(word) for word in result.missing],
                "sha256_before": result.sha256_before,
                "sha256_after": result.sha256_after,
            },
            json,
        )
    console = console_beside(json)
    if result.ok:
        console.print(
            f"[green]identical[/]: {result.rows:,} rows, SHA-256 {result.sha256_after}",
            soft_wrap=True,
        )
        return
    table = Table("word", "row before", "row after", "largest difference")
    for word in result.differing[:_SHOWN]:
        table.add_row(
            Text(readable(word.word)),
            str(word.row_before),
            str(word.row_after),
            f"{word.max_abs:.3g}",
        )
    for missing in result.missing[:_SHOWN]:
        table.add_row(Text(readable(missing)), "", "missing", "")
    console.print(table)
    console.print(
        f"[red]not identical[/]: of {result.rows:,} rows {len(result.differing):,} differ "
        f"and {len(result.missing):,} are missing"
    )
    raise typer.Exit(1)
