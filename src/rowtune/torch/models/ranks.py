"""Rows of a model over several processes: whole on every rank, under whatever shards the rest."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn

from rowtune.errors import RuleError
from rowtune.torch.parameter import RowParameter


def check_whole(rows: Any) -> None:
    """Refuse rows that are no longer where `train_rows` has put them.

    Raises
    ------
    RuleError
        FSDP would put its own parameter there, or ZeRO-3 has partitioned them: the handle's rows
        would be left behind, untrained.
    """
    if hasattr(rows, "ds_id"):
        raise RuleError(
            "ZeRO-3 has partitioned the trainable rows, which then are not the handle's any more; "
            "use ZeRO stage 1 or 2 (the base is no parameter, and has no optimizer state)"
        )
    # Plain tensors are those of torch.func.functional_call.
    if isinstance(rows, nn.Parameter):
        check_own(rows)


def check_own(rows: Any) -> None:
    """Refuse what is to stand in the place of the rows for good, and is none of ours.

    Raises
    ------
    RuleError
    """
    if not isinstance(rows, RowParameter):
        raise RuleError(
            f"a {type(rows).__name__} was to take the place of the trainable rows, which FSDP "
            "cannot shard: they are kilobytes, and stay whole on every rank. Leave them out, by "
            "fully_shard(..., ignored_params=set(handle.parameters())) or "
            "FullyShardedDataParallel(..., use_orig_params=True, "
            "ignored_states=handle.parameters()), and call handle.average_over_ranks()"
        )


def check_table(weight: Any) -> None:
    """Refuse the table of a model that has been sharded: this rank has a part of it at most.

    Raises
    ------
    RuleError
    """
    if hasattr(weight, "ds_id") or hasattr(weight, "full_tensor"):
        by = "ZeRO-3" if hasattr(weight, "ds_id") else "FSDP"
        raise RuleError(
            f"{by} has sharded this model's token table; call train_rows on the whole model, before"
        )


def average(parameters: list[RowParameter], group: Any) -> list[Any]:
    """Give all ranks the rows of the first, and average gradients from the next backward pass on.

    The gradient that has been accumulated is averaged in every pass: of a mean and what is added
    to it, the mean is what it would have been at the end.
    """
    hooks = []
    for rows in parameters:
        with torch.no_grad():
            distributed.broadcast(rows, group=group, group_src=0)
        hooks.append(rows.register_post_accumulate_grad_hook(partial(_average, group=group)))  # type: ignore[no-untyped-call]
    return hooks


def _average(rows: Tensor, group: Any) -> None:
    assert rows.grad is not None
    distributed.all_reduce(rows.grad, group=group)
    rows.grad.div_(distributed.get_world_size(group))
