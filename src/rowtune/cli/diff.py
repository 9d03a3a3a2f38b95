"""`rowtune diff`: what differs between two states of a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.text import Text

from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import progress_bars
from rowtune.cli.tables import plain_table
from rowtune.report.readable import plural, readable

if TYPE_CHECKING:
    from rowtune.vectors.changes import Changes


def diff(
    before: Annotated[str, typer.Argument(help="The table that was: a file, or a known name.")],
    after: Annotated[str, typer.Argument(help="The table that is.")],
    top: Annotated[int, typer.Option(min=0, help="Words to show of each kind.")] = 10,
    json: Annotated[
        str | None, typer.Option("--json", help="Write all differences here; - for stdout.")
    ] = None,
) -> None:
    """Show which words were added, removed and moved, and how far.

    Rows are compared bit for bit; how far one moved is its cosine to what it was, and the largest
    difference of a value. Exit code 0 if the tables are the same, 1 if they differ in any way (new
    words and another order included), 2 where a file cannot be read: as diff has it. To ask only
    whether the old rows are still there, use [bold]rowtune verify[/bold].

    [bold]Examples[/bold]

        rowtune diff glove-6b-50d out.txt

        rowtune diff before.vec after.vec --top 50 --json moved.json
    """
    from rowtune.vectors.changes import changes  # noqa: PLC0415 - `--help` stays fast

    check_folder_of(json)
    with progress_bars() as progress:
        found = changes(before, after, progress)
    if json is not None:
        write_json(_as_json(found), json)
    _print(found, top, console_beside(json))
    if not found.same:
        raise typer.Exit(1)


def _as_json(found: Changes) -> dict[str, Any]:
    return {
        "same": found.same,
        "rows_before": len(found.before),
        "rows_after": len(found.after),
        "common": found.common,
        "added": [readable(found.after.words[i]) for i in found.added.tolist()],
        "removed": [readable(found.before.words[i]) for i in found.removed.tolist()],
        "moved": [
            {
                "word": readable(found.before.words[int(found.moved[i])]),
                "row_before": int(found.moved[i]),
                "row_after": int(found.moved_to[i]),
                "cosine": _number(found.cosine[i]),
                "largest": _number(found.largest[i]),
            }
            for i in found.top_movers().tolist()
        ],
        "reordered": found.reordered,
        "dtypes": [str(found.before.matrix.dtype), str(found.after.matrix.dtype)],
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _print(found: Changes, top: int, console: Console) -> None:
    if found.same:
        console.print(f"[green]the same[/]: {plural(found.common, 'row')}", highlight=False)
        return
    before, after = found.before, found.after
    for what, table, rows in (("added", after, found.added), ("removed", before, found.removed)):
        if len(rows):
            words = ", ".join(readable(table.words[i]) for i in rows[:top].tolist())
            more = ", ..." if len(rows) > top else ""
            console.print(Text(f"{what}: {plural(len(rows), 'row')}: {words}{more}"))
    unmoved = found.common - len(found.moved)
    if len(found.moved):
        usual = np.nanmedian(found.cosine) if not np.isnan(found.cosine).all() else math.nan
        console.print(
            f"moved: {plural(len(found.moved), 'row')} of {found.common:,}, median cosine to what "
            f"they were {usual:.4f}",
            highlight=False,
        )
        numbers = ("row before", "row after", "cosine", "largest difference")
        movers = plain_table("word", *numbers, right=numbers)
        for i in found.top_movers()[:top].tolist():
            row = int(found.moved[i])
            movers.add_row(
                Text(readable(before.words[row])), str(row), str(int(found.moved_to[i])),
                f"{found.cosine[i]:.4f}", f"{found.largest[i]:.3g}",
            )  # fmt: skip
        console.print(movers)
    if found.reordered:
        console.print("the order of the rows is another")
    if not found.same_dtype:
        console.print(f"values are {after.matrix.dtype} and were {before.matrix.dtype}")
    console.print(f"unchanged: {plural(unmoved, 'row')}", highlight=False)
