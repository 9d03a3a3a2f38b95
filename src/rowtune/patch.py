"""Patches: files with the trained rows only, and the fingerprint of the base they belong to."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rowtune.atomic import replacing
from rowtune.base import as_base, fingerprint
from rowtune.errors import PatchError

_FORMAT = "rowtune.patch.1"
_STATE = "state."


@dataclass(frozen=True)
class Patch:
    """Trained rows of one table, as they are in a file.

    ``rows[i]`` belongs to id ``ids[i]``; with ``columns`` it holds those only.
    """

    ids: NDArray[np.int64]  # (k,) ascending
    rows: NDArray[Any]  # (k, D), or (k, columns)
    fingerprint: str  # of the base
    shape: tuple[int, int]  # of the table with the patch on it: rows that were added count
    columns: NDArray[np.int64] | None = None
    rule: str | None = None
    steps: NDArray[np.int32] | None = None  # (k,), with the state
    state: dict[str, NDArray[Any]] = field(default_factory=dict)


def write_patch(patch: Patch, path: str | os.PathLike[str]) -> None:
    """Write a patch as safetensors; the file appears whole or not at all.

    Raises
    ------
    OSError
        No such folder, no permission, no space left: an older file of this name is kept.
    """
    from safetensors.numpy import save  # noqa: PLC0415 - `import rowtune` stays light

    tensors = {"ids": patch.ids, "rows": patch.rows}
    if patch.columns is not None:
        tensors["columns"] = patch.columns
    if patch.steps is not None:
        tensors["steps"] = patch.steps
        tensors |= {_STATE + name: array for name, array in patch.state.items()}
    tensors = {name: _little_endian(array) for name, array in tensors.items()}
    facts = {
        "format": _FORMAT,
        "fingerprint": patch.fingerprint,
        "shape": json.dumps(patch.shape),
        "rule": patch.rule or "",
    }
    with replacing(path) as file:
        file.write(save(tensors, metadata=facts))


def read_patch(path: str | os.PathLike[str]) -> Patch:
    """Read a patch and check that it is whole.

    Raises
    ------
    PatchError
        Not a patch, or a damaged one.
    FileNotFoundError
        No such file.
    """
    tensors, facts = _read(Path(path))
    try:
        shape = json.loads(facts["shape"])
        patch = Patch(
            ids=tensors.pop("ids"),
            rows=tensors.pop("rows"),
            fingerprint=facts["fingerprint"],
            shape=(int(shape[0]), int(shape[1])),
            columns=tensors.pop("columns", None),
            rule=facts["rule"] or None,
            steps=tensors.pop("steps", None),
            state={name.removeprefix(_STATE): array for name, array in tensors.items()},
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise PatchError(f"{path}: not a whole patch, {error!r} is missing or wrong") from None
    _check(patch, path)
    return patch


def apply_patch(
    base: ArrayLike, *paths: str | os.PathLike[str], force: bool = False
) -> NDArray[Any]:
    """A new table: ``base`` with the rows of the patches in place of its own.

    Parameters
    ----------
    base : N x D floats
        The table that the patches were trained on; it is not changed.
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
        if patch.shape[1] != table.shape[1] or patch.rows.dtype != table.dtype:
            raise PatchError(
                f"{path} holds rows of {patch.shape[1]} {patch.rows.dtype}; "
                f"the base has {table.shape[1]} {table.dtype}"
            )
    num_rows = max([len(table), *(patch.shape[0] for patch in patches)])
    result = np.zeros((num_rows, table.shape[1]), dtype=table.dtype)
    result[: len(table)] = table
    written = np.zeros(
        result.shape if any(p.columns is not None for p in patches) else num_rows, bool
    )
    for patch, path in zip(patches, paths, strict=True):
        place: Any = patch.ids if patch.columns is None else np.ix_(patch.ids, patch.columns)
        _refuse_overlap(written, place, patch, path)
        result[place] = patch.rows
        written[place] = True
    return result


def check_fingerprint(patch: Patch, path: str | os.PathLike[str], own: str) -> None:
    """Raise `PatchError` where ``own``, a table's fingerprint, is not that of the patch's base."""
    if patch.fingerprint != own:
        raise PatchError(
            f"{path} was trained on another base (fingerprint {patch.fingerprint[:12]}..., "
            f"this one has {own[:12]}...); pass force=True to use it all the same"
        )


def check_fits(
    patch: Patch,
    path: str | os.PathLike[str],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    ids: NDArray[np.int64],
    columns: NDArray[np.int64] | None,
) -> None:
    """Raise `PatchError` unless a table trains the very rows and columns that the patch holds."""
    same_columns = (
        patch.columns is columns
        if patch.columns is None or columns is None
        else np.array_equal(patch.columns, columns)
    )
    if (
        patch.shape == shape
        and patch.rows.dtype == dtype
        and np.array_equal(patch.ids, ids)
        and same_columns
    ):
        return
    raise PatchError(
        f"{path} holds {len(patch.ids)} rows of a {patch.shape} {patch.rows.dtype} table; this one "
        f"trains {len(ids)} rows of {shape} {dtype}, and they are not the same. "
        "rowtune.apply_patch puts a patch on a base"
    )


def _refuse_overlap(
    written: NDArray[np.bool_], place: Any, patch: Patch, path: str | os.PathLike[str]
) -> None:
    taken = written[place].reshape(len(patch.ids), -1).any(axis=1)
    if taken.any():
        raise PatchError(
            f"{path} holds row {patch.ids[taken][0]}, which another patch holds too "
            f"({int(taken.sum())} rows in all); apply patches of disjoint rows"
        )


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    if not path.is_file():
        raise FileNotFoundError(f"no patch at {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            facts = file.metadata() or {}
            if facts.get("format") != _FORMAT:
                raise PatchError(f"{path} is a safetensors file, but not a patch of this format")
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except SafetensorError as error:
        raise PatchError(f"{path} is not a patch, or a damaged one: {error}") from None


def _check(patch: Patch, path: str | os.PathLike[str]) -> None:
    """The parts of a patch must fit each other, whoever wrote it."""
    ids, rows, (num_rows, width) = patch.ids, patch.rows, patch.shape
    columns = patch.columns
    if columns is not None:
        width = len(columns)
    wrong = (
        ids.ndim != 1
        or ids.dtype != np.int64
        or rows.dtype.kind != "f"
        or rows.shape != (len(ids), width)
        or bool((np.diff(ids) <= 0).any())
        or (len(ids) > 0 and not 0 <= ids[0] <= ids[-1] < num_rows)
        or (columns is not None and not _are_columns(columns, patch.shape[1]))
        or (patch.steps is not None and patch.steps.shape != ids.shape)
        or any(array.shape != rows.shape for array in patch.state.values())
    )
    if wrong:
        raise PatchError(f"{path} is damaged: its ids, rows and shape do not fit each other")


def _are_columns(columns: NDArray[Any], width: int) -> bool:
    return (
        columns.ndim == 1
        and columns.dtype == np.int64
        and not bool((np.diff(columns) <= 0).any())
        and (len(columns) == 0 or 0 <= columns[0] <= columns[-1] < width)
    )


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """safetensors writes bytes as they lie in memory, and calls them little-endian."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
