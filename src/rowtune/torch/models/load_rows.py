"""`load_rows`: put the rows of files that `Handle.save` wrote into a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from rowtune.errors import PatchError
from rowtune.patch import Patch
from rowtune.torch.models import row_files
from rowtune.torch.models.convert import larger
from rowtune.torch.models.handle import Handle
from rowtune.torch.models.row_files import Path
from rowtune.torch.models.table_of_model import table_of
from rowtune.torch.models.train_rows import train_rows


def load_rows(
    model: nn.Module,
    *paths: Path,
    tokenizer: Any = None,
    module: str | nn.Module | None = None,
    force: bool = False,
) -> Handle:
    """Put the rows of one or more files into a model; it is converted as by `train_rows`.

    Parameters
    ----------
    *paths
        Files of disjoint rows, all for this model's table.
    tokenizer : optional
        Gets those of the files' tokens that it has not, as text; they must have the ids there
        that they had. How an AddedToken matches is not in the files: save the tokenizer too.
    force : bool
        Take rows that belong to another base.

    Raises
    ------
    PatchError
        A damaged file, one for another base, two that hold the same row, or tokens that have
        other ids in this tokenizer. No row has been put in then.
    """
    files = [(path, row_files.read(path)) for path in paths]
    if not files:
        raise PatchError("load_rows got no file; expected load_rows(model, path, ...)")
    first = files[0][1]
    for path, parts in files[1:]:
        if set(parts) != set(first) or parts["embedding"].shape != first["embedding"].shape:
            raise PatchError(f"{path} and {files[0][0]} are not for the same tables")
    _refuse_overlap(files)
    _give_tokens(files, tokenizer)
    table, num_rows = table_of(model, module), first["embedding"].shape[0]
    if num_rows > len(table.weight):
        table = larger(model, module, num_rows)
    # Rows that trained in a wider dtype than the model's go on in it.
    dtype = table.weight.dtype
    for _, parts in files:
        dtype = torch.promote_types(dtype, row_files.rows_of(parts["embedding"]).dtype)
    ids = np.concatenate([parts["embedding"].ids for _, parts in files])
    handle = train_rows(model, rows=ids, init=None, module=module, head="head" in first,
                        dtype=dtype)  # fmt: skip
    words = [parts["embedding"].tokens for _, parts in files]
    if all(w is not None for w in words):
        named = dict(zip(ids.tolist(), (t for w in words for t in w or []), strict=True))
        handle.tokens = [named[i] for i in handle.ids.tolist()]
    try:
        row_files.put(files, handle.blocks(), force)
    except PatchError:
        handle.remove()
        raise
    return handle


def _refuse_overlap(files: list[tuple[Path, dict[str, Patch]]]) -> None:
    seen: dict[int, Path] = {}
    for path, parts in files:
        for i in parts["embedding"].ids.tolist():
            if i in seen:
                raise PatchError(f"{path} and {seen[i]} both hold row {i}; load disjoint rows")
            seen[i] = path


def _give_tokens(files: list[tuple[Path, dict[str, Patch]]], tokenizer: Any) -> None:
    if tokenizer is None:
        return
    known = tokenizer.get_vocab()
    wanted = {
        token: i
        for _, parts in files
        for token, i in zip(
            parts["embedding"].tokens or [], parts["embedding"].ids.tolist(), strict=False
        )
    }
    new = [t for t in sorted(wanted, key=lambda t: wanted[t]) if t not in known]
    tokenizer.add_tokens(new)
    for token, i in zip(wanted, tokenizer.convert_tokens_to_ids(list(wanted)), strict=True):
        if i != wanted[token]:
            raise PatchError(
                f"token {token!r} has id {i} in this tokenizer, and {wanted[token]} in the file; "
                "load the tokenizer that was saved with the rows"
            )
