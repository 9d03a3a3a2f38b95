"""What a saver was told, what it knows of its last save, and what it says of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rowtune.checkpoints import changes
from rowtune.checkpoints.chain import entries_of
from rowtune.checkpoints.team import Team


@dataclass(frozen=True)
class Written:
    """One save: ``kind`` is "full" or "incremental", ``rows`` and ``size`` (bytes) of all ranks."""

    step: int
    kind: str
    rows: int
    size: int
    path: Path


@dataclass
class Known:
    """What a saver knows of its last save."""

    snapshots: dict[str, changes.Snapshot] = field(default_factory=dict)
    parent: dict[str, Any] | None = None  # what an incremental save is made from
    last: int = 0  # its number; 0 where that is not known


@dataclass(frozen=True)
class Plans:
    """What a saver was told of its saves."""

    home: Path
    keep: int
    full_every: int
    team: Team


def written(content: dict[str, Any], path: Path) -> Written:
    """From a manifest."""
    size = sum(entry["bytes"] for entry in entries_of(content))
    kind = "full" if content["parent"] is None else "incremental"
    rows = sum(e["rows"] for table in content["tables"].values() for e in table["files"])
    return Written(content["step"], kind, rows, size, path)
