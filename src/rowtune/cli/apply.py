"""`rowtune apply`: the rows of patches, put into the table that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rowtune.cli.inputs import refuse_to_overwrite
from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import progress_bars
from rowtune.report.readable import plural


def apply(
    before: Annotated[str, typer.Argument(help="The table that the patches belong to.")],
    patches: Annotated[list[Path], typer.Argument(metavar="ROWS...", help="Patches of rows.")],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="Write here, in the format of the name (.txt, .vec, .bin, ...)."
        ),
    ],
    force: Annotated[bool, typer.Option(help="Take rows that belong to another table.")] = False,
    json: Annotated[
        str | None, typer.Option("--json", help="Write the facts here as JSON; - for stdout.")
    ] = None,
) -> None:
    """Write BEFORE with the rows of patches in their places; every other row keeps its bits.

    A patch knows the table that it was made for, and is refused by any other. Several patches are
    applied together if no row is in two of them.

    [bold]Examples[/bold]

        rowtune apply glove-6b-50d rows.safetensors -o out.txt

        rowtune apply before.vec rows.safetensors more.safetensors -o after.vec
    """
    from rowtune.vectors import kind_of  # noqa: PLC0415 - `--help` stays fast
    from rowtune.vectors.row_patches import apply_rows  # noqa: PLC0415

    check_folder_of(out, json)
    kind_of(out)  # an unknown ending is refused before anything is read
    refuse_to_overwrite([out, json], patches)
    refuse_to_overwrite([json], [before])
    with progress_bars() as progress:
        done = apply_rows(before, patches, out, force, progress)
    if json is not None:
        facts = {"file": str(out), "rows": done.rows, "changed": done.changed, "added": done.added}
        write_json(facts, json)
    console_beside(json).print(
        f"written: {out}: {plural(done.changed, 'row')} changed, {done.added:,} added, "
        f"{done.rows - done.changed - done.added:,} as they were",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
