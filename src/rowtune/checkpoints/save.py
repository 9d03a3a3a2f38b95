"""One save: every process writes its own rows, all agree, and one rename makes it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.checkpoints import changes, layout, manifest, retention, writing
from rowtune.checkpoints.chain import chain_of
from rowtune.checkpoints.known import Known, Plans, Written, written
from rowtune.checkpoints.part import Arrays, Part, parts_of
from rowtune.checkpoints.plan import Progress
from rowtune.checkpoints.shares import check_shares, may_be_incremental
from rowtune.checkpoints.team import lead, together
from rowtune.errors import CheckpointError


class Save:
    """One save. `run` brings ``known`` up to date."""

    def __init__(
        self, plans: Plans, known: Known, tables: Mapping[str, Any], step: int, extra: Any,
        whole: Arrays, progress: Progress | None,
    ) -> None:  # fmt: skip
        self._plans, self._known = plans, known
        self._team, self._home = plans.team, plans.home
        self._tables, self._step, self._extra = tables, step, extra
        self._whole, self._progress = whole, progress or (lambda *_: None)
        self._parts: dict[str, Part] = {}
        self._now: dict[str, changes.Snapshot] = {}
        self._places: dict[str, NDArray[np.int64] | None] = {}

    def run(self) -> Written:
        """Make it; on an error before the commit, ``known`` is as it was."""
        new = None
        with ExitStack() as lock:
            try:
                begun = lead(self._team, lambda: self._begin(lock))
                new = self._home / begun["new"]
                looks = together(self._team, lambda: self._look(begun["parent"]))
                check_shares(looks)
                parent = begun["parent"] if may_be_incremental(looks) else None
                entries = together(self._team, lambda: self._write(new, parent is None))
                content = self._content(begun, parent, looks, entries)
                # Should this fail, nobody knows whether the save is there: the next one is full.
                self._known.snapshots, self._known.parent, self._known.last = {}, None, 0
                digest = lead(self._team, lambda: self._commit(new, content))
            except BaseException:
                if self._team.rank == 0 and new is not None:
                    shutil.rmtree(new, ignore_errors=True)
                raise
            name = layout.name_of(begun["number"], self._step)
            self._remember(begun["number"], name, digest, content["depth"])
            lead(self._team, self._retire)
        return written(content, self._home / name)

    # --- the stages ----------------------------------------------------------------------------

    def _begin(self, lock: ExitStack) -> dict[str, Any]:
        """Rank 0: have the folder, tidy it, and make room for a save."""
        _check_step(self._step)
        manifest.check_extra(self._extra)
        with self._clearly():
            layout.make(self._home)
            lock.enter_context(layout.locked(self._home))
            layout.clean(self._home)
            there = layout.saves(self._home)
            last, number = self._known.last, max((s.number for s in there), default=0)
            if last and number > last:
                raise CheckpointError(
                    f"{there[-1].path} was saved by somebody else since this saver's last save; "
                    "give every training a folder of its own"
                )
            new = layout.new_name(number + 1)
            (self._home / new).mkdir()
        parent = self._known.parent
        if parent is not None and not _is_whole(self._home, parent):
            parent = None
        if parent is not None and parent["depth"] + 1 >= self._plans.full_every:
            parent = None
        return {"number": number + 1, "new": new, "parent": parent}

    def _look(self, parent: dict[str, Any] | None) -> dict[str, Any]:
        """What this process has, and how much of it has changed since rank 0's last save; all of
        it where this process knows another one, or none.
        """
        _check_step(self._step)
        incremental = parent is not None
        same = incremental and self._known.parent == parent
        self._parts = parts_of(self._tables)
        total, done, fits = sum(map(len, self._parts.values())), 0, True
        for name, part in self._parts.items():
            before = self._known.snapshots.get(name)
            if self._plans.full_every > 1:
                self._now[name] = changes.snapshot(part, before)
            self._places[name] = None
            if same and before is not None:
                fits = fits and before.fits(part)
                if fits:
                    self._places[name] = changes.changed(before, self._now[name])
            done += len(part)
            self._progress("hash", done, total)
        return {
            "step": int(self._step),
            "fits": incremental and fits,
            "bytes": sum(len(part) * part.row_bytes for part in self._parts.values()),
            "changed": sum(
                (len(part) if (p := self._places[name]) is None else len(p)) * part.row_bytes
                for name, part in self._parts.items()
            ),
            "tables": {
                name: {
                    "total": part.total, "begin": part.begin, "end": part.end,
                    "arrays": part.kinds, "facts": dict(part.facts),
                }
                for name, part in self._parts.items()
            },
        }  # fmt: skip

    def _write(self, new: Path, full: bool) -> dict[str, Any]:
        """Write this process's files; what the manifest says of them."""
        if not new.is_dir():
            raise CheckpointError(
                f"{new} was made by rank 0 and is not here; every rank must see the same folder"
            )
        if full:
            self._places = dict.fromkeys(self._places)
        told = self._teller()
        tables, whole = {}, None
        with self._clearly():
            for index, (name, part) in enumerate(self._parts.items()):
                stem = f"table{index}.rank{self._team.rank}"
                tables[name] = writing.write_rows(new, stem, part, self._places[name], told)
            if self._team.rank == 0:
                whole = writing.write_whole(new, self._whole, self._parts, told)
            layout.sync(new)
        return {"tables": tables, "whole": whole}

    def _teller(self) -> Callable[[int], None]:
        total = sum(
            (len(part) if (p := self._places[name]) is None else len(p)) * part.row_bytes
            for name, part in self._parts.items()
        )
        done = 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            self._progress("write", min(done, total), total)

        return told

    def _content(
        self, begun: dict[str, Any], parent: dict[str, Any] | None, looks: list[dict[str, Any]],
        entries: list[dict[str, Any]],
    ) -> dict[str, Any]:  # fmt: skip
        tables = {}
        for name, about in looks[0]["tables"].items():
            files = [entry for each in entries for entry in each["tables"][name]]
            shared = {key: about[key] for key in ("total", "arrays", "facts")}
            tables[name] = {**shared, "files": files}
        return {
            "format": manifest.FORMAT,
            "number": begun["number"],
            "step": int(self._step),
            "parent": parent and {key: parent[key] for key in ("name", "sha256")},
            "depth": 0 if parent is None else parent["depth"] + 1,
            "tables": tables,
            "whole": entries[0]["whole"],
            "extra": self._extra,
        }

    def _commit(self, new: Path, content: dict[str, Any]) -> str:
        """Rank 0: from the rename on, the save is there."""
        with self._clearly():
            digest = manifest.write(new, content)
            layout.sync(new)
            new.rename(self._home / layout.name_of(content["number"], self._step))
            layout.sync(self._home)
        return digest

    def _remember(self, number: int, name: str, digest: str, depth: int) -> None:
        self._known.snapshots, self._known.last = self._now, number
        if self._plans.full_every > 1:
            self._known.parent = {"name": name, "sha256": digest, "depth": depth}

    def _retire(self) -> None:
        with contextlib.suppress(OSError, CheckpointError):  # the save is made; tried again later
            retention.retire(self._home, self._plans.keep)

    @contextlib.contextmanager
    def _clearly(self) -> Iterator[None]:
        """What the system says, as somebody wants to read it."""
        try:
            yield
        except OSError as error:
            where = error.filename or self._home
            raise CheckpointError(
                f"step {self._step} could not be saved in {self._home}: "
                f"{error.strerror or error} ({os.fspath(where)}){_room(self._home)}. The saves "
                "that were there are as they were"
            ) from error


def _check_step(step: Any) -> None:
    if isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 0:
        raise CheckpointError(f"step is {step!r}; expected a number of steps, 0 or more")


def _is_whole(home: Path, parent: dict[str, Any]) -> bool:
    """Whether a save, and all that it is made from, are where they were, by their manifests."""
    with contextlib.suppress(CheckpointError):
        return bool(chain_of(home, parent["name"])[-1][2] == parent["sha256"])
    return False


def _room(home: Path) -> str:
    try:
        return f"; {shutil.disk_usage(home).free:,} bytes are free there"
    except OSError:
        return ""
