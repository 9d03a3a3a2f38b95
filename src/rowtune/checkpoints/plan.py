"""One save on its way into tables: first all is checked, then rows are copied."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.checkpoints import fitting, tensors
from rowtune.checkpoints.chain import chain_of
from rowtune.checkpoints.part import Part, parts_of
from rowtune.errors import CheckpointError
from rowtune.kernels.threads import get_num_threads

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Loaded:
    """What was loaded, beside the rows.

    Attributes
    ----------
    step : int
    extra : what was given to `Saver.save`
    whole : dict of name to array, given there too
    skipped : list of str
        With ``step="whole"``: what is wrong with the newer saves.
    parent : dict
        By which a saver goes on.
    """

    step: int
    extra: Any
    whole: dict[str, NDArray[Any]]
    skipped: list[str] = field(default_factory=list)
    parent: dict[str, Any] = field(default_factory=dict, repr=False)


class Plan:
    """The files of a save that one process needs for its parts."""

    loaded: Loaded

    def __init__(self, home: Path, name: str, progress: Progress, skipped: list[str]) -> None:
        self._home, self._name = home, name
        self._progress, self._skipped = progress, skipped
        self._parts: dict[str, Part] = {}
        self._files: list[tuple[Part, dict[str, Any], tensors.File]] = []
        self._whole: dict[str, dict[str, NDArray[Any]]] = {}  # of each table

    def prepare(
        self, tables: Mapping[str, Any], check: Callable[[Loaded], None] | None, files: ExitStack
    ) -> str:
        """Check everything; nothing is changed."""
        chain = chain_of(self._home, self._name)
        newest, content, digest = chain[-1]
        self._parts = parts_of(tables)
        for name, part in self._parts.items():
            if name not in content["tables"]:
                known = ", ".join(map(repr, content["tables"])) or "none"
                raise CheckpointError(f"{newest.path} has no table {name!r}; it has {known}")
            fitting.check(name, part, content["tables"][name], str(newest.path))
        needed = [
            (part, saved.path / entry["name"], entry)
            for saved, each, _ in chain
            for name, part in self._parts.items()
            for entry in each["tables"].get(name, {"files": []})["files"]
            if entry["begin"] < part.end and entry["end"] > part.begin
        ]
        told = self._teller("verify", sum(entry["bytes"] for *_, entry in needed))
        self._open(needed, told, files)
        own = self._read_whole(newest.path, content["whole"], told)
        parent = {"name": self._name, "sha256": digest, "depth": content["depth"]}
        self.loaded = Loaded(content["step"], content["extra"], own, self._skipped, parent)
        if check is not None:
            check(self.loaded)
        return self._name

    def _open(
        self, needed: list[tuple[Part, Path, dict[str, Any]]], told: tensors.Tell, files: ExitStack
    ) -> None:
        """Verify files, several at a time: to hash takes longer than to read."""
        with ThreadPoolExecutor(get_num_threads()) as pool:
            opened = [pool.submit(tensors.File, path, entry, told) for _, path, entry in needed]
        errors = []
        for (part, _, entry), each in zip(needed, opened, strict=True):
            if error := each.exception():
                errors.append(error)
            else:
                files.callback(each.result().close)
                self._files.append((part, entry, each.result()))
        if errors:
            raise errors[0]

    def _read_whole(
        self, folder: Path, entry: dict[str, Any] | None, told: tensors.Tell
    ) -> dict[str, NDArray[Any]]:
        own: dict[str, NDArray[Any]] = {}
        if entry is None:
            return own
        file = tensors.File(folder / entry["name"], entry, told)
        try:
            for key in file.tensors:
                *table, name = json.loads(key)
                into = self._whole.setdefault(table[0], {}) if table else own
                into[name] = file.read(key)
        finally:
            file.close()
        return own

    def copy(self) -> None:
        """Write the rows into the tables.

        Raises
        ------
        CheckpointError
            The disk failed on the way: the tables hold a mixture.
        """
        total = sum(entry["bytes"] for _, entry, _ in self._files)
        told = self._teller("copy", total)
        try:
            for part, entry, file in self._files:
                _copy(part, entry, file, told)
            for name, part in self._parts.items():
                part.loaded(self._whole.get(name, {}))
            self._progress("copy", total, total)  # files hold other ranks' rows, and headers
        except BaseException as error:
            kind = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else CheckpointError
            raise kind(
                f"{self._home / self._name} was checked and then could not be read to its end "
                f"({error!r}): tables hold some rows of it and some of their own. Load again "
                "before you go on"
            ) from error

    def _teller(self, stage: str, total: int) -> tensors.Tell:
        done, lock = 0, threading.Lock()

        def told(count: int) -> None:
            nonlocal done
            with lock:
                done += count
                self._progress(stage, min(done, total), total)

        return told


def _copy(part: Part, entry: dict[str, Any], file: tensors.File, told: tensors.Tell) -> None:
    """The rows of one file that are this part's, a few at a time."""
    if entry["every"]:
        first = max(entry["begin"], part.begin) - entry["begin"]
        last = min(entry["end"], part.end) - entry["begin"]
        places: slice | NDArray[np.int64]
    else:
        slots = file.read("slots")
        first, last = (int(at) for at in np.searchsorted(slots, [part.begin, part.end]))
    for key, array in part.arrays.items():
        step = max(1, tensors.PIECE // max(1, array[:1].nbytes))
        for at in range(first, last, step):
            end = min(at + step, last)
            if entry["every"]:
                begin = entry["begin"] + at - part.begin
                places = slice(begin, begin + end - at)
            else:
                places = slots[at:end] - part.begin
            rows = file.read(key, at, end)
            array[places] = rows
            told(rows.nbytes)
