"""Which saves are kept: the newest, and all that they are made from."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rowtune.checkpoints import layout, manifest
from rowtune.checkpoints.layout import Saved
from rowtune.errors import CheckpointError


def retire(home: Path, keep: int) -> None:
    """Remove all saves but the newest ``keep``, and those that they need.

    A save whose manifest cannot be read is not counted, and is left where it is: somebody may want
    to look at it. What cannot be removed now is tried again at the next save.
    """
    there = layout.saves(home)
    parents: dict[str, str | None] = {}
    for saved in there:
        with contextlib.suppress(CheckpointError):
            parent = manifest.read(saved)[0]["parent"]
            parents[saved.name] = None if parent is None else parent["name"]
    kept = {saved.name for saved in there if saved.name not in parents}
    for saved in [saved for saved in there if saved.name in parents][-keep:]:
        name: str | None = saved.name
        while name is not None:
            kept.add(name)
            name = parents.get(name)
    # The newest first: what is needed goes after those that need it.
    for saved in _not_in(kept, there):
        with contextlib.suppress(OSError):
            layout.remove(saved)


def _not_in(kept: set[str], there: list[Saved]) -> list[Saved]:
    return [saved for saved in reversed(there) if saved.name not in kept]
