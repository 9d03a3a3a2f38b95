"""The ranks agree before anything travels: on what was asked for, on every lookup, on errors.

A rank that stops alone leaves the others waiting in an exchange. So each says first what it is
about to do, and whether it can; where one cannot, all of them raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, distributed

from rowtune.errors import IdError, RuleError

_FINE, _BAD_ID, _FAILED = 0, 1, 2
_TWICE = (
    "a table of TorchRec is looked up twice in one forward pass, or the ranks look their tables up "
    "in different orders; its rows would move twice, each time by a part of their gradient. Look "
    "all ids up at once: table(torch.cat([a, b]))"
)


class AnotherRankFailed(RuntimeError):
    """What the other ranks raise where one of them has raised something that is none of ours."""


def agree_on_facts(facts: Mapping[str, str] | Exception, group: Any) -> list[Mapping[str, str]]:
    """The facts of all ranks, which are the same but for those whose names begin with "own ".

    Raises
    ------
    RuleError
        On every rank, where they differ or one has none.
    Exception
        The rank's own one.
    """
    said: list[Any] = [None] * distributed.get_world_size(group)
    mine = f"{type(facts).__name__}: {facts}" if isinstance(facts, Exception) else dict(facts)
    distributed.all_gather_object(said, mine, group=group)
    if isinstance(facts, Exception):
        raise facts
    for rank, theirs in enumerate(said):
        if isinstance(theirs, str):
            raise RuleError(f"rank {rank} could not begin: {theirs}")
    for rank, theirs in enumerate(said):
        for name in [*said[0], *theirs]:
            if not name.startswith("own ") and said[0].get(name) != theirs.get(name):
                raise RuleError(
                    f"the ranks were not given the same: {name} is {said[0].get(name)} on rank 0 "
                    f"and {theirs.get(name)} on rank {rank}. Build the same model, over the same "
                    "base, on every rank"
                )
    return said


class RollCall:
    """The lookups of a forward pass, in an order that is the same on every rank.

    Before a sharded table is looked up, and at the end of the pass, every rank says which table it
    is at. The table that comes first is looked up by all of them: a rank that is elsewhere looks up
    an empty batch there, so that whoever uses a table is never alone with it.

    Parameters
    ----------
    tables : int
        How many sharded tables there are.
    look_up_nothing : function of a table's number
        Looks up an empty batch and gives back its rows.
    once : bool
        Refuse a table that is looked up again in the same forward pass: TorchRec would move its
        rows twice, each time by a part of the gradient.
    """

    def __init__(self, tables: int, group: Any, device: torch.device,
                 look_up_nothing: Callable[[int], Tensor], once: bool) -> None:  # fmt: skip
        self._end, self._group, self._device = tables, group, device
        self._look_up_nothing, self._once = look_up_nothing, once
        self._ranks = distributed.get_world_size(group)
        self.begin()

    def begin(self) -> None:
        """A forward pass begins."""
        self.loose: list[Tensor] = []
        self.failed = False
        self._seen: set[int] = set()  # the same on every rank

    def at(self, table: int, error: Exception | None) -> None:
        """Return when it is this rank's turn to look ``table`` up.

        Raises
        ------
        Exception
            ``error``, on this rank. On the others an `IdError` if it is one, else
            `AnotherRankFailed`.
        RuleError
            On every rank: some need a gradient and others do not, so their backward passes could
            not meet; or a table is looked up a second time.
        """
        while True:
            said = self._say(table, error)
            first = min(place for place, _, _ in said)
            if self._once and first in self._seen and torch.is_grad_enabled():
                self.failed = True
                raise RuleError(_TWICE)
            if first < self._end:
                self._seen.add(first)
            if first == table:
                return
            rows = self._look_up_nothing(first)
            if rows.requires_grad:
                self.loose.append(rows)

    def end(self, error: Exception | None) -> None:
        """Return when every rank has come to the end of its forward pass. Raises as `at`."""
        self.at(self._end, error)

    def _say(self, table: int, error: Exception | None) -> list[list[int]]:
        kind = _FINE if error is None else _BAD_ID if isinstance(error, IdError) else _FAILED
        mine = torch.tensor([table, kind, torch.is_grad_enabled()], device=self._device)
        all_said = [torch.empty_like(mine) for _ in range(self._ranks)]
        distributed.all_gather(all_said, mine, group=self._group)
        said: list[list[int]] = torch.stack(all_said).tolist()
        if any(kind != _FINE for _, kind, _ in said):
            self.failed = True
            _raise(said, error)
        if len({grad for _, _, grad in said}) > 1:
            self.failed = True
            raise RuleError(
                "some ranks call the model under no_grad, and others with gradients; a lookup is "
                "every rank's, so call it in the same way on all of them"
            )
        return said


def _raise(said: list[list[int]], own: Exception | None) -> NoReturn:
    if own is not None:
        raise own
    rank, kind = next((r, k) for r, (_, k, _) in enumerate(said) if k != _FINE)
    if kind == _BAD_ID:
        raise IdError(f"an id on rank {rank} is out of range; nothing was moved on any rank")
    raise AnotherRankFailed(f"rank {rank} raised an error of its own; nothing was moved here")
