"""What a file of rows holds, for the eye and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from rowtune.cli.output import console_beside, write_json
from rowtune.cli.tables import plain_table
from rowtune.report.readable import plural, readable

_SHOWN = 20


def is_patch(path: str) -> bool:
    """Whether a file says that it is one of our patches; a damaged one may."""
    from rowtune.tables.tensorfile import map_tensors  # noqa: PLC0415 - `--help` stays fast

    if not path.endswith(".safetensors") or not Path(path).is_file():
        return False
    return map_tensors(path, path)[1].get("format", "").startswith("rowtune.patch")


def show_patch(path: Path, json: str | None) -> None:
    """Print which rows of which tables a patch holds, and write them all as JSON if asked to."""
    from rowtune.patch_file import read_patches  # noqa: PLC0415

    tables: dict[str, Any] = {}
    for name, part in read_patches(path).items():
        tables[name or "table"] = {
            "rows": len(part.ids),
            "added": part.shape[0] - part.base_rows,
            "shape": list(part.shape),
            "dtype": part.dtype_name,
            "base": part.fingerprint,
            "rule": part.rule,
            "ids": part.ids.tolist(),
            "tokens": None if part.tokens is None else [readable(token) for token in part.tokens],
        }
    size = path.stat().st_size
    if json is not None:
        write_json({"file": str(path), "format": "patch", "bytes": size, "tables": tables}, json)
    console = console_beside(json)
    console.print(Text(f"{path}: a patch, {size:,} bytes", style="bold"), soft_wrap=True)
    for name, table in tables.items():
        n, width = table["shape"]
        console.print(
            f"{name}: {plural(table['rows'], 'row')} of {n:,} x {width} {table['dtype']}, "
            f"{table['added']:,} of them new; fingerprint of its base {table['base'][:12]}...",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
        rows = plain_table("id", "token", right=("id",))
        named = table["tokens"] or [""] * len(table["ids"])
        for i, token in list(zip(table["ids"], named, strict=True))[:_SHOWN]:
            rows.add_row(str(i), Text(token))
        console.print(rows)
        if table["rows"] > _SHOWN:
            console.print(f"... and {table['rows'] - _SHOWN:,} more; --json has all")
