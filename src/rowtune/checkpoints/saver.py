"""The face: a saver makes the saves of one training in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rowtune.checkpoints import changes, layout, loading
from rowtune.checkpoints.known import Known, Plans, Written
from rowtune.checkpoints.part import Arrays, parts_of
from rowtune.checkpoints.plan import Loaded, Progress
from rowtune.checkpoints.save import Save
from rowtune.checkpoints.team import Alone, Team
from rowtune.errors import CheckpointError


class Saver:
    """Makes the saves of one training in a folder of its own.

    The first is full; those after it hold the rows that have changed since the last, whoever has
    written them. A save is there when its folder has got its name, and not before: whatever ends a
    process, on any rank and at any moment, the last good save is there until the next one is.

    Rows must not be written by other threads while a save is made.

    Parameters
    ----------
    folder : path
        Made if it is missing. All processes must see the same one.
    keep : int
        The newest saves that stay, with all that they are made from.
    full_every : int
        How many saves a chain has at most: a full one and ``full_every - 1`` incremental ones. A
        save of more than half of the bytes is full, too.
    team : Team, optional
        The processes that save together; by default this one alone.

    Raises
    ------
    CheckpointError
        ``keep`` or ``full_every`` below 1.
    """

    def __init__(
        self,
        folder: layout.Folder,
        keep: int = 2,
        full_every: int = 10,
        team: Team | None = None,
    ) -> None:
        if keep < 1 or full_every < 1:
            raise CheckpointError(
                f"keep={keep} and full_every={full_every}; expected at least 1 of each"
            )
        self.folder, self.team = Path(folder), Alone() if team is None else team
        self._plans = Plans(self.folder, int(keep), int(full_every), self.team)
        self._known = Known()

    def save(
        self,
        tables: Mapping[str, Any],
        *,
        step: int,
        extra: Any = None,
        whole: Arrays | None = None,
        progress: Progress | None = None,
    ) -> Written:
        """Save tables by name; returns when every byte is on the disk.

        Parameters
        ----------
        tables : dict of name to `rowtune.Table` or `Part`
        step : int
            By which it is loaded.
        extra : what JSON can hold, optional
            Epoch, schedule, ...: rank 0's.
        whole : dict of name to array, optional
            What belongs to no row: rank 0's, written in full each time.
        progress : callable (stage, done, total), optional
            Stages ``"hash"`` (rows) and ``"write"`` (bytes), of this process.

        Raises
        ------
        CheckpointError
            No room, no such folder, another saver in it, a rank that failed, ... In all processes;
            the saves that were there are as they were.
        """
        return Save(self._plans, self._known, tables, step, extra, whole or {}, progress).run()

    def load(
        self,
        tables: Mapping[str, Any],
        *,
        step: int | str | None = None,
        check: Callable[[Loaded], None] | None = None,
        progress: Progress | None = None,
    ) -> Loaded:
        """Load as `rowtune.checkpoints.load` does, and let the next save be incremental."""
        self._known = Known()
        found = loading.load(
            self.folder, tables, step=step, team=self.team, check=check, progress=progress
        )
        last = max(saved.number for saved in layout.saves(self.folder))
        if self._plans.full_every > 1:
            there = {name: changes.snapshot(part) for name, part in parts_of(tables).items()}
            self._known = Known(there, found.parent, last)
        return found
