"""Put patches on their base: a new table, with the trained rows in place."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rowtune.base import Base, as_base, copy_into, fingerprint
from rowtune.errors import PatchError
from rowtune.patch import Patch, check_fingerprint
from rowtune.patch_file import read_patch
from rowtune.quantized import Quantized


def apply_patch(
    base: ArrayLike | Quantized, *paths: str | os.PathLike[str], force: bool = False
) -> NDArray[Any]:
    """A new table: ``base`` with the rows of the patches in place of its own.

    Parameters
    ----------
    base : N x D floats, or Quantized
        The table that the patches were trained on; it is not changed. The new one has the dtype of
        the patches where that is wider, as it is over a `Quantized`.
    *paths
        Patches of disjoint rows, in any order.
    force : bool
        Apply a patch to a base that is not its own.

    Raises
    ------
    PatchError
        A damaged patch, one for another base, or two that hold the same row.
    """
    table = as_base(base)
    patches = [read_patch(path) for path in paths]
    own = fingerprint(table) if patches and not force else ""
    for patch, path in zip(patches, paths, strict=True):
        if not force:
            check_fingerprint(patch, path, own)
        _check_base(patch, path, table, force)
    num_rows = max([len(table), *(patch.shape[0] for patch in patches)])
    dtype = np.result_type(table.dtype, *(patch.rows.dtype for patch in patches))
    result = np.zeros((num_rows, table.shape[1]), dtype)
    copy_into(result, table)
    written = np.zeros(
        result.shape if any(p.columns is not None for p in patches) else num_rows, bool
    )
    for patch, path in zip(patches, paths, strict=True):
        place: Any = patch.ids if patch.columns is None else np.ix_(patch.ids, patch.columns)
        _refuse_overlap(written, place, patch, path)
        if patch.added is not None:
            result[patch.base_rows : patch.shape[0]] = patch.added
        result[place] = patch.rows
        written[place] = True
    return result


def _check_base(patch: Patch, path: str | os.PathLike[str], table: Base, force: bool) -> None:
    """What no insisting can mend: rows of another length or type, or ids that mean others."""
    own = (len(table), table.shape[1], str(table.dtype.newbyteorder("=")))
    # A block may have been narrower than its own base, which is known by its fingerprint.
    wider = not patch.bits_of and (not force or np.can_cast(table.dtype, patch.rows.dtype))
    if (patch.base_rows, patch.shape[1]) != own[:2] or not (wider or patch.dtype_name == own[2]):
        raise PatchError(
            f"{path} was made for a base of {patch.base_rows} x {patch.shape[1]} "
            f"{patch.dtype_name}; this one is {own[0]} x {own[1]} {own[2]}"
        )


def _refuse_overlap(
    written: NDArray[np.bool_], place: Any, patch: Patch, path: str | os.PathLike[str]
) -> None:
    if patch.rows.size == 0:
        return
    taken = written[place].reshape(len(patch.ids), -1).any(axis=1)
    if taken.any():
        raise PatchError(
            f"{path} holds row {patch.ids[taken][0]}, which another patch holds too "
            f"({int(taken.sum())} rows in all); apply patches of disjoint rows"
        )
