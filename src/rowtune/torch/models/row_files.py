"""Token rows in patch files: one patch for the table, and one for a head that has its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rowtune.errors import PatchError
from rowtune.patch import Patch, check_fingerprint
from rowtune.patch_file import read_patches, write_patches
from rowtune.torch.base import fingerprint
from rowtune.torch.models.convert import Module
from rowtune.torch.parameter import RowParameter
from rowtune.torch.patches import tensor_of
from rowtune.torch.views import array_of

Path = str | os.PathLike[str]
Parts = Mapping[str, Patch]


def write(path: Path, ids: Tensor, tokens: list[str] | None, modules: Mapping[str, Module]) -> None:
    """Write the rows of modules, by the name of their table.

    Raises
    ------
    OSError
        The file cannot be written; an older one of this name is kept.
    """
    write_patches({name: _patch(ids, tokens, m) for name, m in modules.items()}, path)


def _patch(ids: Tensor, tokens: list[str] | None, module: Module) -> Patch:
    assert module.base is not None
    whole, frozen = _fingerprints(module, ids)
    return Patch(
        ids=ids.numpy(),
        rows=array_of(module.block),
        fingerprint=whole,
        shape=(module.base.shape[0], module.base.shape[1]),
        base_rows=len(module.base),
        bits_of="bfloat16" if module.block.dtype == torch.bfloat16 else "",
        frozen=frozen,
        tokens=tokens,
    )


def _fingerprints(module: Module, ids: Tensor) -> tuple[str, str]:
    """Of the base, and of its frozen rows: seconds for a large one, and it hardly ever changes."""
    base = module.base
    assert base is not None
    known = getattr(module, "_known_fingerprints", None)
    if known is None or known[0] is not base or known[1] != base._version:
        both = fingerprint(base), fingerprint(base, without=ids.numpy())
        known = (base, base._version, both)
        module.__dict__["_known_fingerprints"] = known
    found: tuple[str, str] = known[2]
    return found


def read(path: Path) -> dict[str, Patch]:
    """The patches of a file that `write` wrote.

    Raises
    ------
    PatchError
        A damaged file, or one of something else.
    """
    parts = read_patches(path)
    if not set(parts) <= {"embedding", "head"} or "embedding" not in parts:
        raise PatchError(f"{path} holds {', '.join(parts) or 'a table'}; expected rows of tokens")
    return parts


def read_for(
    path: Path, ids: Tensor, tokens: list[str] | None, modules: Mapping[str, Module]
) -> dict[str, Patch]:
    """As `read`, for exactly these rows of these modules.

    Raises
    ------
    PatchError
        A file of other rows or tables.
    """
    parts = read(path)
    if set(parts) != set(modules):
        raise PatchError(
            f"{path} holds {', '.join(sorted(parts))}; expected {', '.join(sorted(modules))}"
        )
    for patch in parts.values():
        if patch.tokens != tokens or patch.ids.tolist() != ids.tolist():
            raise PatchError(f"{path} holds the rows of other tokens than those that train here")
    return parts


def put(files: Sequence[tuple[Path, Parts]], modules: Mapping[str, Module], force: bool) -> None:
    """Put the rows of files, whose ids together are those of the modules, into their blocks.

    Raises
    ------
    PatchError
        A file for another base, unless ``force``. Nothing is changed then.
    """
    order = np.concatenate([parts["embedding"].ids for _, parts in files]).argsort()
    found: dict[RowParameter, Tensor] = {}
    for name, module in modules.items():
        assert module.base is not None
        if not force:
            for path, parts in files:
                _check_base(parts[name], path, module.base)
        rows = [rows_of(parts[name]).to(module.block.dtype) for _, parts in files]
        found[module.block] = torch.cat(rows)[torch.from_numpy(order)]
    with torch.no_grad():
        for block, taken in found.items():
            block.copy_(taken)


def _check_base(patch: Patch, path: Path, base: Tensor) -> None:
    """The rows that a patch brings may have been anything: what a resized table had in them was
    drawn at random. So may be what stands behind its base, where this one was made larger.
    """
    known = base[: patch.base_rows]
    if not patch.frozen or patch.frozen != fingerprint(known, without=patch.ids):
        check_fingerprint(patch, path, fingerprint(base))


def rows_of(patch: Patch) -> Tensor:
    """Its rows (k, D) in the dtype that they were written in."""
    is_half = patch.bits_of == "bfloat16"
    return tensor_of(patch.rows, torch.bfloat16 if is_half else torch.float32)
