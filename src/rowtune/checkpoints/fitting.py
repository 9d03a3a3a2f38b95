"""Whether a table is one that a save can be loaded into, and what to do if it is not."""

from __future__ import annotations

from typing import Any

from rowtune.checkpoints.part import UNCHECKED, Part
from rowtune.errors import CheckpointError


def check(name: str, part: Part, about: dict[str, Any], where: str) -> None:
    """Compare a part with what a manifest says of its table.

    Raises
    ------
    CheckpointError
        Other facts, arrays, or rows.
    """
    for key in sorted({*part.facts, *about["facts"]}):
        saved, own = about["facts"].get(key), part.facts.get(key)
        if saved != own and not any(str(fact).startswith(UNCHECKED) for fact in (saved, own)):
            raise CheckpointError(
                f"{where} holds {name!r} with {key} {_short(saved)}, and this table has "
                f"{_short(own)}; make the table as it was when it was saved"
            )
    _check_arrays(name, part, about["arrays"], where)
    more = about["total"] - part.total
    if more > 0:
        raise CheckpointError(
            f"{where} holds {about['total']} rows of {name!r}, and this block has {part.total}: "
            f"it was grown before it was saved. Grow this table as well, by grow of {more} rows: "
            f"grow({more})"
        )
    if more < 0:
        raise CheckpointError(
            f"{where} holds {about['total']} rows of {name!r}, and this block has {part.total}; "
            "load before the table is grown"
        )


def _check_arrays(name: str, part: Part, saved: dict[str, Any], where: str) -> None:
    own = part.kinds
    if sorted(saved) != sorted(own):
        raise CheckpointError(
            f"{where} holds {', '.join(sorted(saved))} of {name!r}, and this table has "
            f"{', '.join(sorted(own))}; give it the rule and the options that it was saved with"
        )
    for key, kind in saved.items():
        if kind != own[key]:
            raise CheckpointError(
                f"{where} holds {key} of {name!r} as {_kind(kind)}, and this table has it as "
                f"{_kind(own[key])}"
            )
        if not part.arrays[key].flags.writeable:
            raise CheckpointError(f"{key} of {name!r} is read-only here; rows are copied into it")


def _kind(kind: list[Any]) -> str:
    return f"{kind[0].lstrip('<|')} of k x {' x '.join(map(str, kind[1:] or [1]))}"


def _short(fact: str | None) -> str:
    if fact is None:
        return "none"
    return repr(fact if len(fact) <= 40 else f"{fact[:12]}...")
