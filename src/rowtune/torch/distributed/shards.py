"""What of a table's block lies on this rank. `rowtune.torch.saves` saves it by itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """Slots ``begin`` to ``begin`` + n - 1 of a block of ``total`` rows.

    Attributes
    ----------
    total : int
        k, the rows of the block on all ranks together.
    begin : int
        The first slot of this rank's part.
    arrays : dict of str to tensor
        Over the very memory that trains, so what is written here counts: ``"rows"`` (n, C),
        ``"steps"`` int32 (n,) where the way counts them, and ``"state.<name>"`` (n, C) or (n, 1).
    facts : dict of str to str
        ``rule``, ``shape`` as "N x D", ``dtype``, and ``fingerprint`` of the base ("" where every
        row trains).
    """

    total: int
    begin: int
    arrays: dict[str, Tensor]
    facts: dict[str, str] = field(default_factory=dict)
