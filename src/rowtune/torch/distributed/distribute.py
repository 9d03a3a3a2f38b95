"""One call that places the tables of a model on several processes, and says why there."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from typing import Any

import torch
from torch import distributed, nn

from rowtune.errors import RuleError
from rowtune.torch.distributed.agreement import agree_on_facts
from rowtune.torch.distributed.choice import SHARE, Choice, choose, memory_here
from rowtune.torch.distributed.lazy import LazyEmbedding
from rowtune.torch.distributed.placed import Placed, Table
from rowtune.torch.distributed.rule_names import checked, lacking
from rowtune.torch.distributed.sharded import ShardedEmbedding
from rowtune.torch.distributed.tables import Given, replace, tables_of
from rowtune.torch.stored import on

_WAYS = ("auto", "ddp", "torchrec")
_PIECE = 1 << 18  # rows at a time


def distribute(
    model: nn.Module,
    rule: str = "rowwise_adagrad",
    lr: float = 1e-2,
    *,
    how: str = "auto",
    worker_memory: int | None = None,
    process_group: Any = None,
    check_base: bool = True,
    ddp: Mapping[str, Any] | None = None,
    **hyper: Any,
) -> Placed:
    """Place every table of a model: whole on each rank under DDP, or in parts under TorchRec.

    Every rank calls it with the same model. The training loop is the same for both ways::

        placed = distribute(model, rule="rowwise_adagrad", lr=0.1)
        cost(placed(ids)).backward()
        placed.optimizer.step()
        placed.optimizer.zero_grad()

    DDP keeps a block on every rank, and averages gradients. TorchRec keeps ceil(k / ranks) rows on
    each, sends them to who looks them up, and moves them inside ``backward()`` by the mean of the
    ranks' gradients. Both end with the weights that one process ends with, to rounding, where its
    loss is the mean of the ranks' losses. The base is neither sent nor written.

    Parameters
    ----------
    model : nn.Module
        With `rowtune.torch.Embedding`, `EmbeddingBag` or `LazyEmbedding` modules, or one of these;
        tables that go to TorchRec are replaced in it.
    rule : str
        The rule that blocks move by. Other parameters are stepped by torch's optimizer of that
        name, as in `rowtune.torch.optim`.
    lr, **hyper
        The rule's hyper-parameters (``eps``, ``betas``, ``weight_decay``, ...), and the options of
        `rowtune.torch.optim` (``check_finite``, ``catch_up``, ``max_norm``), which DDP alone has.
    how : "auto", "ddp" or "torchrec"
        "auto": DDP where block, state and gradient fit a worker, smallest tables first; else
        TorchRec.
    worker_memory : int, optional
        Bytes that a worker may use for them. By default half of the machine's memory (of the
        device's, on others than the CPU), divided by the ranks on this machine; of all ranks the
        least counts.
    process_group : optional
        By default the one that ``init_process_group`` has made.
    check_base : bool
        Compare the fingerprints of the bases. It reads each base once, about a second per GB.
    ddp : mapping, optional
        More arguments for DistributedDataParallel.

    Raises
    ------
    RuleError
        On every rank: an unknown rule, or hyper-parameter; a table that fits no worker and that
        TorchRec cannot have (the message lists the rules that it has); ranks that were not given
        the same. Nothing has been changed then.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        raise RuleError(
            "there is no process group; start the script with torchrun, and call "
            'torch.distributed.init_process_group("gloo") first'
        )
    group = distributed.group.WORLD if process_group is None else process_group
    device = _device_of(model)
    facts: dict[str, str] | Exception
    try:
        given, options = checked(rule, {"lr": lr, **hyper})
        tables = tables_of(model)
        facts = _facts(tables, rule, given, options, how, worker_memory, check_base, device)
    except Exception as error:
        facts = error
    said = agree_on_facts(facts, group)
    memory, of_what = _memory(said, worker_memory)
    ranks = distributed.get_world_size(group)
    chosen = choose(tables, rule, given, options, how, memory, of_what, ranks)
    placed, apart = [], _group_apart(group, device, chosen)
    for table in tables:
        facts_of = _facts_of(table, rule, facts)
        module = _placed(table, chosen[table.name].how, rule, given, apart, device, facts_of)
        model = replace(model, table.module, module)
        placed.append(Table(table.name, module, *chosen[table.name], facts_of))
    return Placed(model, placed, rule, given, options, group, device, dict(ddp or {}))


