"""Patches of a model: the trained rows of its tables, and if asked for the optimizer's state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rowtune import rules
from rowtune.errors import PatchError, RuleError
from rowtune.patch import Patch, check_fingerprint, check_fits
from rowtune.patch_file import read_patches, write_patch, write_patches
from rowtune.torch.base import fingerprint_of, is_one_row
from rowtune.torch.optim import RowOptimizer
from rowtune.torch.optim.row_state import STEP
from rowtune.torch.row_module import RowModule
from rowtune.torch.views import array_of, over

Path = str | os.PathLike[str]


def save_patch(model: nn.Module, path: Path, *, optimizer: RowOptimizer | None = None) -> None:
    """Write the trained rows of every `Embedding` and `EmbeddingBag` of a model to a small file.

    The patch of a single table is one that `rowtune.apply_patch` and `rowtune.Table` read as well.

    Parameters
    ----------
    optimizer : one of `rowtune.torch.optim`, optional
        Write what it remembers of these rows, too.

    Raises
    ------
    PatchError
        There are no such tables, or all rows of one train: it has no base that a patch could
        belong to, and ``state_dict()`` is what to save.
    OSError
        The file cannot be written; an older one of this name is kept.
    """
    _check_optimizer(optimizer)
    patches = {name: _patch_of(name, table, optimizer) for name, table in _tables(model).items()}
    if len(patches) == 1:
        write_patch(next(iter(patches.values())), path)
    else:
        write_patches(patches, path)


def load_patch(
    model: nn.Module, path: Path, *, optimizer: RowOptimizer | None = None, force: bool = False
) -> None:
    """Take rows, and with ``optimizer`` its state, from a patch of the same rows.

    Raises
    ------
    PatchError
        A damaged patch, one for another base (unless ``force``), of other tables, rows or columns,
        or without the state that was asked for. Nothing is changed then.
    """
    _check_optimizer(optimizer)
    tables, patches = _tables(model), read_patches(path)
    if len(tables) == 1 and list(patches) == [""]:
        patches = {next(iter(tables)): patches[""]}
    if set(patches) != set(tables):
        raise PatchError(
            f"{path} holds patches of {', '.join(patches)}; this model has {', '.join(tables)}"
        )
    for name, table in tables.items():
        _check(patches[name], f"{path} ({name})" if name else path, table, force)
    states = {} if optimizer is None else _states(tables, patches, optimizer, path)
    for name, table in tables.items():
        table._settle()
        _take(table, patches[name])
    if optimizer is not None:
        optimizer.set_row_states(states)


def _tables(model: nn.Module) -> dict[str, RowModule]:
    """Row modules by name, each once."""
    found = {name: m for name, m in model.named_modules() if isinstance(m, RowModule)}
    if not found:
        raise PatchError("the model has no rowtune Embedding or EmbeddingBag")
    return found


def _check_optimizer(optimizer: Any) -> None:
    if optimizer is not None and not isinstance(optimizer, RowOptimizer):
        raise RuleError(
            f"the state of a {type(optimizer).__module__}.{type(optimizer).__name__} does not go "
            "into a patch; expected one of rowtune.torch.optim, or leave optimizer out"
        )


def _base_of(name: str, table: RowModule) -> Tensor:
    base = table._base
    if base is None or is_one_row(base):
        raise PatchError(
            f"every row of {name or 'the embedding'} trains, so there is no base that a patch "
            "could belong to; save state_dict() instead"
        )
    return base


def _patch_of(name: str, table: RowModule, optimizer: RowOptimizer | None) -> Patch:
    table._settle()
    base, block = _base_of(name, table), table.block
    state: Mapping[str, Tensor] = {}
    if optimizer is not None:
        state = optimizer.row_state(block)
    return Patch(
        ids=table.rows.ids,
        rows=array_of(block),
        fingerprint=fingerprint_of(table),
        shape=(table.num_embeddings, table.embedding_dim),
        base_rows=len(base),
        columns=None if table._columns is None else table._columns.cpu().numpy(),
        added=None if table._added is None else array_of(table._added),
        rule=None if optimizer is None else optimizer.rule_name(block),
        steps=state[STEP].cpu().numpy() if state else None,
        state={key: array.cpu().numpy() for key, array in state.items() if key != STEP},
        bits_of=_name_of(block.dtype) if block.dtype == torch.bfloat16 else "",
    )


def _check(patch: Patch, path: Path, table: RowModule, force: bool) -> None:
    _base_of(str(path), table)
    if not force:
        check_fingerprint(patch, path, fingerprint_of(table))
    columns = None if table._columns is None else table._columns.cpu().numpy()
    shape = (table.num_embeddings, table.embedding_dim)
    check_fits(patch, path, shape, _name_of(table.block.dtype), table.rows.ids, columns)


def _states(
    tables: Mapping[str, RowModule], patches: Mapping[str, Patch], optimizer: RowOptimizer,
    path: Path,
) -> dict[Tensor, dict[str, Tensor]]:  # fmt: skip
    states: dict[Tensor, dict[str, Tensor]] = {}
    for name, table in tables.items():
        patch, rule = patches[name], optimizer.rule_name(table.block)
        if patch.steps is None or not _same_rule(patch.rule, rule):
            held = f"that of {patch.rule!r}" if patch.steps is not None else "none"
            raise PatchError(
                f"{path} was to give the state of rule {rule!r} for {name or 'its table'}, and "
                f"holds {held}; leave optimizer out to take the rows alone"
            )
        wide = np.float64 if table.block.dtype == torch.float64 else np.float32
        if any(array.dtype != wide for array in patch.state.values()):
            raise PatchError(f"{path} holds a state that is not {np.dtype(wide)}, as this one is")
        arrays: dict[str, Any] = {STEP: patch.steps, **patch.state}
        states[table.block] = {
            key: torch.from_numpy(array.copy()).to(table.block.device)
            for key, array in arrays.items()
        }
    try:
        optimizer.check_row_states(states)
    except RuleError as error:
        raise PatchError(f"{path}: {error}") from None
    return states


def _same_rule(one: str | None, other: str) -> bool:
    """adam and adamw differ in hyper-parameters alone, and so do others."""
    return one in rules.names() and rules.get(str(one)).function is rules.get(other).function


@torch.no_grad()
def _take(table: RowModule, patch: Patch) -> None:
    table.block.copy_(tensor_of(patch.rows, table.block.dtype))
    if patch.added is not None:
        table._added = tensor_of(patch.added, table.block.dtype).to(table.block.device)


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def tensor_of(rows: np.ndarray[Any, Any], dtype: torch.dtype) -> Tensor:
    """Rows of a patch as a tensor."""
    return over(rows.copy(), dtype)
