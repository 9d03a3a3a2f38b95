"""The manifest of a save: what it holds, the checksums of its files, and its own.

It is JSON in one form only: what is read must be, byte for byte, what would be written of it. So a
flipped bit is found wherever it is, in spaces and quotes too.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from rowtune.checkpoints.layout import Saved
from rowtune.checkpoints.team import Damaged
from rowtune.errors import CheckpointError

NAME = "manifest.json"
FORMAT = "rowtune.checkpoint.1"
Manifest = dict[str, Any]


def write(folder: Path, manifest: Manifest) -> str:
    """Write a manifest to the disk; the SHA-256 by which a later save names it."""
    data = _text(manifest)
    with (folder / NAME).open("wb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) or 0 :]
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def read(saved: Saved) -> tuple[Manifest, str]:
    """The manifest of a save, and its SHA-256.

    Raises
    ------
    CheckpointError
        Missing, damaged, or of another format.
    """
    path = saved.path / NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else error.strerror
        raise Damaged(f"{path} {what}") from error
    try:
        content = json.loads(data)
        manifest: Manifest = content["manifest"]
        whole = _text(manifest) == data
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise Damaged(f"{path} is damaged: it does not have the SHA-256 that it says")
    if manifest["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has the format {manifest['format']!r}; this Rowtune reads {FORMAT!r}"
        )
    if (manifest["number"], manifest["step"]) != (saved.number, saved.step):
        raise Damaged(f"{path} is that of step {manifest['step']}; the folder has been renamed")
    return manifest, hashlib.sha256(data).hexdigest()


def _text(manifest: Manifest) -> bytes:
    body = json.dumps(manifest, indent=1, sort_keys=True)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps({"manifest": manifest, "sha256": digest}, indent=1, sort_keys=True).encode()


def check_extra(extra: Any, where: str = "extra") -> None:
    """Refuse what JSON would not give back as it was.

    Raises
    ------
    CheckpointError
        Names the place.
    """
    if isinstance(extra, dict):
        for key, value in extra.items():
            if not isinstance(key, str):
                raise CheckpointError(f"{where} has the key {key!r}; expected text, as JSON has")
            check_extra(value, f"{where}[{key!r}]")
    elif isinstance(extra, list | tuple):
        for place, value in enumerate(extra):
            check_extra(value, f"{where}[{place}]")
    elif not (extra is None or isinstance(extra, str | bool | int | float)):
        raise CheckpointError(
            f"{where} is a {type(extra).__name__}; expected what JSON has: numbers, text, true, "
            "false, None, lists, and dicts by text. Tensors go where the tables are"
        )
