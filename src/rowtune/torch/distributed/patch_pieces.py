"""A patch of rows that are on several ranks, written by pieces: nobody ever has it whole.

The bytes are those of `rowtune.patch_file`: safetensors, and a SHA-256 of it all among the facts.
It stands before what it is of; so its place is left free, and filled in at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor, distributed

from rowtune.atomic import replacing
from rowtune.errors import PatchError
from rowtune.torch.distributed.shards import Shard

_PIECE_BYTES = 1 << 24
_KINDS = {
    torch.float32: ("F32", "<f4"),
    torch.float64: ("F64", "<f8"),
    torch.float16: ("F16", "<f2"),
    torch.int32: ("I32", "<i4"),
    torch.int64: ("I64", "<i8"),
}


def save_patch(
    path: str | os.PathLike[str], shards: Mapping[str, Shard], ids: Mapping[str, Tensor],
    group: Any, state: bool,
) -> None:  # fmt: skip
    """Write the tables of ``shards`` into one patch; every rank of ``group`` calls it.

    Parameters
    ----------
    ids : int64 (k,) for each table that has a base
    state : whether it holds what the rules remember

    Raises
    ------
    PatchError
        A table that a patch cannot hold.
    OSError
        On every rank.
    """
    for name, shard in shards.items():
        _check(name or "the embedding", shard, ids.get(name))
    tables = [_Table(name, shard, ids[name], group, state) for name, shard in shards.items()]
    failure: list[Any] = [None]
    if distributed.get_rank(group) == 0:
        try:
            with replacing(path) as file:
                _write(file, tables)
        except OSError as error:
            for table in tables:  # the others are still sending
                table.drain()
            failure = [(error.errno, error.strerror, os.fspath(path))]
    else:
        for table in tables:
            table.drain()
    distributed.broadcast_object_list(
        failure, src=distributed.get_global_rank(group, 0), group=group
    )
    if failure[0] is not None:
        raise OSError(*failure[0])


def _check(name: str, shard: Shard, ids: Tensor | None) -> None:
    if ids is None or not shard.facts["fingerprint"]:
        raise PatchError(
            f"{name} has no base that a patch could belong to: every row of it trains, or its "
            "fingerprint was not taken (check_base=False), or it trains columns. Save its shards()"
        )
    rows, width = shard.arrays["rows"], int(shard.facts["shape"].split(" x ")[1])
    if len(ids) != shard.total or rows.shape[1] != width or rows.dtype not in _KINDS:
        raise PatchError(
            f"{name} has grown or holds {rows.dtype}; rowtune.torch.save_patch(placed.module, "
            "path) writes tables under DDP"
        )


class _Table:
    """One table: the arrays that its patch has, in the order in which the checksum takes them."""

    def __init__(self, name: str, shard: Shard, ids: Tensor, group: Any, state: bool) -> None:
        self.name, self.shard, self._group = name, shard, group
        arrays = dict(shard.arrays)
        rows = arrays.pop("rows")
        uncounted = torch.zeros(len(rows), dtype=torch.int32, device=rows.device)
        steps = arrays.pop("steps", uncounted)
        self._arrays = {"rows": rows}
        if state:
            self._arrays |= arrays | {"steps": steps}
        self.ids = ids
        self._sent = dict.fromkeys(self._arrays, 0)
        self._left = self._sources()

    @property
    def names(self) -> list[str]:
        return ["ids", *sorted(self._arrays)]

    def entry(self, name: str) -> tuple[tuple[int, ...], torch.dtype]:
        """Shape and dtype of a whole array."""
        if name == "ids":
            return tuple(self.ids.shape), torch.int64
        array = self._arrays[name]
        return (self.shard.total, *array.shape[1:]), array.dtype

    def pieces(self, name: str) -> Iterator[Tensor]:
        """On rank 0: the whole array, in order. The other ranks call `drain` meanwhile."""
        if name == "ids":
            yield self.ids
            return
        while self._sent[name] < self.shard.total:
            yield next(self._left)

    def drain(self) -> None:
        """Send what is left to send; on rank 0, receive and forget it."""
        for _ in self._left:
            pass

    def _sources(self) -> Iterator[Tensor]:
        """Pieces of every array, in order, which each rank but the first sends to that one."""
        group = self._group
        rank, ranks = distributed.get_rank(group), distributed.get_world_size(group)
        begins = _gathered(self.shard.begin, len(self._arrays["rows"]), group)
        for name in sorted(self._arrays):
            for source in range(ranks):
                begin, count = begins[source]
                if begin != self._sent[name] or not count:
                    continue  # under DDP the first has all of it
                for piece in self._from(name, source, rank, count):
                    self._sent[name] += len(piece)
                    yield piece

    def _from(self, name: str, source: int, rank: int, count: int) -> Iterator[Tensor]:
        own = self._arrays[name]
        width = max(1, own.shape[1:].numel() * own.element_size())
        step = max(1, _PIECE_BYTES // width)
        for first in range(0, count, step):
            size = min(step, count - first)
            if source == 0:
                yield own[first : first + size] if rank == 0 else own.new_empty(size, 0)
            elif rank == source:
                piece = own[first : first + size].contiguous()
                distributed.send(piece, distributed.get_global_rank(self._group, 0), self._group)
                yield piece
            elif rank == 0:
                piece = own.new_empty(size, *own.shape[1:])
                whom = distributed.get_global_rank(self._group, source)
                distributed.recv(piece, whom, self._group)
                yield piece
            else:
                yield own.new_empty(size, 0)


def _gathered(begin: int, count: int, group: Any) -> list[tuple[int, int]]:
    said: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(said, (begin, count), group=group)
    return said


def _write(file: BinaryIO, tables: list[_Table]) -> None:
    """Header, arrays, and then the checksums in their places."""
    several = len(tables) > 1
    facts = [_facts(table, f"{number:064d}") for number, table in enumerate(tables)]
    header = _header(tables, facts, several)
    file.write(len(header).to_bytes(8, "little") + header)
    for number, table in enumerate(tables):
        digest = _arrays(table, facts[number], file.write)
        header = header.replace(facts[number]["checksum"].encode(), digest.encode())
    file.seek(8)
    file.write(header)


def _facts(table: _Table, checksum: str) -> dict[str, str]:
    rows, width = map(int, table.shard.facts["shape"].split(" x "))
    return {
        "fingerprint": table.shard.facts["fingerprint"],
        "shape": json.dumps([rows, width, rows]),
        "rule": table.shard.facts["rule"] if "steps" in table.names else "",
        "bits_of": "",
        "checksum": checksum,
    }


def _header(tables: list[_Table], facts: list[dict[str, str]], several: bool) -> bytes:
    if several:
        own = {table.name: fact for table, fact in zip(tables, facts, strict=True)}
        meta = {"format": "rowtune.patches.1", "tables": json.dumps(own)}
    else:
        meta = {"format": "rowtune.patch.1", **facts[0]}
    entries: dict[str, Any] = {"__metadata__": meta}
    at = 0
    for table in tables:
        for name in table.names:
            shape, dtype = table.entry(name)
            size = torch.Size(shape).numel() * dtype.itemsize
            key = f"{table.name}/{name}" if several else name
            entries[key] = {
                "dtype": _KINDS[dtype][0], "shape": list(shape), "data_offsets": [at, at + size]
            }  # fmt: skip
            at += size
    text = json.dumps(entries).encode()
    return text + b" " * (-len(text) % 8)


def _arrays(table: _Table, facts: dict[str, str], write: Callable[[Any], Any]) -> str:
    """Write the arrays of a table, and give back the checksum that `rowtune.patch_file` wants."""
    own = {name: fact for name, fact in facts.items() if name != "checksum"}
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode())
    for name in table.names:
        shape, dtype = table.entry(name)
        digest.update(f"{name} {_KINDS[dtype][1]} {shape}\n".encode())
        for piece in table.pieces(name):
            data = piece.detach().cpu().contiguous().numpy().data.cast("B") if len(piece) else b""
            digest.update(data)
            write(data)
    return digest.hexdigest()
