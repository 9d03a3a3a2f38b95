"""What is killed: commands that write, the small files that they read, and what is to be left."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import rowtune
from rowtune.errors import RowtuneError
from rowtune.patch_file import read_patch
from rowtune.vectors import load, save

DIM = 8
OLD, NEW, REFUSED, HALF = "old", "new", "refused", "half"


@dataclass(frozen=True)
class Victim:
    """A command that writes ``out[0]``, and with it the words in ``out[1]`` if there are two."""

    verb: str
    operands: tuple[str, ...]
    out: tuple[str, ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        return (self.verb, *self.operands)

    @property
    def name(self) -> str:
        return f"{self.verb}{''.join(Path(self.out[0]).suffixes)}"


def _all() -> list[Victim]:
    extend = ("in/before.vec", "in/corpus.txt", "--min-count", "3", "-o")
    apply = ("in/before.vec", "in/rows.safetensors", "-o")
    made = [
        *(Victim("extend", (*extend, f"out/{name}"), _both(name)) for name in ("v.vec", "v.npy")),
        *(
            Victim("convert", ("in/before.vec", f"out/{name}"), _both(name))
            for name in ("v.txt", "v.npy", "v.safetensors", "v.bin.gz", "v.tsv")
        ),
        *(Victim("apply", (*apply, f"out/{name}"), _both(name)) for name in ("v.vec", "v.npy")),
    ]
    adapt = ("in/before.vec", "in/labelled.csv", "--seeds", "1", "-o")
    made += [Victim("adapt", (*adapt, f"out/{name}"), _both(name)) for name in ("v.vec", "v.npy")]
    patch = ("in/before.vec", "in/after.vec", "-o", "out/rows.safetensors")
    return [*made, Victim("patch", patch, ("rows.safetensors",))]


def _both(name: str) -> tuple[str, ...]:
    beside = {".npy": ".words.txt", ".tsv": ".metadata.tsv"}.get(Path(name).suffix)
    return (name,) if beside is None else (name, Path(name).with_suffix(beside).name)


VICTIMS = _all()


def lay_inputs(folder: Path) -> None:
    """A table, one with more rows, the patch between them, and a text of words that it lacks."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    words = [f"{a}{b}{c}{d}" for a in "bdgklm" for b in "aeiou" for c in "nrstl" for d in "aoi"]
    centers = rng.standard_normal((5, DIM))
    rows = np.array([centers["aeiou".index(w[1])] for w in words], np.float32)
    rows += 0.3 * rng.standard_normal(rows.shape).astype(np.float32)
    table = rowtune.Vectors(words, rows)
    save(table, folder / "before.vec")
    moved = rows.copy()
    moved[::3] += 1
    after = rowtune.Vectors([*words, "new"], np.vstack([moved, rows[:1]]))
    save(after, folder / "after.vec")
    from rowtune.patch_file import write_patch  # noqa: PLC0415
    from rowtune.vectors.row_patches import patch_between  # noqa: PLC0415

    write_patch(patch_between(table, after)[0], folder / "rows.safetensors")
    lines, labelled = [], ["text,label"]
    for i in range(300):
        vowel = "aeiou"[rng.integers(5)]
        line = list(rng.choice([w for w in words if w[1] == vowel], 8))
        line[4] = f"z{vowel}z"
        lines.append(" ".join(line))
        labelled += [f"{lines[-1]},{vowel}"] if i < 60 else []
    (folder / "corpus.txt").write_text("\n".join(lines))
    (folder / "labelled.csv").write_text("\n".join(labelled))


class Outcome:
    """The old and the new files of a victim, and what lies there after a kill."""

    def __init__(self, victim: Victim, made: Path, old: Path) -> None:
        self.victim = victim
        self._new = {name: (made / name).read_bytes() for name in victim.out}
        _write_old(victim, made, old)
        self._old = {name: (old / name).read_bytes() for name in victim.out}

    def lay(self, folder: Path, with_old: bool) -> None:
        """An empty folder, or one with the old files."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, data in self._old.items() if with_old else ():
            (folder / name).write_bytes(data)

    def state(self, folder: Path, with_old: bool) -> str:
        """`OLD`, `NEW`, `REFUSED` (rows that no reader takes without words), else `HALF`."""
        there = {name: (folder / name).read_bytes() for name in self.victim.out
                 if (folder / name).exists()}  # fmt: skip
        if there == (self._old if with_old else {}):
            return OLD
        if there == self._new or (self.victim.verb == "patch" and _is_whole_patch(folder, there)):
            return NEW
        whole = all(data in (self._old[name], self._new[name]) for name, data in there.items())
        return REFUSED if whole and not _is_read(folder / self.victim.out[0]) else HALF


def _write_old(victim: Victim, made: Path, old: Path) -> None:
    """As many rows as the new file has, so that nothing but the bytes tells a mixture."""
    old.mkdir()
    if victim.verb == "patch":
        table = rowtune.Table(np.ones((4, DIM), np.float32), train=[0])
        table.save_patch(old / victim.out[0])
        return
    new = load(made / victim.out[0], cache=False)
    save(rowtune.Vectors(list(new.words)[::-1], -new.matrix), old / victim.out[0])


def _is_whole_patch(folder: Path, there: Sequence[str] | dict[str, bytes]) -> bool:
    """Its tensors are in no fixed order, and it has a checksum over all of them."""
    if not there:
        return False
    try:
        return len(read_patch(folder / "rows.safetensors").ids) > 1
    except RowtuneError:
        return False


def _is_read(path: Path) -> bool:
    try:
        load(path, cache=False)
    except RowtuneError:
        return False
    return True
