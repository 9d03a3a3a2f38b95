"""What a state dict holds of a row module, and how one is divided anew when it is loaded.

Keys, under the module's prefix: ``block`` (k x D), ``row_ids`` (k), and for the frozen rows
``base``, of int8 codes with ``base_scales``; with chosen columns also ``columns`` and, where rows
were added, ``added``. With ``save_base = False`` the base's fingerprint stands for it. Where all
rows train there is ``weight`` alone, as in torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rowtune.torch.base import fingerprint_of, is_one_row, same_bits
from rowtune.torch.checkpoint import KEYS, Checkpoint
from rowtune.torch.parameter import RowParameter

if TYPE_CHECKING:
    from rowtune.torch.row_module import RowModule

_PIECE = 1 << 16  # rows


def add_frozen(module: RowModule, destination: dict[str, Any], prefix: str) -> None:
    """Put what the parameters do not hold into a state dict."""
    base = module._base
    if base is None:
        return
    destination[prefix + "row_ids"] = torch.from_numpy(module.rows.ids.copy())
    if module._columns is not None:
        destination[prefix + "columns"] = module._columns
    if module._added is not None:
        destination[prefix + "added"] = module._added
    if not module.save_base:
        destination[prefix + "base_fingerprint"] = _as_bytes(fingerprint_of(module))
    else:
        destination[prefix + "base"] = base[:1].clone() if is_one_row(base) else module.base
        if module._scales is not None:
            destination[prefix + "base_scales"] = module.base_scales


def translated(
    module: RowModule, state: dict[str, Any], prefix: str, assign: bool, missing: list[str],
    errors: list[str],
) -> dict[str, Any]:  # fmt: skip
    """``state`` with this module's part as ``block`` or ``weight`` alone; the base is taken here.

    Rows that were divided into base and block otherwise, a plain embedding's among them, are
    divided as this module is. What cannot be is said in ``errors``, as torch collects them.
    """
    parts = {key: state[prefix + key] for key in KEYS if prefix + key in state}
    own = {key: value for key, value in state.items() if key not in {prefix + k for k in parts}}
    said = len(errors)
    rows = _rows(module, parts, prefix, missing, errors) if parts else None
    if rows is not None and assign:
        # torch puts a checkpoint's tensor in the parameter's place; it must still be one of ours.
        rows = RowParameter(rows.detach().clone(), module.block.requires_grad)
    if rows is None and (len(errors) > said or prefix + "row_ids" in missing):
        rows = module.block.detach()  # has been said; torch need not call it missing as well
    if rows is not None:
        own[prefix + ("weight" if module._base is None else "block")] = rows
    return own


def _rows(
    module: RowModule, parts: dict[str, Tensor], prefix: str, missing: list[str], errors: list[str]
) -> Tensor | None:
    """The trainable rows of this module; its base is set on the way, if nothing is wrong."""
    if module._base is None and "weight" in parts:
        return parts["weight"]
    if "weight" not in parts and "block" in parts and "row_ids" not in parts:
        missing.append(prefix + "row_ids")
        return None
    saved = Checkpoint.of(parts)
    if saved is None:
        return None
    if saved.base is None:
        return _without_base(module, saved, parts, prefix, missing, errors)
    if saved.shape != (module.num_embeddings, module.embedding_dim):
        _tell_shapes(module, saved, prefix + ("base" if "base" in parts else "weight"), errors)
        return None
    said = len(errors)
    if module._scales is not None:
        _take_codes(module, saved, prefix, errors)
    elif module._base is not None:
        _take_base(module, saved, module._base)
    ids = torch.from_numpy(module.rows.ids.copy())
    return None if len(errors) > said else _columns_of(module, saved.rows(ids, module.block.dtype))


def _tell_shapes(module: RowModule, saved: Checkpoint, key: str, errors: list[str]) -> None:
    theirs, ours = saved.shape, (module.num_embeddings, module.embedding_dim)
    hint = ""
    if theirs[1] == ours[1] and theirs[0] > ours[0]:
        hint = f"; if it was grown, grow this one as well: grow({theirs[0] - ours[0]})"
    errors.append(
        f"size mismatch for {key}: the checkpoint has a table of {theirs}, this module of "
        f"{ours}{hint}"
    )


def _without_base(
    module: RowModule, saved: Checkpoint, parts: dict[str, Tensor], prefix: str,
    missing: list[str], errors: list[str],
) -> Tensor | None:  # fmt: skip
    """Rows alone: they fit this module only if it has their base, and trains the same ones."""
    known = parts.get("base_fingerprint")
    alike = (
        module._base is not None
        and torch.equal(saved.row_ids, torch.from_numpy(module.rows.ids.copy()))
        and saved.block.shape == module.block.shape
        and ((saved.columns is None and module._columns is None) or _same_columns(module, saved))
    )
    if not alike:
        errors.append(
            f"{prefix}block trains other rows or columns than this module, and the checkpoint has "
            "no base to divide anew; save it with save_base = True"
        )
    if known is None:
        missing.append(prefix + "base")
        return saved.block if alike else None
    if module._base is not None and not torch.equal(known.cpu(), _as_bytes(fingerprint_of(module))):
        errors[-1 if not alike else len(errors) :] = [
            f"{prefix}block was trained on another base than this module's; "
            "load the checkpoint into a module made from its own table"
        ]
        return None
    if not alike:
        return None
    if saved.added is not None:
        module._added = saved.added.detach().clone().to(module.block.device)
    return saved.block


def _take_base(module: RowModule, saved: Checkpoint, base: Tensor) -> None:
    """Frozen rows from the checkpoint. Where all have the bits that they have here, the base
    stays: it may be a memory map, and patches belong to it.
    """
    device = base.device
    if is_one_row(base):
        pad = torch.tensor([module.padding_idx])
        row = saved.rows(pad, saved.frozen_dtype)[0]
        module._hold(row.clone().to(device).expand(len(base), -1))
        return
    dtype = _dtype_for(module, saved)
    if not _agrees(module, saved, base, dtype):
        new = torch.empty(base.shape, dtype=dtype)
        for at in range(0, len(base), _PIECE):
            new[at : at + _PIECE] = _base_rows(
                module, saved, at, min(at + _PIECE, len(base)), dtype
            )
        module._hold(new.to(device))
    _take_added(module, saved, len(base))


def _take_added(module: RowModule, saved: Checkpoint, first: int) -> None:
    """The frozen columns of rows that were added, from the ``first`` on."""
    if module._columns is None or first == module.num_embeddings:
        return
    added = torch.arange(first, module.num_embeddings)
    rows = saved.rows(added, module.block.dtype) if saved.added is None else saved.added
    module._added = rows.detach().clone().to(module.block.device)


def _take_codes(module: RowModule, saved: Checkpoint, prefix: str, errors: list[str]) -> None:
    """The same for int8 codes, into which no row can be put that was trained."""
    base, scales = module._base, module._scales
    assert base is not None
    assert scales is not None
    if saved.base is None or saved.scales is None:
        errors.append(
            f"{prefix}base is of floats in the checkpoint, and of int8 codes in this module; load "
            "it into a module that is made from the table that it was trained on"
        )
    elif (module.rows.slots(saved.row_ids[saved.row_ids < len(base)].numpy()) < 0).any():
        errors.append(
            f"{prefix}block holds rows that are frozen in this module, and int8 codes cannot hold "
            "what was trained; choose those rows with train=, too"
        )
    elif _freezes_columns(module, saved):
        errors.append(
            f"{prefix}block holds columns that are frozen in this module, and int8 codes cannot "
            "hold what was trained; choose those columns with columns=, too"
        )
    else:
        if not (_same(saved.base, base) and _same(saved.scales[:, None], scales[:, None])):
            device = base.device
            module._hold(saved.base.clone().to(device), saved.scales.clone().to(device))
        _take_added(module, saved, len(base))


def _freezes_columns(module: RowModule, saved: Checkpoint) -> bool:
    """Whether a column that was trained is frozen here."""
    if module._columns is None:
        return False
    theirs = torch.arange(saved.shape[1]) if saved.columns is None else saved.columns.cpu()
    return not torch.isin(theirs, module._columns.cpu()).all()


def _same(one: Tensor, other: Tensor) -> bool:
    return same_bits(one, other) if one.is_floating_point() else torch.equal(one.cpu(), other.cpu())


def _dtype_for(module: RowModule, saved: Checkpoint) -> torch.dtype:
    """Of a base from the checkpoint: its own, or the wider one of its block where rows or columns
    that were trained there are frozen here.
    """
    ids = saved.row_ids[saved.row_ids < module.num_embeddings].numpy()
    if (module.rows.slots(ids) >= 0).all() and not _freezes_columns(module, saved):
        return saved.frozen_dtype
    return torch.promote_types(saved.frozen_dtype, saved.block.dtype)


def _agrees(module: RowModule, saved: Checkpoint, base: Tensor, dtype: torch.dtype) -> bool:
    if base.dtype != dtype or base.is_meta:
        return False
    for at in range(0, len(base), _PIECE):
        end = min(at + _PIECE, len(base))
        ours, theirs = base[at:end].cpu(), _base_rows(module, saved, at, end, dtype)
        if same_bits(ours, theirs):
            continue
        if module._columns is not None:
            return False  # a trainable row has frozen columns
        frozen = _frozen_here(module, at, end)
        if not same_bits(ours[frozen], theirs[frozen]):
            return False
    return True


def _base_rows(
    module: RowModule, saved: Checkpoint, begin: int, end: int, dtype: torch.dtype
) -> Tensor:
    """Rows begin to end of a base for this module: as trained where they are frozen here."""
    ids = torch.arange(begin, end)
    rows = saved.original(ids).to(dtype)
    now_frozen = saved.trains(ids)
    if module._columns is None or _same_columns(module, saved):
        now_frozen &= _frozen_here(module, begin, end)
    places = now_frozen.nonzero().squeeze(1)
    rows[places] = saved.rows(ids[places], rows.dtype)
    return rows


def _frozen_here(module: RowModule, begin: int, end: int) -> Tensor:
    """Which of the rows begin to end are frozen: never a mask of the whole table."""
    return torch.from_numpy(module.rows.slots(np.arange(begin, end)) < 0)


def _same_columns(module: RowModule, saved: Checkpoint) -> bool:
    ours, theirs = module._columns, saved.columns
    return ours is not None and theirs is not None and torch.equal(ours.cpu(), theirs.cpu())


def _columns_of(module: RowModule, rows: Tensor) -> Tensor:
    columns = module._columns
    return rows if columns is None else rows.index_select(1, columns.to(rows.device))


def _as_bytes(hexadecimal: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(hexadecimal)), dtype=torch.uint8)
