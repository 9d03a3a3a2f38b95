"""Damage of single files: found, named, and the newest save that does not need them is offered."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from checkpoint_state import State, found

from rowtune.checkpoints import Saver, steps, verify
from rowtune.errors import CheckpointError

WAYS = ("flip", "truncate", "append", "remove")


def lay(folder: Path) -> dict[int, State]:
    """Two chains of a full and an incremental save each; the states by step."""
    saver, states = Saver(folder, keep=3, full_every=2), {}
    for age in range(1, 5):
        states[age] = State(7, age)
        made = states[age].save(saver, states[age].parts([1.0], 0))
        assert made.kind == ("full", "incremental")[(age + 1) % 2]
    assert steps(folder) == [1, 2, 3, 4]
    return states


def needed_by(path: Path) -> set[int]:
    """The steps that cannot be loaded without a file."""
    step = int(path.parent.name.split("-")[1])
    alone = step % 2 == 0 or path.name == "whole.safetensors"
    return {step} if alone else {step, step + 1}


def damage(path: Path, way: str, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    place = rng.randrange(len(data))
    if way == "remove":
        path.unlink()
        return f"{path.name} removed"
    if way == "flip":
        bit = rng.randrange(8)
        data[place] ^= 1 << bit
        path.write_bytes(data)
        return f"bit {bit} of byte {place} of {path.parent.name}/{path.name} flipped"
    path.write_bytes(data[:place] if way == "truncate" else bytes(data) + b" ")
    return f"{path.parent.name}/{path.name}: {way} at {place}"


def flips(home: Path, count: int, rng: random.Random, tally_type: Any) -> list[Any]:
    """``count`` flipped bits over every file, and a tenth as many of every other damage."""
    home.mkdir(parents=True)
    states = lay(home / "good")
    files = sorted(p.relative_to(home / "good") for p in (home / "good").glob("*/*"))
    tallies = []
    for way in WAYS:
        tally = tally_type(f"damage: {way}")
        for number in range(count if way == "flip" else max(len(files), count // 10)):
            shutil.rmtree(home / "bad", ignore_errors=True)
            shutil.copytree(home / "good", home / "bad")
            path = home / "bad" / files[number % len(files)]
            what = damage(path, way, rng)
            fault, offered = judge(home / "bad", path, states)
            tally.add(f"{what}: {fault}" if fault else "", found=not fault, offered=offered)
        tallies.append(tally)
    return tallies


def judge(folder: Path, path: Path, states: dict[int, State]) -> tuple[str, bool]:
    """What is wrong with the answer to a damage, and whether another save was offered for it."""
    broken = needed_by(path)
    if not any(str(path) in line for line in verify(folder)):
        return f"verify says {verify(folder)}", False
    for step, state in states.items():
        try:
            bits = found(folder, [0.5, 1.0], step)
        except CheckpointError as error:
            if step not in broken or str(path) not in str(error) or "Put a copy" not in str(error):
                return f"step {step} is refused with {error}", False
            continue
        if step in broken:
            return f"step {step} loads", False
        if bits != state.bits:
            return f"step {step} loads with other bits", False
    newest = max(set(states) - broken)
    if found(folder, [1.0], "whole") != states[newest].bits:
        return f"step {newest} is not the newest that is whole", False
    return "", newest != max(states)
