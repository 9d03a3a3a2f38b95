"""A training in saves: model, optimizer, and what the user adds."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from rowtune import checkpoints
from rowtune.checkpoints import Loaded, Part, Team
from rowtune.checkpoints.known import Written
from rowtune.checkpoints.team import together
from rowtune.errors import CheckpointError
from rowtune.torch.distributed import Placed, ShardedEmbedding
from rowtune.torch.optim import RowOptimizer
from rowtune.torch.saves.blocks import BlockPart, tables_of
from rowtune.torch.saves.dense import Dense
from rowtune.torch.saves.ranks import team_here
from rowtune.torch.saves.shards import ShardPart

Progress = Callable[[str, int, int], None]


class Saver:
    """Makes the saves of one training in a folder of its own: see `rowtune.checkpoints.Saver`.

    Blocks and their states are written by all ranks, each a share, and only the rows that have
    changed; dense parameters, buffers, the optimizer's options and its dense state by rank 0, in
    every save. A base is never written: that it is the same is seen by its fingerprint.

    Not saved: random generators, data loaders, schedulers. What of them is numbers and text may go
    into ``extra``, such as ``scheduler.state_dict()``.

    Parameters
    ----------
    folder, keep, full_every, team
        As there; the team is that of torch.distributed where it has been initialized.
    unchecked_base : str, optional
        Why bases, and parameters that are frozen, need not be hashed (once in a process), such as
        "a read-only map of one file".
    save_frozen : bool
        Write dense parameters that nothing trains (no gradient, not in the optimizer), too. By
        default they are like a base: their fingerprints are saved, and compared.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        keep: int = 2,
        full_every: int = 10,
        *,
        team: Team | None = None,
        unchecked_base: str | None = None,
        save_frozen: bool = False,
    ) -> None:
        self._team = team_here() if team is None else team
        self._saver = checkpoints.Saver(folder, keep, full_every, self._team)
        self._unchecked, self._save_frozen = unchecked_base, save_frozen

    def save(
        self,
        model: nn.Module,
        optimizer: RowOptimizer | None = None,
        *,
        step: int,
        extra: Any = None,
        progress: Progress | None = None,
    ) -> Written:
        """Save; returns when every byte is on the disk. No row is moved, under catch-up neither.

        Parameters
        ----------
        model : nn.Module, under DistributedDataParallel or not, or what `distribute` gave
        optimizer : one of `rowtune.torch.optim`, optional
            By default the ``.optimizer`` of what `distribute` gave, and of others none.
        step : int
        extra : what JSON can hold, optional

        Raises
        ------
        CheckpointError
            In all processes; the saves that were there are as they were.
        """
        parts: dict[str, Part] = {}
        whole: dict[str, Any] = {}
        said: dict[str, Any] = {}

        def divide() -> None:
            training = _Training(model, optimizer, self._unchecked)
            parts.update(training.parts((self._team.rank, self._team.world)))
            if self._team.rank == 0:
                arrays, numbers = training.dense.arrays(self._save_frozen)
                whole.update(arrays)
                said.update(numbers)

        together(self._team, divide)  # no rank may wait for one that was refused
        everything = {"extra": extra, "torch": {**said, "tables": sorted(parts)}}
        return self._saver.save(parts, step=step, extra=everything, whole=whole, progress=progress)

    def load(
        self,
        model: nn.Module,
        optimizer: RowOptimizer | None = None,
        *,
        step: int | str | None = None,
        progress: Progress | None = None,
    ) -> Loaded:
        """Load as `load` does, and let the next save be incremental."""
        return _load(
            self._saver.load, self._team, model, optimizer, self._unchecked, step, progress
        )


def load(
    folder: str | os.PathLike[str],
    model: nn.Module,
    optimizer: RowOptimizer | None = None,
    *,
    step: int | str | None = None,
    team: Team | None = None,
    unchecked_base: str | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Load a save into a model and an optimizer made like those that were saved.

    Training goes on bit for bit as if it had never been interrupted, on any number of ranks.

    Parameters
    ----------
    optimizer : as it was saved; None to take the model of a save that had none, or what
        `distribute` gave with its own
    step : int, "whole" or None
        As in `rowtune.checkpoints.load`.

    Returns
    -------
    Loaded
        With ``step``, ``extra``, and ``skipped``.

    Raises
    ------
    CheckpointError
        A damaged save, or one of another model, optimizer or base. Nothing is changed then.
    """
    team = team_here() if team is None else team

    def from_folder(tables: dict[str, Part], **options: Any) -> Loaded:
        return checkpoints.load(folder, tables, team=team, **options)

    return _load(from_folder, team, model, optimizer, unchecked_base, step, progress)


class _Training:
    """A model and an optimizer, divided into blocks and the dense rest."""

    def __init__(
        self, model: nn.Module, optimizer: RowOptimizer | None, unchecked: str | None
    ) -> None:
        while isinstance(model, DistributedDataParallel | DataParallel | Placed):
            if isinstance(model, Placed) and optimizer is None:
                optimizer = model.optimizer
            model = model.module
        if optimizer is not None and not isinstance(optimizer, RowOptimizer):
            raise CheckpointError(
                f"a {type(optimizer).__module__}.{type(optimizer).__name__} cannot be saved here; "
                "expected one of rowtune.torch.optim, which steps the dense parameters too"
            )
        model = getattr(model, "_orig_mod", model)  # as torch.compile has wrapped it
        self.optimizer = optimizer
        self.dense = Dense(model, optimizer, unchecked)
        self.blocks: dict[str, BlockPart | ShardPart] = {
            name: BlockPart(table, optimizer, unchecked) for name, table in tables_of(model).items()
        }
        for name, module in model.named_modules():
            if isinstance(module, ShardedEmbedding):
                self.blocks[name] = ShardPart(module, unchecked)

    def parts(self, share: tuple[int, int] = (0, 1)) -> dict[str, Part]:
        return {name: block.part(share) for name, block in self.blocks.items()}

    def take(self, loaded: Loaded) -> None:
        """All but the rows and their states, which have been copied."""
        states = {name: block.state() for name, block in self.blocks.items()}
        self.dense.take(loaded.whole, loaded.extra["torch"])
        if self.optimizer is not None:
            for name, block in self.blocks.items():
                block.hand_to(self.optimizer, states[name])


def _load(
    from_folder: Callable[..., Loaded], team: Team, model: nn.Module,
    optimizer: RowOptimizer | None, unchecked: str | None, step: int | str | None,
    progress: Progress | None,
) -> Loaded:  # fmt: skip
    made: list[_Training] = []
    parts: dict[str, Part] = {}

    def divide() -> None:
        made.append(_Training(model, optimizer, unchecked))
        parts.update(made[0].parts())

    def check(loaded: Loaded) -> None:
        if not isinstance(loaded.extra, dict) or "torch" not in loaded.extra:
            raise CheckpointError(
                "this is a save of tables, not of a training; load it with rowtune.checkpoints"
            )
        saved = loaded.extra["torch"]["tables"]
        if saved != sorted(parts):
            raise CheckpointError(
                f"the save holds the tables {', '.join(saved)}, and this model has "
                f"{', '.join(sorted(parts)) or 'none'}; make the model that was saved"
            )
        made[0].dense.check(loaded.extra["torch"])

    together(team, divide)
    loaded = from_folder(parts, step=step, check=check, progress=progress)
    made[0].take(loaded)
    return replace(loaded, extra=loaded.extra["extra"], whole={})
