"""What of a table one process has: its slots, what is remembered of each, and the facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.checkpoints.tensors import NAMES
from rowtune.errors import CheckpointError

Arrays = Mapping[str, NDArray[Any]]
_KINDS = "fiub"
# A fact that begins so is not compared: somebody has said why it is not known.
UNCHECKED = "unchecked: "


def _do_nothing(whole: dict[str, NDArray[Any]]) -> None:
    pass


@dataclass(frozen=True)
class Part:
    """The slots ``begin`` to ``begin + n`` of a block of ``total`` rows.

    Attributes
    ----------
    total : int
        k, the rows of the block in all processes together.
    begin : int
        First slot of this part. The parts of all processes are the whole block, without overlap.
    arrays : dict of name to array of n x any width, over the memory of the part itself
        ``"rows"`` (n, C), and where there is a rule ``"steps"`` (n,) and ``"state.<name>"``.
        Loading writes into them.
    facts : dict of str to str
        What must be the same where it is loaded: rule, dtype, fingerprint of the base, ... A fact
        that begins with "unchecked: " (and a reason) is not compared.
    whole : dict of name to array
        What has not one row for each slot; that of rank 0 is written, in every save.
    loaded : callable
        Called with the ``whole`` arrays that were saved, when everything has been copied.
    """

    total: int
    begin: int
    arrays: Arrays
    facts: Mapping[str, str]
    whole: Arrays = field(default_factory=dict)
    loaded: Callable[[dict[str, NDArray[Any]]], None] = _do_nothing

    def __len__(self) -> int:
        return len(self.arrays["rows"])

    @property
    def end(self) -> int:
        """The slot after the last."""
        return self.begin + len(self)

    @property
    def kinds(self) -> dict[str, list[Any]]:
        """Dtype and width of each array, as JSON has them: ``["<f4", 64]``; a width for each
        dimension after the first.
        """
        return {
            name: [array.dtype.str, *array.shape[1:]] for name, array in sorted(self.arrays.items())
        }

    @property
    def row_bytes(self) -> int:
        """Bytes that are remembered of one row."""
        return sum(
            array.dtype.itemsize * int(np.prod(array.shape[1:])) for array in self.arrays.values()
        )


def parts_of(tables: Mapping[str, Any]) -> dict[str, Part]:
    """The parts of tables by name: what has a ``checkpoint_part()`` makes one.

    Raises
    ------
    CheckpointError
        Something that is no table and no part, or a part whose arrays do not fit each other.
    """
    if not isinstance(tables, Mapping) or not all(isinstance(name, str) for name in tables):
        raise CheckpointError(
            f"tables is {type(tables).__name__}; expected a dict of names and tables, such as "
            '{"items": table}'
        )
    return {name: _part_of(name, tables[name]) for name in sorted(tables)}


def _part_of(name: str, thing: Any) -> Part:
    if hasattr(thing, "checkpoint_part"):
        thing = thing.checkpoint_part()
    try:
        part = Part(
            int(thing.total),
            int(thing.begin),
            dict(thing.arrays),
            dict(thing.facts),
            dict(getattr(thing, "whole", {})),
            getattr(thing, "loaded", _do_nothing),
        )
    except AttributeError as error:
        raise CheckpointError(
            f"{name!r} is a {type(thing).__name__}, which is no table ({error}); expected a "
            "rowtune.Table or a rowtune.checkpoints.Part"
        ) from None
    _check(name, part)
    return part


def _check(name: str, part: Part) -> None:
    if "rows" not in part.arrays:
        raise CheckpointError(f"{name!r} has the arrays {sorted(part.arrays)}; expected 'rows' too")
    if "slots" in part.arrays:
        raise CheckpointError(f"{name!r} has an array 'slots', as files have; give it another name")
    for key, array in {**part.arrays, **part.whole}.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _KINDS:
            raise CheckpointError(
                f"{name!r}: {key} is {type(array).__name__}; expected numbers in a NumPy array "
                "(rowtune.torch.saves saves tensors, and what distribute has placed)"
            )
        if array.dtype.isnative and array.dtype.str not in NAMES:
            raise CheckpointError(f"{name!r}: {key} is {array.dtype}, which safetensors has not")
        if not array.dtype.isnative:
            raise CheckpointError(
                f"{name!r}: {key} has the dtype {array.dtype.str}, of another byte order; write "
                f"array.astype({array.dtype.newbyteorder('=').name!r})"
            )
    for key, array in part.arrays.items():
        if array.ndim == 0 or len(array) != len(part):
            raise CheckpointError(
                f"{name!r}: {key} has shape {array.shape}; expected {len(part)} rows, as many as "
                "'rows' has"
            )
    if part.begin < 0 or part.end > part.total:
        raise CheckpointError(
            f"{name!r}: a part of slots {part.begin} to {part.end - 1} of a block of {part.total}; "
            "begin + rows must not be more than total"
        )
    if not all(isinstance(x, str) for pair in part.facts.items() for x in pair):
        raise CheckpointError(f"{name!r}: facts are {part.facts!r}; expected text by name")