def _facts(
    tables: list[Given], rule: str, hyper: Mapping[str, Any], options: Mapping[str, Any], how: str,
    worker_memory: int | None, check_base: bool, device: torch.device,
) -> dict[str, str]:  # fmt: skip
    """What the ranks compare; what is a rank's own has a name that begins with "own "."""
    if how not in _WAYS:
        raise RuleError(f"how={how!r}; expected one of {', '.join(_WAYS)}")
    facts = {
        "rule": rule,
        "the hyper-parameters": json.dumps(dict(hyper), sort_keys=True),
        "the options": repr(sorted(options.items())),
        "how": how,
        "worker_memory": str(worker_memory),
        "the kind of device": device.type,
        "what TorchRec lacks": lacking(rule, hyper, options),
        "the names of the tables": ", ".join(table.shown for table in tables),
        "own machine": platform.node(),
        "own memory": str(memory_here(device)),
    }
    for table in tables:
        facts |= table.facts(check_base)
    return facts


def _memory(said: list[Mapping[str, str]], given: int | None) -> tuple[int, str]:
    """Bytes that every worker has, and whose they are in words."""
    if given is not None:
        return given, "as worker_memory says"
    on_cpu = said[0]["the kind of device"] == "cpu"
    machines = [theirs["own machine"] for theirs in said]
    least = []
    for theirs in said:
        sharing = machines.count(theirs["own machine"]) if on_cpu else 1
        least.append((int(SHARE * int(theirs["own memory"]) / sharing), sharing))
    memory, sharing = min(least)
    where = f"divided by the {sharing} ranks on this machine" if sharing > 1 else "of the device"
    return memory, f"half of all memory {where}" if sharing > 1 else "half of its memory"


def _placed(
    table: Given, how: str, rule: str, hyper: Mapping[str, Any], group: Any, device: torch.device,
    facts: Mapping[str, str],
) -> nn.Module:  # fmt: skip
    if how == "ddp":
        whole = table.module.whole() if isinstance(table.module, LazyEmbedding) else table.module
        return whole.to(device)
    # TorchRec takes seconds to import, and whoever trains under DDP does not need it.
    from rowtune.torch.distributed.torchrec_block import ShardedBlock  # noqa: PLC0415

    block = ShardedBlock(table.total, table.width, rule, hyper, group, device)
    with torch.no_grad():
        for first in range(0, len(block.rows), _PIECE):
            last = min(len(block.rows), first + _PIECE)
            rows = table.rows_between(block.begin + first, block.begin + last)
            block.rows[first:last].copy_(rows)
    base = None if table.rows is None or table.stored is None else on(device, table.stored)
    return ShardedEmbedding(table.module.num_embeddings, table.rows, base, table.padding_idx, block,
                            facts["fingerprint"])  # fmt: skip


def _group_apart(group: Any, device: torch.device, chosen: Mapping[str, Choice]) -> Any:
    """A group of the same ranks for what TorchRec sends.

    In the backward pass DDP averages a gradient as soon as it is there. A rank that has not used a
    table comes to its exchange sooner than one that has; in one group the one would meet the other.
    """
    if all(choice.how == "ddp" for choice in chosen.values()):
        return group
    options = getattr(group._get_backend(device), "options", None)
    return distributed.new_group(
        ranks=distributed.get_process_group_ranks(group),
        backend=distributed.get_backend(group),
        timeout=getattr(options, "_timeout", None),
        use_local_synchronization=True,  # the group may be a part of all processes
    )


def _facts_of(table: Given, rule: str, facts: Any) -> dict[str, str]:
    found = facts[f"the fingerprint of the base of {table.shown}"]
    return {  # without a base where every row trains, whatever rows it began with
        "rule": rule,
        "shape": facts[f"the shape of {table.shown}"],
        "dtype": facts[f"the dtype of {table.shown}"],
        "fingerprint": "" if table.rows is None else found,
    }


def _device_of(model: nn.Module) -> torch.device:
    tensors = [*model.parameters(), *model.buffers()]
    return next((t.device for t in tensors if not t.is_meta), torch.device("cpu"))
