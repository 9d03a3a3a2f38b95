"""Full disks and folders that cannot be written to: a clear error, and the old state loads."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from checkpoint_state import REFUSED, State, what_loads
from checkpoint_teams import KINDS, OLD, Saves, clear
from forked import CRASHED, wait

from rowtune.checkpoints import Saver
from rowtune.errors import CheckpointError


def disks(home: Path, most: int, seed: int, tally_type: Any) -> list[Any]:
    """No space at every boundary of every rank, and whole disks and folders that refuse."""
    tallies = []
    for world in (1, 2, 3):
        for kind in KINDS:
            tally = tally_type(f"no space, {world} ranks, {kind}")
            saves = Saves(home / f"{world}{kind}", world, kind, seed)
            points = [(r, b) for r in range(world) for b in range(1, saves.totals[r] + 1)]
            for rank, at in points[:: max(1, -(-len(points) // most))]:
                ended = saves.run(rank, fail=at)
                fault = saves.fault(ended, {0, REFUSED}, rank)
                said = saves.said.read_text() if saves.said.exists() else ""
                failed = REFUSED in ended.codes
                if failed and not fault and not clear(said):
                    fault = f"it says {said!r}"
                saves.said.unlink(missing_ok=True)
                where = f"{tally.name}, rank {rank} at {at}: {fault}" if fault else ""
                old = ended.state in (OLD, "nothing")
                tally.add(where, old=old, new=ended.state == "new", clear=failed)
            tallies.append(tally)
    tally = tally_type("folders and disks that refuse")
    for name, arrange in REFUSALS.items():
        fault = refused(home / name, arrange)
        if fault != NOT_HERE:
            tally.add(f"{name}: {fault}" if fault else "", clear=not fault, old=not fault)
    return [*tallies, tally]


NOT_HERE = "not possible here"
Before = Callable[[Path], None]  # in the child, before it saves


def refused(home: Path, arrange: Callable[[Path], tuple[Before, Callable[[], None], str] | None],
            ) -> str:  # fmt: skip
    """Save once, spoil the folder, save again: what is wrong with the answer."""
    folder = home / "saves"
    home.mkdir(parents=True)
    os.chmod(home, 0o755)  # noqa: PTH101
    arranged = arrange(folder)
    if arranged is None:
        return NOT_HERE
    before, after, word = arranged
    old, new = State(3, 1), State(3, 2)
    try:
        old.save(Saver(folder), old.parts([1.0], 0))
        child = os.fork()
        if not child:
            _in_child(folder, new, before, home / "said")
        code = wait(child, 60)
        said = (home / "said").read_text() if (home / "said").exists() else ""
        after()
        loaded = what_loads(folder, {OLD: old}, [0.5, 1.0])
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True, check=False)
    if code != REFUSED or word not in said or str(folder) not in said:
        return f"it ends with {code} and says {said!r}"
    return "" if loaded == OLD else f"what loads is {loaded}"


def _in_child(folder: Path, new: State, before: Before, said: Path) -> None:
    code = CRASHED
    writer = os.open(said, os.O_WRONLY | os.O_CREAT)
    try:
        before(folder)
        new.save(Saver(folder), new.parts([1.0], 0))
        code = 0
    except CheckpointError as error:
        code = REFUSED
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        os.write(writer, str(error).encode())
    except BaseException as error:
        os.write(writer, repr(error).encode())
    finally:
        os._exit(code)


def _nothing(*_: Any) -> None:
    pass


def _small_files(folder: Path) -> Any:  # noqa: ARG001
    def before(_: Path) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))

    return before, _nothing, "File too large"


def _small_disk(folder: Path) -> Any:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return None
    return _nothing, _nothing, "No space left"


def _read_only_disk(folder: Path) -> Any:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return None

    def before(folder: Path) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)

    return before, _nothing, "Read-only file system"


def _read_only_folder(folder: Path) -> Any:
    """Root may write anywhere, so nobody tries."""

    def before(folder: Path) -> None:
        (folder / ".lock").unlink()
        folder.chmod(0o555)
        if not os.geteuid():
            os.setresuid(65534, 65534, 65534)

    return before, lambda: folder.chmod(0o755), "Permission denied"


def _file_in_its_place(folder: Path) -> Any:
    aside = folder.with_name("aside")

    def before(folder: Path) -> None:
        folder.rename(aside)
        folder.write_text("a file")

    def after() -> None:
        folder.unlink()
        aside.rename(folder)

    return before, after, "File exists"


REFUSALS = {
    "files of 5,000 bytes at most": _small_files,
    "a disk of 48 KiB": _small_disk,
    "a disk that is read-only": _read_only_disk,
    "a folder that is read-only": _read_only_folder,
    "a file in its place": _file_in_its_place,
}
