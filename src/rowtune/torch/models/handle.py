"""What `train_rows` returns: the rows of chosen tokens, and what can be done with them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rowtune.errors import FrozenRowError, IdError
from rowtune.torch.growth import enlarge
from rowtune.torch.init import Init
from rowtune.torch.models import peft_files, ranks, row_files, vocabulary
from rowtune.torch.models.convert import Converted, Module, check_resizable, converted, larger
from rowtune.torch.models.placement import Placement
from rowtune.torch.models.table_of_model import table_of
from rowtune.torch.models.token_rows import TokenEmbedding
from rowtune.torch.parameter import RowParameter


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
        parts: list[Converted],
        named: str | nn.Module | None = None,
        freeze: bool = True,
    ) -> None:
        self.model, self.ids, self.tokens = model, ids, tokens
        self._named, self._freezes = named, freeze
        self._placement = Placement(model, parts)
        modules = self.blocks()
        self.rows: RowParameter = modules["embedding"].block
        self.head_rows: RowParameter | None = modules["head"].block if "head" in modules else None
        self._is_merged = False
        self._averaging: list[Any] = []
        self._frozen: list[nn.Parameter] = []
        self._placement.put_ours()
        self._freeze()

    def parameters(self) -> list[RowParameter]:
        """All that trains, for an optimizer; a model's other parameters are not among it."""
        return [self.rows] if self.head_rows is None else [self.rows, self.head_rows]

    def blocks(self) -> dict[str, Module]:
        """A module for each parameter, by the name that it has in files."""
        return self._placement.blocks()

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
        before = self._placement.parts[0].module.enabled
        self.disable()
        try:
            yield self
        finally:
            self._switch(before)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def _switch(self, enabled: bool) -> None:
        for _, module in self._placement.parts:
            module.enabled = enabled

    def average_over_ranks(self, group: Any = None) -> None:
        """Train the same rows on all ranks of a process group, under FSDP that ignores them.

        The rows become those of the group's first rank; from then on every backward pass averages
        their gradients, which costs k x D numbers. All ranks have to call it, once, and to run as
        many backward passes. DistributedDataParallel needs none of this.
        """
        for hook in self._averaging:
            hook.remove()
        self._averaging = ranks.average(self.parameters(), group)

    # --- into the model and out of it ----------------------------------------------------------

    def merge(self) -> nn.Module:
        """Give the model its own classes back, with tables in which the trained rows are in their
        places; the others are copied as the bits that they were. `unmerge` undoes it exactly.
        """
        if not self._is_merged:
            self._placement.put_merged()
            self._is_merged = True
        return self.model

    def unmerge(self) -> Handle:
        """Take a merge back: the model has the base and the rows apart again."""
        if self._is_merged:
            self._is_merged = False
            self._placement.put_ours()
        return self

    def remove(self) -> nn.Module:
        """Give the model back as it was, without the rows, and let train what was frozen. Where
        tokens were added, its table keeps their places, with zeros in them.
        """
        self._placement.put_originals()
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen = []
        return self.model

    def _freeze(self) -> None:
        """All parameters, but for those of adapters, which know what they freeze."""
        if not self._freezes or hasattr(self.model, "peft_config"):
            return
        own = {id(rows) for rows in self.parameters()}
        originals = [p for part in self._placement.parts for p in part.reader.module.parameters()]
        for parameter in [*self.model.parameters(), *originals]:
            if parameter.requires_grad and id(parameter) not in own:
                parameter.requires_grad_(False)
                self._frozen.append(parameter)

    # --- more rows -----------------------------------------------------------------------------

    def grow(
        self,
        tokens: Sequence[Any] | Mapping[Any, str],
        tokenizer: Any,
        *,
        init: Init | None = "mean",
    ) -> Tensor:
        """Train the rows of more tokens, under an optimizer that goes on.

        The table is made larger where it has no rows for them. The parameters stay the same ones,
        with more rows, and `rowtune.torch.optim` keeps what it knows of the others.

        Parameters
        ----------
        tokens, tokenizer, init
            As for `train_rows`; a trained token may be a piece of a new one.

        Returns
        -------
        int64 tensor (g,): their ids, ascending

        Raises
        ------
        IdError
            A token whose row is not behind all that train: rows are added at the end.
        FrozenRowError
            The rows are merged.
        ShapeError, NonFiniteError
            As `train_rows` does.
        RuntimeError
            Something still expects a gradient in the old shape: DDP, or a graph that waits for its
            backward pass. After any error the same rows train as before.
        """
        if self._is_merged:
            raise FrozenRowError("these rows are merged; call handle.unmerge(), then grow")
        whole = {name: module.whole().detach() for name, module in self.blocks().items()}
        known = len(whole["embedding"])
        chosen = vocabulary.by_token(tokens, tokenizer, known)
        order = chosen.ids.argsort()
        ids = chosen.ids[order]
        named = [(chosen.tokens or [])[i] for i in order.tolist()]
        self._refuse_before_the_last(ids, named)
        num_rows = max([known, *(i + 1 for i in ids.tolist())])
        new = []
        for name, table in whole.items():
            of_all = torch.cat([table, table.new_zeros(num_rows - known, table.shape[1])])
            begin = init if name == "embedding" or isinstance(init, str) else None
            new.append(vocabulary.first_rows(chosen, begin, of_all, known)[order.to(table.device)])
        self._take_in(ids, named, new, num_rows if num_rows > known else None)
        return ids

    def _refuse_before_the_last(self, ids: Tensor, named: list[str]) -> None:
        last = int(self.ids[-1]) if len(self.ids) else -1
        if len(ids) and int(ids[0]) <= last:
            raise IdError(
                f"token {named[0]!r} has id {int(ids[0])}; grow takes ids behind {last}, the last "
                "row that trains. Call handle.merge() and train_rows with all tokens instead"
            )

    def _take_in(
        self, ids: Tensor, named: list[str], new: list[Tensor], num_rows: int | None
    ) -> None:
        """Put the rows into the blocks, and modules over the larger table into the model."""
        if num_rows is not None:
            is_tied = self._placement.has_tied_head()
            check_resizable(self.model, self._named, num_rows, is_tied)
        was_enabled = self._placement.parts[0].module.enabled
        blocks = self.parameters()
        enlarge((rows, fresh.to(rows.dtype)) for rows, fresh in zip(blocks, new, strict=True))
        self._placement.put_originals()
        try:
            if num_rows is not None:
                larger(self.model, self._named, num_rows)
            self.ids = torch.cat([self.ids, ids])
            if self.tokens is not None:
                self.tokens = self.tokens + named
        finally:
            table = table_of(self.model, self._named)
            parts = converted(table, self.ids, self.rows, self.head_rows)
            self._placement = Placement(self.model, parts)
            self._placement.put_ours()
            self._switch(was_enabled)
            self._freeze()

    # --- files ---------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write rows, ids and tokens, and the fingerprint of the base: some kilobytes.

        Raises
        ------
        OSError
            The file cannot be written; an older one of this name is kept.
        """
        for rows in self.parameters():
            ranks.check_whole(rows)
        row_files.write(path, self.ids, self.tokens, self.blocks())

    def load(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Take the rows of a file.

        Raises
        ------
        PatchError
            A damaged file, one for another base (unless ``force``), or of other rows. Nothing is
            changed then.
        """
        modules = self.blocks()
        parts = row_files.read_for(path, self.ids, self.tokens, modules)
        row_files.put([(path, parts)], modules, force)

    def save_peft(self, folder: str | os.PathLike[str]) -> None:
        """Write the rows as an adapter of PEFT's TrainableTokens: see `peft_files`."""
        parts = self._placement.parts
        # PEFT ties a head by itself, and warns where it is told to.
        targets = [
            reader.name
            for reader, module in parts
            if isinstance(module, TokenEmbedding) or module.block is self.head_rows
        ]
        blocks = {reader.name: module.block for reader, module in parts}
        peft_files.write(folder, self.ids, blocks, targets)

    def load_peft(self, folder: str | os.PathLike[str]) -> None:
        """Take the rows of such an adapter. It does not say which base it was trained on.

        Raises
        ------
        PatchError
            Rows of other tokens or modules, or two for one row. Nothing is changed then.
        """
        blocks = {reader.name: module.block for reader, module in self._placement.parts}
        found = peft_files.read_for(folder, self.ids, blocks)
        with torch.no_grad():
            for block, rows in found:
                block.copy_(rows)

    def __repr__(self) -> str:
        what = ", with rows of its head" if self.head_rows is not None else ""
        return f"Handle({len(self.ids)} rows of {type(self.model).__name__} train{what})"
