"""Patches: files with the trained rows only, and the fingerprint of the base they belong to."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.atomic import replacing
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
    base_rows: int  # rows of the base; the rest were added
    columns: NDArray[np.int64] | None = None
    added: NDArray[Any] | None = None  # (added rows, D), with columns: their frozen ones are here
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
        if patch.added is not None:
            tensors["added"] = patch.added
    if patch.steps is not None:
        tensors["steps"] = patch.steps
        tensors |= {_STATE + name: array for name, array in patch.state.items()}
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    facts = {
        "format": _FORMAT,
        "fingerprint": patch.fingerprint,
        "shape": json.dumps([*patch.shape, patch.base_rows]),
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
        num_rows, width, base_rows = map(int, json.loads(facts["shape"]))
        patch = Patch(
            ids=tensors.pop("ids"),
            rows=tensors.pop("rows"),
            fingerprint=facts["fingerprint"],
            shape=(num_rows, width),
            base_rows=base_rows,
            columns=tensors.pop("columns", None),
            added=tensors.pop("added", None),
            rule=facts["rule"] or None,
            steps=tensors.pop("steps", None),
            state={
                name.removeprefix(_STATE): array
                for name, array in tensors.items()
                if name.startswith(_STATE)
            },
        )
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise PatchError(f"{path}: not a whole patch, {error!r} is missing or wrong") from None
    _check(patch, path)
    return patch


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
        and patch.rows.dtype == dtype.newbyteorder("=")
        and np.array_equal(patch.ids, ids)
        and same_columns
    ):
        return
    raise PatchError(
        f"{path} holds {len(patch.ids)} rows of a {patch.shape} {patch.rows.dtype} table; this one "
        f"trains {len(ids)} rows of {shape} {dtype}, and they are not the same. "
        "rowtune.apply_patch puts a patch on a base"
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
    columns, added = patch.columns, num_rows - patch.base_rows
    fits = (
        _are_ascending(ids, num_rows)
        and (columns is None or _are_ascending(columns, width))
        and rows.dtype.kind == "f"
        and rows.shape == (len(ids), width if columns is None else len(columns))
        and 0 <= added <= len(ids)
        # Rows that were added all train: they are the last ids, and no other.
        and np.array_equal(ids[len(ids) - added :], np.arange(patch.base_rows, num_rows))
        and (patch.added is None or patch.added.shape == (added, width))
        and (patch.added is not None) == (columns is not None and added > 0)
        and all(a.shape == rows.shape and a.dtype.kind == "f" for a in patch.state.values())
        and (patch.steps is None or _are_steps(patch.steps, len(ids)))
    )
    if not fits:
        raise PatchError(f"{path} is damaged: its ids, rows and shape do not fit each other")


def _are_steps(steps: NDArray[Any], count: int) -> bool:
    return steps.shape == (count,) and steps.dtype == np.int32 and bool((steps >= 0).all())


def _are_ascending(ids: NDArray[Any], size: int) -> bool:
    return (
        ids.ndim == 1
        and ids.dtype == np.int64
        and not bool((np.diff(ids) <= 0).any())
        and (len(ids) == 0 or bool(ids[0] >= 0 and ids[-1] < size))
    )
