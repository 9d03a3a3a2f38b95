"""`rowtune patch`: the rows in which one table differs from another, as a small file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from rowtune.cli.inputs import refuse_to_overwrite
from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import progress_bars
from rowtune.errors import FormatError
from rowtune.report.readable import plural, readable


def patch(
    before: Annotated[str, typer.Argument(help="The table that everybody has.")],
    after: Annotated[str, typer.Argument(help="The table with new or changed rows.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Write the rows here (.safetensors).")],
    json: Annotated[
        str | None, typer.Option("--json", help="Write the facts here as JSON; - for stdout.")
    ] = None,
) -> None:
    """Write the rows that AFTER has and BEFORE has not, or has otherwise, as a patch.

    It is as small as what changed, and knows which table it belongs to: [bold]rowtune
    apply[/bold] makes AFTER of BEFORE and the patch. Rows that AFTER lacks stay.

    [bold]Examples[/bold]

        rowtune patch glove-6b-50d out.txt -o rows.safetensors

        rowtune patch before.vec after.vec -o rows.safetensors --json -
    """
    from rowtune.patch_file import write_patch  # noqa: PLC0415 - `--help` stays fast
    from rowtune.vectors.row_patches import patch_between  # noqa: PLC0415

    check_folder_of(out, json)
    refuse_to_overwrite([out, json], [before, after])
    if out.suffix != ".safetensors":
        raise FormatError(f"{out}: a patch is a .safetensors file; give it a name that ends so")
    with progress_bars() as progress:
        made, found = patch_between(before, after, progress)
        write_patch(made, out)
    size = out.stat().st_size if out.is_file() else 0
    facts = {
        "file": str(out),
        "bytes": size,
        "rows": len(made.ids),
        "changed": len(found.moved),
        "added": len(found.added),
        "not_in_after": [readable(found.before.words[i]) for i in found.removed.tolist()],
        "base": made.fingerprint,
    }
    if json is not None:
        write_json(facts, json)
    console = console_beside(json)
    notes = []
    if len(found.removed):
        notes.append(f"AFTER lacks {plural(len(found.removed), 'row')} of BEFORE")
    if found.reordered:
        notes.append("AFTER has the rows in another order")
    for note in notes:
        console.print(Text(f"Note: {note}; a patch leaves them as BEFORE has them.", "yellow"))
    console.print(
        f"written: {out}: {plural(len(found.moved), 'changed row')}, "
        f"{plural(len(found.added), 'new row')}, {size:,} bytes",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
