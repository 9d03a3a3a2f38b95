"""What `train_rows` returns: the rows of chosen tokens, and what can be done with them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rowtune.errors import FrozenRowError, PatchError
from rowtune.patch import Patch, check_fingerprint
from rowtune.patch_file import read_patches, write_patches
from rowtune.torch.base import fingerprint
from rowtune.torch.models import peft_files
from rowtune.torch.models.table_of_model import Reader, put
from rowtune.torch.models.token_rows import TokenEmbedding, TokenHead
from rowtune.torch.parameter import RowParameter
from rowtune.torch.patches import array_of, tensor_of

Module = TokenEmbedding | TokenHead
# Each with the patches that it holds, by name.
Files = Sequence[tuple[str | os.PathLike[str], Mapping[str, Patch]]]


class Handle:
    """The trainable rows of a model, made by `train_rows`.

    Attributes
    ----------
    ids : int64 tensor (k,), ascending: the rows that train
    tokens : list of str in the order of ``ids``, or None where rows were named by id
    rows : Parameter (k, D)
        Theirs, read by the embedding and by a tied head.
    head_rows : Parameter (k, D) or None
        Those of a head with a table of its own, if they train.
    """

    def __init__(
        self,
        model: nn.Module,
        ids: Tensor,
        tokens: list[str] | None,
        converted: list[tuple[Reader, Module]],
    ) -> None:
        self.model, self.ids, self.tokens = model, ids, tokens
        self._converted = converted
        blocks = list(dict.fromkeys(module.block for _, module in converted))
        self.rows: RowParameter = blocks[0]
        self.head_rows: RowParameter | None = blocks[1] if len(blocks) > 1 else None
        self._is_merged = False
        self._install()

    def parameters(self) -> list[nn.Parameter]:
        """All that trains, for an optimizer; a model's other parameters are not among it."""
        return [self.rows] if self.head_rows is None else [self.rows, self.head_rows]

    # --- on and off ----------------------------------------------------------------------------

    def disable(self) -> None:
        """Let the model read its own rows, as they were."""
        self._switch(False)

    def enable(self) -> None:
        """Let it read the trained rows again."""
        self._switch(True)

    @contextmanager
    def disabled(self) -> Iterator[Handle]:
        """``with handle.disabled(): ...``: the model as it was, in there."""
        before = [module.enabled for _, module in self._converted]
        self.disable()
        try:
            yield self
        finally:
            for (_, module), enabled in zip(self._converted, before, strict=True):
                module.enabled = enabled

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def _switch(self, enabled: bool) -> None:
        for _, module in self._converted:
            module.enabled = enabled

    # --- into the model and out of it ----------------------------------------------------------

    def merge(self) -> nn.Module:
        """Give the model its own classes back, with tables in which the trained rows are in their
        places; the others are copied as the bits that they were. `unmerge` undoes it exactly.
        """
        if self._is_merged:
            return self.model
        merged: dict[RowParameter, nn.Parameter] = {}
        self._uninstall()
        for reader, module in self._converted:
            rows = module.block
            if rows not in merged:
                assert module.base is not None
                whole = module.base.index_copy(0, self.ids.to(module.base.device), rows.detach())
                merged[rows] = nn.Parameter(whole, requires_grad=False)
            plain = _like(reader.module)
            plain._parameters["weight"] = merged[rows]
            put(self.model, reader.name, plain)
        self._is_merged = True
        return self.model

    def unmerge(self) -> Handle:
        """Take a merge back: the model has the base and the rows apart again."""
        if self._is_merged:
            self._is_merged = False
            self._install()
        return self

    def remove(self) -> nn.Module:
        """Give the model back as it was, without the rows."""
        self._uninstall()
        for reader, _ in self._converted:
            put(self.model, reader.name, reader.module)
        return self.model

    def _install(self) -> None:
        for reader, module in self._converted:
            put(self.model, reader.name, module)
        for name, stand_in in (("resize_token_embeddings", _Refusal()), ("tie_weights", _Tied())):
            if hasattr(self.model, name):
                setattr(self.model, name, stand_in)

    def _uninstall(self) -> None:
        for name in ("resize_token_embeddings", "tie_weights"):
            self.model.__dict__.pop(name, None)

    # --- files ---------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write rows, ids and tokens, and the fingerprint of the base: some kilobytes.

        Raises
        ------
        OSError
            The file cannot be written; an older one of this name is kept.
        """
        write_patches({name: self._patch(m) for name, m in self.blocks().items()}, path)

    def load(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Take the rows of a file.

        Raises
        ------
        PatchError
            A damaged file, one for another base (unless ``force``), or of other rows. Nothing is
            changed then.
        """
        patches, blocks = read_patches(path), self.blocks()
        if set(patches) != set(blocks):
            raise PatchError(
                f"{path} holds {', '.join(sorted(patches))}; expected {', '.join(sorted(blocks))}"
            )
        for patch in patches.values():
            if patch.tokens != self.tokens or patch.ids.tolist() != self.ids.tolist():
                raise PatchError(
                    f"{path} holds the rows of other tokens than those that train here"
                )
        self.take([(path, patches)], force)

    def take(self, files: Files, force: bool) -> None:
        """Take the rows of files whose ids, together, are those that train here.

        Raises
        ------
        PatchError
            A file for another base, unless ``force``. Nothing is changed then.
        """
        order = np.concatenate([parts["embedding"].ids for _, parts in files]).argsort()
        found = {}
        for name, module in self.blocks().items():
            assert module.base is not None
            if not force:
                own = fingerprint(module.base)
                for path, parts in files:
                    check_fingerprint(parts[name], path, own)
            rows = np.concatenate([parts[name].rows for _, parts in files])[order]
            found[module.block] = tensor_of(rows, module.block.dtype)
        with torch.no_grad():
            for block, taken in found.items():
                block.copy_(taken)

    def save_peft(self, folder: str | os.PathLike[str]) -> None:
        """Write the rows as an adapter of PEFT's TrainableTokens: see `peft_files`."""
        rows = {reader.name: module.block for reader, module in self._converted}
        # PEFT ties a head by itself, and warns where it is told to.
        targets = [
            reader.name
            for reader, module in self._converted
            if isinstance(module, TokenEmbedding) or module.block is self.head_rows
        ]
        peft_files.write(folder, self.ids, rows, targets)

    def load_peft(self, folder: str | os.PathLike[str]) -> None:
        """Take the rows of such an adapter. It does not say which base it was trained on.

        Raises
        ------
        PatchError
            Rows of other tokens or modules, or two for one row. Nothing is changed then.
        """
        ids, found = peft_files.read(folder)
        order = ids.argsort()
        if ids[order].tolist() != self.ids.tolist():
            raise PatchError(f"{folder} holds the rows of other ids than those that train here")
        mine: dict[RowParameter, Tensor] = {}
        for reader, module in self._converted:
            rows = found.get(reader.name)
            if rows is None:
                continue
            rows = rows[order]
            if rows.shape != module.block.shape:
                raise PatchError(
                    f"{folder}: rows of {reader.name} have shape {tuple(rows.shape)}; expected "
                    f"{tuple(module.block.shape)}"
                )
            if module.block in mine and not torch.equal(mine[module.block], rows):
                raise PatchError(
                    f"{folder} has other rows for {reader.name} than for what it shares"
                )
            mine[module.block] = rows
        if set(mine) != {module.block for _, module in self._converted}:
            names = ", ".join(reader.name for reader, _ in self._converted)
            raise PatchError(f"{folder} has rows for {', '.join(found)}; expected {names}")
        with torch.no_grad():
            for block, rows in mine.items():
                block.copy_(rows)

    def blocks(self) -> dict[str, Module]:
        """A module for each parameter, by the name that it has in files."""
        of = {"embedding": self._converted[0][1]}
        if self.head_rows is not None:
            of["head"] = next(m for _, m in self._converted if m.block is self.head_rows)
        return of

    def _patch(self, module: Module) -> Patch:
        assert module.base is not None
        return Patch(
            ids=self.ids.numpy(),
            rows=array_of(module.block),
            fingerprint=fingerprint(module.base),
            shape=(module.base.shape[0], module.base.shape[1]),
            base_rows=len(module.base),
            bits_of="bfloat16" if module.block.dtype == torch.bfloat16 else "",
            tokens=self.tokens,
        )

    def __repr__(self) -> str:
        what = ", with rows of its head" if self.head_rows is not None else ""
        return f"Handle({len(self.ids)} rows of {type(self.model).__name__} train{what})"


class _Tied:
    """In the place of ``tie_weights``: what was tied reads the same rows already."""

    def __call__(self, *_: Any, **__: Any) -> None:
        return None


class _Refusal:
    """In the place of ``resize_token_embeddings``, which would put a plain table in ours' place."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise FrozenRowError(
            "this model's token rows have been chosen by train_rows, and resizing would drop them; "
            "call handle.merge() first, then resize and call train_rows anew"
        )


def _like(original: nn.Module) -> nn.Module:
    """A module as the original, but for its weight, which is to be put in."""
    plain = original.__class__.__new__(original.__class__)
    plain.__dict__.update(original.__dict__)
    plain._parameters = dict(original._parameters)
    return plain
