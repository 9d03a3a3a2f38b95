"""Which rows are not as they were at the last save, whoever has written them.

Step counts do not tell: `rowtune.Table.set`, a patch, ``block[...] = ...`` and catch-up write rows
too. So 8 bytes are kept of every row: a hash of all that is remembered of it. The odds that a row
which has changed is missed are 2^-64: see `rowtune.kernels.row_hash`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.checkpoints.part import Part
from rowtune.kernels.row_hash import RowHash


@dataclass(frozen=True)
class Snapshot:
    """What is known of a part as it was."""

    total: int
    begin: int
    kinds: dict[str, list[Any]]
    facts: dict[str, str]
    hash: RowHash
    hashes: NDArray[np.uint64]  # one for each row

    def fits(self, part: Part) -> bool:
        """Whether the part is the same table, in the same state or a later one."""
        return (
            part.total >= self.total and part.kinds == self.kinds and dict(part.facts) == self.facts
        )


def snapshot(part: Part, before: Snapshot | None = None) -> Snapshot:
    """One pass over all bytes of a part; with the keys of ``before``, if it fits."""
    arrays = [part.arrays[name] for name in sorted(part.arrays)]
    known = before is not None and before.fits(part)
    own = (
        before.hash
        if before is not None and known
        else RowHash([int(array.dtype.itemsize * np.prod(array.shape[1:])) for array in arrays])
    )
    return Snapshot(part.total, part.begin, part.kinds, dict(part.facts), own, own(arrays))


def changed(before: Snapshot, now: Snapshot) -> NDArray[np.int64]:
    """Places in the part, ascending, of rows that are not as they were, or were not here before."""
    count = len(now.hashes)
    first = max(before.begin, now.begin)
    last = min(before.begin + len(before.hashes), now.begin + count)
    differs = np.ones(count, dtype=bool)
    if first < last:
        np.not_equal(
            now.hashes[first - now.begin : last - now.begin],
            before.hashes[first - before.begin : last - before.begin],
            out=differs[first - now.begin : last - now.begin],
        )
    return np.flatnonzero(differs)
