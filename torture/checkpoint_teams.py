"""Saves by teams of forked processes, one of which is killed, or told that its disk is full."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkpoint_state import REFUSED, Sockets, State, ends, what_loads
from forked import CRASHED, HANGS, Boundaries, wait

from rowtune.checkpoints import Saver, verify
from rowtune.errors import CheckpointError

OLD, NEW = "old", "new"
KINDS = ("first", "full", "incremental")


class Faults(Boundaries):
    """A boundary at which the disk is full, instead of one at which the process is killed."""

    fail_at = 0

    def at(self) -> None:
        super().at()
        if self.passed == self.fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass
class Ended:
    """What became of one save: exit codes by rank, and what loads then."""

    codes: list[int]
    state: str
    left: int  # folders that a dead save has left


class Saves:
    """Saves of one kind by ``world`` processes, again and again from the same beginning."""

    def __init__(self, home: Path, world: int, kind: str, seed: int) -> None:
        self.world, self.kind = world, kind
        self.rng = random.Random(f"{seed} {world} {kind}")
        self.before, self.folder, self.said = home / "before", home / "saves", home / "said"
        home.mkdir(parents=True)
        self.states = {OLD: State(seed, 2), NEW: State(seed, 3)}
        if kind != "first":
            saver = Saver(self.before, keep=2)
            for age in (1, 2):
                state = State(seed, age)
                state.save(saver, state.parts([1.0], 0))
        self.boundaries = [Faults() for _ in range(world)]
        done = self.run()
        if done.codes != [0] * world or done.state != NEW:
            raise SystemExit(f"a save by {world} fails by itself: {done}\n{self.said.read_text()}")
        self.totals = [each.passed for each in self.boundaries]
        self.spans = [each.span for each in self.boundaries]

    def run(
        self, rank: int = 0, kill: int = 0, fail: int = 0, moment: float | None = None
    ) -> Ended:
        """One save; ``rank`` is killed at a boundary or a moment, or its disk is full at one."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.before.exists():
            shutil.copytree(self.before, self.folder)
        team, shares = Sockets(self.world), ends(self.world, self.rng)
        children = []
        for each, boundaries in enumerate(self.boundaries):
            boundaries.reset()
            boundaries.kill_at = kill if each == rank else 0
            boundaries.fail_at = fail if each == rank else 0
            child = os.fork()
            if not child:
                self._in_child(team, each, shares)
            children.append(child)
        team.leave()
        if moment is not None:
            time.sleep(moment)
            os.kill(children[rank], signal.SIGKILL)  # not waited for yet: the id is its own
        codes = [wait(child, 60) for child in children]
        shares = ends(self.rng.choice([1, 2, 3]), self.rng)  # loaded by another number of ranks
        state = what_loads(self.folder, self.states, shares)
        there = self.folder.iterdir() if self.folder.exists() else ()
        return Ended(codes, state, sum(path.name[:5] in (".new-", ".old-") for path in there))

    def _in_child(self, team: Sockets, rank: int, shares: list[float]) -> None:
        code = CRASHED
        try:
            team.join(rank)
            parts = self.states[OLD].parts(shares, rank)
            saver = Saver(self.folder, keep=1, team=team)
            if self.kind == "incremental":
                saver.load(parts)
            self.states[NEW].write_into(parts)
            self.boundaries[rank].watch(self.folder)
            self.states[NEW].save(saver, parts)
            code = 0
        except CheckpointError as error:
            code = REFUSED
            self.said.write_text(str(error))
        except BaseException:
            self.said.write_text(traceback.format_exc())
        finally:
            os._exit(code)

    def fault(self, ended: Ended, allowed: set[int], dead: int) -> str:
        """What is wrong with an end, or nothing: a save, an error that says so, or a death."""
        old = OLD if self.kind != "first" else "nothing"
        if ended.state not in (old, NEW):
            return f"what loads is {ended.state}"
        if HANGS in ended.codes:
            return f"a rank hangs: {ended.codes}"
        for rank, code in enumerate(ended.codes):
            if code not in (allowed if rank == dead else {0, REFUSED}):
                return f"exit codes {ended.codes}: {self.said.read_text()[-300:]}"
        if ended.state != NEW and all(code == 0 for code in ended.codes):
            return "every rank says that it has saved, and what loads is the old state"
        return self._again()

    def _again(self) -> str:
        """The next save among what is left: it must be made, and tidy up."""
        state = State(0, 5)
        try:
            state.save(Saver(self.folder, keep=1), state.parts([1.0], 0))
        except CheckpointError as error:
            return f"the next save is refused: {error}"
        names = sorted(path.name for path in self.folder.iterdir())
        if len(names) != 2 or verify(self.folder):
            return f"the next save leaves {names}: {verify(self.folder)}"
        loaded = what_loads(self.folder, {"next": state}, [1.0])
        return "" if loaded == "next" else f"after the next save {loaded} loads"


def clear(said: Any) -> bool:
    """Whether a message names what was to be saved and what happened."""
    return "could not be saved in" in said and "No space left" in said
