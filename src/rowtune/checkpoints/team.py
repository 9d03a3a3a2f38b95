"""The processes that save or load together, and how they agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from rowtune.errors import CheckpointError

T = TypeVar("T")


class Team(Protocol):
    """``world`` processes, of which this one is ``rank``; all call `gather` in the same order."""

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int: ...

    def gather(self, data: bytes) -> list[bytes]:
        """What every process has given, in the order of ranks, in every process."""
        ...


class Alone:
    """The team of a single process."""

    rank, world = 0, 1

    def gather(self, data: bytes) -> list[bytes]:
        return [data]


class Damaged(CheckpointError):
    """A file that is not as it was written, or not there."""


def together(team: Team, work: Callable[[], Any]) -> list[Any]:
    """Do ``work`` in every process, and give all of them what it returned (as JSON) in each.

    Raises
    ------
    CheckpointError
        In every process, if it failed in any; nobody is left waiting.
    """
    error: BaseException | None = None
    answer: dict[str, Any] = {}
    try:
        answer = {"done": work()}
    except BaseException as caught:  # Ctrl-C, too: the others must hear of it
        error = caught
        answer = {"failed": str(caught) or repr(caught), "damaged": isinstance(caught, Damaged)}
    try:
        answers = [json.loads(each) for each in team.gather(json.dumps(answer).encode())]
    except Exception as silence:
        if error is None:
            raise CheckpointError(
                f"a process of the team does not answer ({silence}): it has died, or is out of "
                "reach. The saves that were there are as they were"
            ) from silence
    if error is not None:
        raise error
    for rank, each in enumerate(answers):
        if "failed" in each:
            where = f"rank {rank}: " if team.world > 1 else ""
            raise (Damaged if each["damaged"] else CheckpointError)(where + each["failed"])
    return [each["done"] for each in answers]


def lead(team: Team, work: Callable[[], T]) -> T:
    """Do ``work`` in rank 0 alone; its result, which JSON can hold, in every process."""
    return together(team, lambda: work() if team.rank == 0 else None)[0]  # type: ignore[no-any-return]
