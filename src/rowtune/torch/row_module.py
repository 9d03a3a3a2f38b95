"""What `Embedding` and `EmbeddingBag` share: which rows train, where they are, and moving them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from rowtune.errors import FrozenRowError, RuleError
from rowtune.rows import Choice, Rows
from rowtune.tables import mapped_pages
from rowtune.torch import assembled, growth, ops, state_dict
from rowtune.torch.checks import as_choice, as_ids
from rowtune.torch.frozen_storage import FrozenStorage, moved
from rowtune.torch.init import Init, rows_like
from rowtune.torch.parameter import RowParameter
from rowtune.torch.stored import Stored, all_rows, own_rows, rows_at, widened

if TYPE_CHECKING:
    from collections.abc import Callable


# Shown where they are something else.
_USUAL = {
    "padding_idx": None,
    "max_norm": None,
    "norm_type": 2.0,
    "scale_grad_by_freq": False,
    "mode": None,
    "sparse": False,
}


class RowModule(FrozenStorage, nn.Module):
    """A table of N x D, of which k rows are a parameter and the others are not.

    Attributes
    ----------
    rows : Rows
    block : RowParameter, k x D (or k x columns): all that ``parameters()`` yields
    base : tensor N x D or None
        The frozen storage, never written. Neither parameter nor buffer: DDP would broadcast a
        buffer in every forward pass.
    save_base : bool
        Whether ``state_dict()`` holds the base. By default it does, but for a file of more than
        1 GiB that is mapped: of that it holds the fingerprint, for which the file is read once.
    """

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None
    max_norm: float | None
    norm_type: float
    scale_grad_by_freq: bool
    sparse: bool
    rows: Rows
    save_base: bool = True

    # --- construction ------------------------------------------------------------------------

    def _set_up(self, stored: Stored, train: Choice, columns: Choice | None, init: Init | None,
                freeze: bool, own: bool) -> None:  # fmt: skip
        """Divide what is ``stored`` into base and block; where all rows train and it is our
        ``own``, it is the block itself, as in torch.
        """
        weight, scales, dtype, mapped = stored
        pad = self.padding_idx
        chosen = Rows(self.num_embeddings, as_choice(train), as_choice(columns))
        self.rows = _tidied(chosen, pad)
        self._check_flags()
        self._place(weight.device)
        if self.rows.trains_all and self._columns is None:
            self._hold(None)
            rows = weight.to(dtype) if own else all_rows(weight, scales, dtype)
        else:
            only_padding = chosen.trains_all and pad is not None and self._columns is None
            if only_padding:
                # One row in memory stands for the only frozen row there is.
                one = rows_at(weight, scales, torch.tensor([pad], device=weight.device))
                self._hold(one.expand_as(weight))
            else:
                self._hold(weight, scales, mapped)
                if mapped is not None and weight.nbytes > mapped_pages.LARGE_FILE:
                    self.save_base = False
            if self.rows.trains_all:
                rows = widened(weight, scales).to(dtype)
            else:
                ids = torch.from_numpy(self.rows.ids.copy()).to(weight.device)
                rows = own_rows(weight, scales, ids).to(dtype)
            rows = rows if self._columns is None else rows.index_select(1, self._columns)
        if init is not None:
            fresh = rows_like(init, len(self.rows), weight, self.rows, scales, dtype)
            rows = fresh if self._columns is None else fresh.index_select(1, self._columns)
        self._added: Tensor | None = None
        name = "weight" if self._base is None else "block"
        self._parameters[name] = RowParameter(rows.contiguous(), not freeze)

    def _check_flags(self) -> None:
        if self.max_norm is not None and len(self.rows) < self.num_embeddings - (
            self.padding_idx is not None
        ):
            raise FrozenRowError(
                f"max_norm={self.max_norm} rewrites every row that is looked up, frozen ones too; "
                "leave it out, or train all rows"
            )
        if self.max_norm is not None and self.rows.columns is not None:
            raise FrozenRowError("max_norm rewrites whole rows, frozen columns too; leave it out")
        if self.scale_grad_by_freq and self.sparse:
            raise RuleError("scale_grad_by_freq needs a dense gradient: sparse=False")

    def _place(self, device: torch.device) -> None:
        """The maps from ids to slots, on ``device``."""
        rows = self.rows
        chosen = rows.chosen_columns(self.embedding_dim)
        self._columns = None if chosen is None else torch.from_numpy(chosen).to(device)
        self._slot_map = (
            None if rows.slot_map is None else torch.from_numpy(rows.slot_map).to(device)
        )
        self._trainable = (
            None if rows.search_ids is None else torch.from_numpy(rows.search_ids).to(device)
        )

    # --- rows --------------------------------------------------------------------------------

    @property
    def block(self) -> RowParameter:
        """The trainable rows, k x D, in the order of ``rows.ids``."""
        name = "weight" if "weight" in self._parameters else "block"
        return cast(RowParameter, self._parameters[name])

    @property
    def weight(self) -> Tensor:
        """The whole matrix as it is now, N x D and differentiable, made anew at every access.

        Where everything trains it is the parameter itself, as in torch.
        """
        if self._base is None:
            self._settle()
            return self.block
        return assembled.weight(self)

    def _rows_of(self, ids: Tensor) -> Tensor:
        """Rows of ids (any shape) + (D,), differentiable with respect to the block."""
        ids = as_ids(ids)
        self._settle(ids)
        if self.max_norm is not None:
            self._renorm(ids, self.max_norm)
        return ops.rows_of(
            self.block, self._base, self._added, self._columns, self._slot_map, self._trainable,
            self._pending(), ids, self.num_embeddings, self.sparse, self.scale_grad_by_freq,
            scales=self._scales,
        )  # fmt: skip

    def _settle(self, ids: Tensor | None = None) -> None:
        """Under catch-up, bring the rows of ``ids`` up to date, all of them where None."""
        block = self.block
        if getattr(block, "payer", None) is None:
            return
        if torch.compiler.is_compiling():
            raise RuleError("catch_up moves rows before they are read, which cannot be compiled")
        slots = None
        if ids is not None:
            slots = ops.on(block.device).slots_of(
                ids.reshape(-1), self.num_embeddings, self._slot_map, self._trainable
            )
        block.settle(slots)

    def train(self, mode: bool = True) -> RowModule:
        """As torch's; under catch-up every row is up to date when evaluation begins."""
        if not mode:
            self._settle()
        super().train(mode)
        return self

    def _pending(self) -> Tensor:
        """Where a backward pass marks its slots; nowhere if the block is not a row parameter."""
        block = self.block
        pending: Tensor | None = getattr(block, "pending", None)
        return block.new_empty(0, dtype=torch.int32) if pending is None else pending

    def _renorm(self, ids: Tensor, max_norm: float) -> None:
        """Shrink the rows that are looked up and longer than ``max_norm``, as torch does."""
        with torch.no_grad():
            slots = ops.on(self.block.device).slots_of(
                ids.reshape(-1), self.num_embeddings, self._slot_map, self._trainable
            )
            slots = slots[slots >= 0].long()  # a padding row is frozen, and left out
            torch.embedding_renorm_(self.block.detach(), slots, max_norm, self.norm_type)

    def grow(self, rows_or_count: int | Tensor | Any, init: Init = "normal") -> Tensor:
        """Add trainable rows at the end; every other row, and what an optimizer knows of it, stays.

        Parameters
        ----------
        rows_or_count : int, or array of g x D
        init : as in `rowtune.torch.init`, where a count was given

        Returns
        -------
        int64 tensor of g
            Their ids.

        Raises
        ------
        ShapeError, NonFiniteError
            Nothing is changed then.
        RuntimeError
            Somebody holds on to the block as it was: DDP around the module, or a graph that waits
            for its backward pass.
        """
        return growth.grow(self, rows_or_count, init)

    def reset_parameters(self) -> None:
        """Draw the trainable rows anew from N(0, 1)."""
        self._settle()
        with torch.no_grad():
            self.block.normal_()

    # --- what torch asks of a module -----------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RowModule:
        """The base follows to a device and keeps its dtype: its bytes are a promise."""
        self._settle()
        name = "weight" if self._base is None else "block"
        mine = isinstance(self._parameters[name], RowParameter)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if mine and not isinstance(self._parameters[name], RowParameter):
            # torch makes plain ones on the way to "meta".
            self._parameters[name] = RowParameter(self.block.detach(), self.block.requires_grad)
        probe = fn(torch.empty(0, dtype=self.block.dtype, device=self._home()))
        if self._base is not None and self._base.device != probe.device:
            self._hold(moved(self._base, probe.device), moved(self._scales, probe.device))
        if self._added is not None:
            self._added = self._added.to(probe.device)
        self._place(probe.device)
        if mine and self.block.pending.device != probe.device:
            self.block.start_record()
        return self

    def _home(self) -> torch.device:
        return self.block.device if self._base is None else self._base.device

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        self._settle()
        super()._save_to_state_dict(destination, prefix, keep_vars)
        state_dict.add_frozen(self, destination, prefix)

    def _load_from_state_dict(
        self, state: dict[str, Any], prefix: str, metadata: Any, strict: bool, missing: list[str],
        unexpected: list[str], errors: list[str],
    ) -> None:  # fmt: skip
        self._settle()
        assign = bool(metadata.get("assign_to_params_buffers"))
        own = state_dict.translated(self, state, prefix, assign, missing, errors)
        super()._load_from_state_dict(own, prefix, metadata, strict, missing, unexpected, errors)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        if name == "weight" and "block" in self._parameters:
            raise FrozenRowError(
                "weight cannot be assigned: most of its rows are frozen. Write the trainable ones "
                "with block.data, or make a new embedding with from_pretrained"
            )
        super().register_parameter(name, param)

    def __deepcopy__(self, memo: dict[int, Any]) -> RowModule:
        """A module of its own over the same base, which nobody writes."""
        self._settle()
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        for shared in (self._base, self._scales, self._shown, self._shown_scales, self._mapped,
                       self._slot_map, self._trainable):  # fmt: skip
            if shared is not None:
                memo[id(shared)] = shared
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}, {len(self.rows)} rows train"
        if self._columns is not None:
            text += f" in {len(self._columns)} columns"
        for name, usual in _USUAL.items():
            value = getattr(self, name, usual)
            if value != usual:
                text += f", {name}={value!r}"
        return text


def _tidied(chosen: Rows, padding_idx: int | None) -> Rows:
    """The padding row is frozen, whoever chose it; and choosing each of all rows is "all"."""
    if padding_idx is None and len(chosen) == chosen.num_rows:
        return chosen if chosen.trains_all else Rows(chosen.num_rows, "all", chosen.columns)
    ids = chosen.ids if padding_idx is None else chosen.ids[chosen.ids != padding_idx]
    return chosen if len(ids) == len(chosen) else Rows(chosen.num_rows, ids, chosen.columns)
