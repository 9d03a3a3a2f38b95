"""What every process says of its parts, and whether together they are whole tables."""

from __future__ import annotations

from typing import Any

from rowtune.errors import CheckpointError


def check_shares(looks: list[dict[str, Any]]) -> None:
    """All ranks must have parts of the same tables, which are the whole of each."""
    first = looks[0]["tables"]
    for rank, look in enumerate(looks):
        if look["step"] != looks[0]["step"]:
            raise CheckpointError(
                f"rank {rank} saves step {look['step']}, and rank 0 step {looks[0]['step']}; "
                "every rank must save the same one"
            )
        if sorted(look["tables"]) != sorted(first):
            raise CheckpointError(
                f"rank {rank} saves the tables {sorted(look['tables'])}, and rank 0 "
                f"{sorted(first)}; every rank must save the same ones"
            )
    for name, about in first.items():
        shares = [look["tables"][name] for look in looks]
        for rank, share in enumerate(shares):
            for key in ("total", "arrays", "facts"):
                if share[key] != about[key]:
                    raise CheckpointError(
                        f"{name!r}: rank {rank} has {key} {share[key]}, and rank 0 {about[key]}"
                    )
        spans = sorted((share["begin"], share["end"]) for share in shares)
        at = 0
        for begin, end in (span for span in spans if span[0] < span[1]):
            if begin != at:
                raise CheckpointError(
                    f"{name!r}: the parts of all ranks are slots {spans} (begin, end); expected "
                    f"every slot below {about['total']} in one of them"
                )
            at = end
        if at != about["total"]:
            raise CheckpointError(
                f"{name!r}: the parts of all ranks end at slot {at}, and the block has "
                f"{about['total']} rows"
            )


def may_be_incremental(looks: list[dict[str, Any]]) -> bool:
    """A chain is worth its length where it saves at least half."""
    size, new = (sum(look[key] for look in looks) for key in ("bytes", "changed"))
    return all(look["fits"] for look in looks) and 2 * new <= size
