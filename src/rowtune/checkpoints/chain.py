"""A save and those that it is made from; what is wrong with them, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rowtune.checkpoints import layout, manifest, tensors
from rowtune.checkpoints.layout import Saved
from rowtune.checkpoints.team import Damaged
from rowtune.errors import CheckpointError

WHOLE_ONE = "whole"


def chain_of(home: Path, name: str) -> list[tuple[Saved, manifest.Manifest, str]]:
    """A save and those that it is made from, the full one first; with manifests and their SHA-256.

    Raises
    ------
    Damaged
        One of them is missing or damaged.
    """
    there = {saved.name: saved for saved in layout.saves(home)}
    links: list[tuple[Saved, manifest.Manifest, str]] = []
    wanted: dict[str, Any] | None = {"name": name}
    while wanted is not None:
        saved = there.get(wanted["name"])
        if saved is None:
            raise Damaged(f"{home / wanted['name']} is missing; {name} is made from it")
        content, digest = manifest.read(saved)
        if digest != wanted.get("sha256", digest):
            raise Damaged(f"{saved.path} is not the save that {name} was made from")
        links.append((saved, content, digest))
        wanted = content["parent"]
    return links[::-1]


def cure(home: Path, name: str) -> str:
    """What to do about a damaged save."""
    others, mine = [], _names_of_chain(home, name)
    for saved in layout.saves(home):
        try:
            links = {link[0].name for link in chain_of(home, saved.name)}
        except CheckpointError:
            continue
        if saved.name != name and not links & mine:
            others.append(str(saved.step))
    start = ". Put a copy of it back, or load an older save: "
    if not others:
        return f'{start}step="{WHOLE_ONE}" takes the newest that is whole'
    return (
        f'{start}step="{WHOLE_ONE}" takes the newest that is whole; those that share no file with '
        f"it are of steps {', '.join(others)}"
    )


def _names_of_chain(home: Path, name: str) -> set[str]:
    try:
        return {link[0].name for link in chain_of(home, name)}
    except CheckpointError:
        return {name}


def verify(
    folder: layout.Folder, progress: Callable[[str, int, int], None] | None = None
) -> list[str]:
    """Read every byte of every save in a folder; what is wrong, in words, and nothing if all is
    well. ``progress`` hears ``("verify", done, total)`` in bytes.

    Raises
    ------
    CheckpointError
        No such folder.
    """
    home, wrong, contents = Path(folder), [], []
    for saved in layout.saves(home):
        try:
            contents.append((saved, manifest.read(saved)[0]))
            chain_of(home, saved.name)
        except CheckpointError as error:
            wrong.append(str(error))
    todo = [(saved.path / e["name"], e) for saved, m in contents for e in entries_of(m)]
    total, done = sum(entry["bytes"] for _, entry in todo), 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress("verify", done, total)

    for path, entry in todo:
        try:
            tensors.File(path, entry, told).close()
        except CheckpointError as error:
            wrong.append(str(error))
    return list(dict.fromkeys(wrong))


def entries_of(content: manifest.Manifest) -> list[dict[str, Any]]:
    """The entries of all files of one save."""
    files = [entry for table in content["tables"].values() for entry in table["files"]]
    return [*files, *([content["whole"]] if content["whole"] else [])]
