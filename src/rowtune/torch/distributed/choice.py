"""DDP or TorchRec, for each table of a model: by the memory that a worker may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rowtune import rules
from rowtune.errors import RuleError
from rowtune.torch.distributed.rule_names import lacking
from rowtune.torch.distributed.tables import Given

# Of a machine's memory, what blocks may take together: the model, its data and the page cache of
# the base want the rest.
SHARE = 0.5


class Choice(NamedTuple):
    """Where a table goes, and why, in words."""

    how: str  # "ddp" or "torchrec"
    why: str


def choose(
    tables: Sequence[Given], rule: str, hyper: Mapping[str, Any], options: Mapping[str, Any],
    how: str, memory: int, of_what: str, ranks: int,
) -> dict[str, Choice]:  # fmt: skip
    """A choice for every table; the same arguments give the same choices.

    Parameters
    ----------
    how : "auto", "ddp" or "torchrec"
    memory : int
        Bytes that a worker may use for blocks, state and gradients; ``of_what`` says whose.

    Raises
    ------
    RuleError
        A table that fits no worker and that TorchRec cannot have, or that does not fit it there.
    """
    chosen: dict[str, Choice] = {}
    left = memory
    for table in sorted(tables, key=lambda t: whole_bytes(t, rule)):
        own = _choose(table, rule, hyper, options, how, left, memory, of_what, ranks)
        needed = whole_bytes(table, rule)
        left -= needed if own.how == "ddp" else shard_bytes(table, rule, ranks)
        chosen[table.name] = own
    return {table.name: chosen[table.name] for table in tables}


def _choose(
    table: Given, rule: str, hyper: Mapping[str, Any], options: Mapping[str, Any], how: str,
    left: int, memory: int, of_what: str, ranks: int,
) -> Choice:  # fmt: skip
    needed, part = whole_bytes(table, rule), shard_bytes(table, rule, ranks)
    room = f"{size(left)} that a worker has for it"
    if size(left) != size(memory):
        room += f" ({size(memory)} without the tables that were placed before)"
    room += f", {of_what}"
    whole = f"block, state and gradient take {size(needed)}"
    missing = table.unfit(ranks) or lacking(rule, hyper, options)
    if how == "ddp":
        return Choice("ddp", f"asked for; {whole} on each of {ranks} ranks")
    if how == "torchrec":
        if missing:
            raise RuleError(f'{table.shown} cannot go to TorchRec: {missing}. Try how="auto"')
        return Choice("torchrec", f"asked for; {size(part)} on each of {ranks} ranks")
    if needed <= left:
        return Choice("ddp", f"{whole} on each of {ranks} ranks, within the {room}")
    if missing:
        raise RuleError(
            f"{table.shown} fits no worker ({whole}, more than the {room}), and it cannot be "
            f"sharded: {missing}"
        )
    if part > left:
        raise RuleError(
            f"{table.shown} fits no worker ({whole}), nor does its share on {ranks} ranks "
            f"({size(part)}, more than the {room}); start more ranks, or give worker_memory"
        )
    return Choice("torchrec", f"{whole}, more than the {room}; {size(part)} of it on each of "
                              f"{ranks} ranks")  # fmt: skip


def whole_bytes(table: Given, rule: str) -> int:
    """Of a table under DDP, on every worker. A row-sparse gradient follows the batch, and is not
    counted.
    """
    per_row = table.width * table.dtype.itemsize * (1 if table.sparse else 2)
    of_state = 8 if table.dtype == torch.float64 else 4
    steps = 4
    return table.total * (per_row + of_state * _state_width(table, rule) + steps)


def shard_bytes(table: Given, rule: str, ranks: int) -> int:
    """Of a table under TorchRec, on the rank that has most of it."""
    return -(-table.total // ranks) * 4 * (table.width + _state_width(table, rule))


def _state_width(table: Given, rule: str) -> int:
    return sum(rules.get(rule).state_widths(table.width).values())


def size(number: int) -> str:
    """Bytes as a reader wants them."""
    amount = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(amount) < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"


def memory_here(device: torch.device) -> int:
    """Bytes of the device's memory, or of what this machine lets its processes have."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        found = min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return found
