"""Where results go: JSON to a file or to stdout, and words for people beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from rowtune.atomic import replacing


def write_json(result: dict[str, Any], target: str) -> None:
    """Write JSON to the file ``target``, or to stdout where it is ``-``."""
    text = json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1)
    if target == "-":
        typer.echo(text)
        return
    with replacing(target) as file:
        file.write(text.encode() + b"\n")


def console_beside(json_target: str | None) -> Console:
    """Where to talk: stderr while stdout carries JSON, else stdout."""
    return Console(stderr=json_target == "-")


def check_folder_of(*targets: str | Path | None) -> None:
    """Fail before long work, not after it, where a file could not be written.

    Raises
    ------
    OSError
        The folder of a target is not there or not writable, or the target is a folder itself.
    """
    for target in targets:
        if target is None or str(target) == "-":
            continue
        check_folder(Path(target).absolute().parent)
        if Path(target).is_dir():
            raise IsADirectoryError(21, "this is a folder; name a file", str(target))


def check_folder(folder: Path) -> None:
    """The same for a folder that files go into; it must be there."""
    if not folder.exists():
        raise FileNotFoundError(2, "no such folder (make it first)", str(folder))
    if not folder.is_dir():
        raise NotADirectoryError(20, "not a folder", str(folder))
    if not os.access(folder, os.W_OK):
        raise PermissionError(13, "this folder cannot be written to", str(folder))
