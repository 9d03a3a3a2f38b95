"""What is saved in the torture of checkpoints: two states of two tables, whole or in shares."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rowtune.checkpoints import Part, Saver, load
from rowtune.errors import CheckpointError

_LENGTH = struct.Struct("=q")
_PATIENCE = 30  # seconds


class State:
    """All that a save holds, bit for bit; ``age`` 0 is the first, every later one differs in it."""

    def __init__(self, seed: int, age: int) -> None:
        rng = np.random.default_rng(seed)
        items, users = rng.standard_normal((300, 8)).astype("f4"), rng.standard_normal((41, 3))
        self.tables: dict[str, dict[str, Any]] = {
            "items": {"rows": items, "steps": np.zeros(300, "i4"), "state.m": items * 2,
                      "state.v": np.zeros((300, 1), "f4")},
            "users/of all": {"rows": users.astype("f2"), "steps": np.zeros(41, "i4")},
        }  # fmt: skip
        self.step, self.dense = age, rng.standard_normal(50)
        for year in range(1, age + 1):
            for arrays in self.tables.values():
                moved = rng.choice(len(arrays["steps"]), len(arrays["steps"]) // 8, replace=False)
                arrays["rows"][moved] += year
                arrays["steps"][moved] += 1
                for name in arrays.keys() & {"state.m", "state.v"}:
                    arrays[name][moved] -= year
            self.tables["items"]["rows"][7] = -0.0 if year % 2 else np.nan
            self.dense = self.dense + year

    def parts(self, shares: Sequence[float], rank: int) -> dict[str, Part]:
        """The parts of one rank; ``shares`` are where the ranks' parts end, from 0 to 1."""
        ends = [0.0, *shares]
        made = {}
        for name, arrays in self.tables.items():
            total = len(arrays["rows"])
            begin, end = (round(total * ends[rank + i]) for i in (0, 1))
            own = {key: array[begin:end].copy() for key, array in arrays.items()}
            made[name] = Part(total, begin, own, {"rule": "adam", "base": "none"})
        return made

    def write_into(self, parts: dict[str, Part]) -> None:
        for name, part in parts.items():
            for key, array in part.arrays.items():
                array[:] = self.tables[name][key][part.begin : part.end]

    @property
    def bits(self) -> tuple[Any, ...]:
        tables = [
            array.tobytes() for name in sorted(self.tables)
            for _, array in sorted(self.tables[name].items())
        ]  # fmt: skip
        return self.step, self.dense.tobytes(), *tables

    def save(self, saver: Saver, parts: dict[str, Part]) -> Any:
        return saver.save(
            parts, step=self.step, extra={"age": self.step}, whole={"dense": self.dense}
        )


def ends(world: int, rng: random.Random) -> list[float]:
    """Shares of so many ranks, an empty one now and then."""
    return [*sorted(rng.choice([0.0, 0.3, rng.random()]) for _ in range(world - 1)), 1.0]


def found(folder: Path, shares: Sequence[float], step: int | str | None = None) -> tuple[Any, ...]:
    """The bits of what loads, part by part as processes with these shares would."""
    whole: dict[str, dict[str, list[Any]]] = {}
    said = set()
    for rank in range(len(shares)):
        parts = State(99, 0).parts(shares, rank)
        loaded = load(folder, parts, step=step)
        said.add((loaded.step, loaded.extra["age"], loaded.whole["dense"].tobytes()))
        for name, part in parts.items():
            for key, array in part.arrays.items():
                whole.setdefault(name, {}).setdefault(key, []).append(array)
    if len(said) > 1:
        return ("ranks load different saves",)
    step, age, dense = said.pop()
    tables = [
        np.concatenate(whole[name][key]).tobytes()
        for name in sorted(whole) for key in sorted(whole[name])
    ]  # fmt: skip
    return step if step == age else -1, dense, *tables


class Sockets:
    """A team of forked processes: rank 0 hears all of them, and tells them what it heard."""

    def __init__(self, world: int) -> None:
        self.world, self.rank = world, 0
        self._pairs = [socket.socketpair() for _ in range(world - 1)]
        self._peers: list[socket.socket] = []

    def join(self, rank: int) -> None:
        """In a child: keep this rank's ends, so that a death is heard of."""
        self.rank = rank
        for number, (first, other) in enumerate(self._pairs, 1):
            mine = first if rank == 0 else other if rank == number else None
            for each in (first, other):
                if each is not mine:
                    each.close()
            if mine is not None:
                mine.settimeout(_PATIENCE)
                self._peers.append(mine)

    def leave(self) -> None:
        """In the parent, when all children are there."""
        for pair in self._pairs:
            for each in pair:
                each.close()

    def gather(self, data: bytes) -> list[bytes]:
        if self.rank:
            self._send(self._peers[0], data)
            count = _LENGTH.unpack(self._take(self._peers[0], _LENGTH.size))[0]
            return [self._receive(self._peers[0]) for _ in range(count)]
        heard = [data, *map(self._receive, self._peers)]
        for peer in self._peers:
            with contextlib.suppress(OSError):  # dead: the next gather says so
                peer.sendall(_LENGTH.pack(len(heard)))
                for each in heard:
                    self._send(peer, each)
        return heard

    def _send(self, peer: socket.socket, data: bytes) -> None:
        peer.sendall(_LENGTH.pack(len(data)) + data)

    def _receive(self, peer: socket.socket) -> bytes:
        return self._take(peer, _LENGTH.unpack(self._take(peer, _LENGTH.size))[0])

    def _take(self, peer: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = peer.recv(count - len(data))
            if not more:
                raise ConnectionError("the other end is closed")
            data += more
        return data


REFUSED, NOTHING = 3, "nothing"


def what_loads(folder: Path, known: dict[str, State], shares: Sequence[float]) -> str:
    """The name of the state that loads, ``NOTHING`` where there is no save, else what is wrong."""
    try:
        bits = found(folder, shares)
    except CheckpointError as error:
        empty = "has no save" in str(error) or "cannot be read as a folder" in str(error)
        return NOTHING if empty else f"refused: {error}"
    for name, state in known.items():
        if bits == state.bits:
            return name
    return "mixture"
