"""Loading: everything is compared with its checksum and its table first, and then copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rowtune.checkpoints import layout
from rowtune.checkpoints.chain import WHOLE_ONE, cure
from rowtune.checkpoints.layout import Saved
from rowtune.checkpoints.plan import Loaded, Plan, Progress
from rowtune.checkpoints.team import Alone, Damaged, Team, lead, together
from rowtune.errors import CheckpointError


def load(
    folder: layout.Folder,
    tables: Mapping[str, Any],
    *,
    step: int | str | None = None,
    team: Team | None = None,
    check: Callable[[Loaded], None] | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Copy a save into tables of the same kind, whatever parts its processes had.

    Parameters
    ----------
    folder : path
        That of a `Saver`.
    tables : dict of name to `rowtune.Table` or `Part`
        The blocks that are written; names as they were saved. Not all need be given.
    step : int, "whole" or None
        The last save of this step; the newest that is whole, with ``skipped`` saying why it is not
        the newest; the newest.
    team : Team, optional
        The processes that load together, each its own part; by default this one alone.
    check : callable, optional
        Called before anything is changed; what it raises ends the load.
    progress : callable (stage, done, total), optional
        Stages ``"verify"`` and ``"copy"``, in bytes of this process.

    Raises
    ------
    CheckpointError
        Damaged or missing files, or tables of another size, rule, base, ... Nothing is changed
        then, in any process. An error of the disk while rows are copied is the only one after
        which tables hold a mixture, and it says so.
    """
    team = Alone() if team is None else team
    names = lead(team, lambda: [saved.name for saved in _candidates(folder, step)])
    skipped: list[str] = []
    for name in names:
        with ExitStack() as files:
            plan = Plan(Path(folder), name, progress or (lambda *_: None), skipped)
            try:
                together(team, lambda plan=plan, files=files: plan.prepare(tables, check, files))  # type: ignore[misc]
            except Damaged as damage:
                if step != WHOLE_ONE:
                    raise CheckpointError(f"{damage}{cure(Path(folder), name)}") from None
                skipped.append(str(damage))
                continue
            together(team, plan.copy)
            return plan.loaded
    raise CheckpointError(f"no save in {folder} is whole: {'; '.join(skipped)}")


def _candidates(folder: layout.Folder, step: int | str | None) -> list[Saved]:
    """Saves to try, the best first."""
    there = layout.saves(folder)[::-1]
    if not there:
        raise CheckpointError(f"{folder} has no save in it; name the folder that a Saver was given")
    if step == WHOLE_ONE:
        return there
    if step is None:
        return there[:1]
    found = [saved for saved in there if saved.step == step]
    if not found:
        known = ", ".join(str(saved.step) for saved in there[::-1])
        raise CheckpointError(f"{folder} has no save of step {step!r}; it has steps {known}")
    return found[:1]
