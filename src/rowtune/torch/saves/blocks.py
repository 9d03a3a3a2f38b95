"""Blocks and what an optimizer remembers of them, as parts of a save over the tensors' memory."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from rowtune.checkpoints import Part
from rowtune.checkpoints.part import UNCHECKED
from rowtune.table_checkpoint import trainable
from rowtune.torch.base import fingerprint, fingerprint_of, is_one_row
from rowtune.torch.optim import RowOptimizer, row_state
from rowtune.torch.optim.block_debts import BlockDebts
from rowtune.torch.row_module import RowModule
from rowtune.torch.saves.copies import Copies
from rowtune.torch.views import array_of, over

_known: Any = WeakIdKeyDictionary()  # fingerprints: a base is hashed once in a process


def tables_of(model: nn.Module) -> dict[str, RowModule]:
    """Row modules by name, one for each block."""
    found: dict[str, RowModule] = {}
    blocks: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, RowModule) and id(module.block) not in blocks:
            blocks.add(id(module.block))
            found[name] = module
    return found


class BlockPart:
    """One block. Where its memory is not the processor's, a copy of it is saved and loaded."""

    def __init__(
        self, table: RowModule, optimizer: RowOptimizer | None, unchecked_base: str | None
    ) -> None:
        self._table, self._optimizer = table, optimizer
        self._base = UNCHECKED + unchecked_base if unchecked_base else _base_of(table)
        self._place = None if optimizer is None else _group_of(optimizer, table.block)
        if table.block.payer is not None and not self._is_ours():
            table.block.settle()  # what it owes is in somebody else's books
        self._copies = Copies()
        self._ledger: dict[str, NDArray[Any]] = {}

    def _is_ours(self) -> bool:
        return self._optimizer is not None and self._table.block.payer == self._optimizer._pay

    def _tuned(self) -> Any:
        assert self._optimizer is not None and self._place is not None
        return self._optimizer._tuned_for(*self._place, self._table.block.dtype)

    def part(self, share: tuple[int, int] = (0, 1)) -> Part:
        """The slots of one rank of so many; all of them by default."""
        table, block, optimizer = self._table, self._table.block, self._optimizer
        total = len(block)
        begin, end = (total * (share[0] + i) // share[1] for i in (0, 1))
        tensors: dict[str, Tensor] = {"rows": block.detach()}
        whole: dict[str, NDArray[Any]] = {}
        rule, catch_up = "none", False
        if optimizer is not None and self._place is not None:
            tuned, catch_up = self._tuned(), bool(self._place[1]["catch_up"])
            rule = tuned.rule.name
            optimizer._follow(block, tuned)
            state = optimizer.state[block]
            tensors["steps"] = state[row_state.STEP]
            tensors |= {f"state.{name}": state[name] for name in tuned.rule.state}
            debts = optimizer._debts.get(block)
            whole |= {} if debts is None else debts.as_arrays()
        if table._added is not None and table._columns is not None:
            whole["added"] = array_of(table._added)
        columns = None if table._columns is None else table._columns.cpu().numpy()
        base_rows = table.num_embeddings if table.base is None else len(table.base)
        facts = {
            "base": self._base,
            "rule": rule,
            "catch_up": str(catch_up),
            "dtype": str(block.dtype).removeprefix("torch."),
            "trainable": trainable(table.rows, base_rows, columns),
        }
        arrays = {name: self._copies.array(tensor[begin:end]) for name, tensor in tensors.items()}
        return Part(total, begin, arrays, facts, whole, self._loaded)

    @torch.no_grad()
    def _loaded(self, whole: dict[str, NDArray[Any]]) -> None:
        self._copies.put_back()
        # autograd cannot see what is written here; a graph that saved the block must hear of it.
        torch.autograd.graph.increment_version(self._table.block)
        if "added" in whole:
            added = over(whole.pop("added"), self._table.block.dtype)
            self._table._added = added.to(self._table.block.device)
        self._ledger = whole

    def state(self) -> dict[str, Tensor]:
        """What the optimizer remembers, by its names."""
        assert self._optimizer is not None
        return self._optimizer.state[self._table.block] if self._place is not None else {}

    def hand_to(self, optimizer: RowOptimizer, state: dict[str, Tensor]) -> None:
        """Put the state back after the optimizer has taken options and dense state, and what the
        block owes under catch-up.
        """
        block = self._table.block
        block.payer = None
        if self._place is None:
            return
        optimizer.state[block] = state
        self._place = _group_of(optimizer, block)
        if not self._ledger:
            return
        tuned, steps = self._tuned(), state[row_state.STEP]
        there = steps.clone()
        debts = BlockDebts(block, state, tuned)  # which takes all rows as they are
        steps.copy_(there)
        debts.take_arrays(self._ledger)
        assert self._place is not None
        scale = self._place[1]["lr_scale"]
        debts.lr_scale = optimizer._rates.of(block, scale, tuned.dtype)[0]
        optimizer._debts[block] = debts
        block.payer = optimizer._pay


def _group_of(optimizer: RowOptimizer, block: Tensor) -> tuple[int, dict[str, Any]] | None:
    for index, group in enumerate(optimizer.param_groups):
        if any(parameter is block for parameter in group["params"]):
            return index, group
    return None


def _base_of(table: RowModule) -> str:
    base = table._base
    if base is None:
        return "none"
    if is_one_row(base):
        return fingerprint(base[:1])
    known = _known.get(base)
    if known is None or known[0] != base._version:
        known = _known[base] = base._version, fingerprint_of(table)
    return str(known[1])
