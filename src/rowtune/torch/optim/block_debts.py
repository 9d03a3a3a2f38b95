"""Catch-up for blocks: what absent rows owe, over the memory of tensors."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rowtune.catch_up import Debts
from rowtune.errors import RuleError
from rowtune.kernels.grouping import group
from rowtune.rules.tuned import Tuned
from rowtune.step import Trained
from rowtune.torch import verbs
from rowtune.torch.optim import row_state
from rowtune.torch.parameter import RowParameter
from rowtune.torch.views import COMPILED, as_array, over_memory_of


class BlockDebts:
    """What the absent rows of ``block`` owe to the optimizer whose ``state`` of it this is.

    Raises
    ------
    RuleError
        A rule without an absent step, or a block that nobody tells when its rows are read.
    """

    def __init__(self, block: Tensor, state: dict[str, Tensor], tuned: Tuned) -> None:
        if not isinstance(block, RowParameter):
            raise RuleError(
                "catch_up is paid when a row is looked up, and only a rowtune.torch.Embedding "
                "tells; a plain sparse embedding does not"
            )
        self.tuned = tuned
        self.lr_scale: Tensor | None = None
        steps = state[row_state.STEP]
        now = int(steps.max()) if len(steps) else 0
        steps.fill_(now)  # rows that a lazy optimizer has left at other steps are taken as they are
        self._debts = Debts(tuned, now)
        self._lock = threading.Lock()
        self._block, self._state = block, state

    @property
    def now(self) -> int:
        """Steps that the optimizer has taken."""
        return self._debts.now

    def record(self) -> None:
        """The optimizer takes a step."""
        self._debts.record()

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """The steps that the optimizer has taken: see `rowtune.ledger`."""
        return self._debts.as_arrays()

    def take_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from what `as_arrays` gave."""
        self._debts.take_arrays(arrays)

    def pay(self, slots: Tensor | None) -> None:
        """Bring the rows of slots (n,), -1 where frozen, up to date; None means all of them."""
        self.pay_rows(None if slots is None else group(as_array(slots.cpu())).unique)

    def pay_rows(self, slots: NDArray[np.int32] | None) -> None:
        """The same for slots that are unique, none of them -1."""
        with self._lock:  # several threads may look rows up, and none is to be paid twice
            self._pay_rows(slots)

    def _pay_rows(self, slots: NDArray[np.int32] | None) -> None:
        state = tuple(self._state[name] for name in self.tuned.rule.state)
        steps = self._state[row_state.STEP]
        trained = Trained(self._block.detach(), state, steps, self.lr_scale)
        in_place = self._block.device.type == "cpu" and self._block.dtype in COMPILED
        if in_place and self._block.is_contiguous():
            paid = self._debts.pay(over_memory_of(trained), slots)
        else:
            paid = self._pay_copies(trained, slots)
        if paid:
            # autograd cannot see what a kernel writes; a graph that saved the block must hear.
            torch.autograd.graph.increment_version(self._block)

    def _pay_copies(self, trained: Trained, slots: NDArray[np.int32] | None) -> bool:
        """Half precision, which kernels do not have, and other devices: rows are brought here."""
        if slots is None or self._debts.must_pay_all:
            slots = np.arange(len(self._block), dtype=np.int32)
        here = torch.from_numpy(slots).to(self._block.device, torch.int64)
        owing = here[verbs.take(trained.steps, here) < self.now]
        wide = torch.from_numpy(self.tuned.constants).dtype

        def cast(new: Tensor, like: Tensor) -> Tensor:
            return new.to(like.device, like.dtype)

        def copy(array: Tensor, dtype: torch.dtype = wide) -> Tensor:
            return verbs.take(array, owing).to("cpu", dtype)

        scale = None if trained.lr_scale is None else copy(trained.lr_scale)
        state = tuple(map(copy, trained.state))
        rows = Trained(copy(trained.block), state, copy(trained.steps, torch.int32), scale)
        paid = self._debts.pay(over_memory_of(rows), np.arange(len(owing), dtype=np.int32))
        moved = cast(rows.block, trained.block)
        if trained.lr_scale is not None:  # a row of scale 0 keeps its bits
            frozen = verbs.take(trained.lr_scale, owing)[:, None] == 0
            moved = torch.where(frozen, verbs.take(trained.block, owing), moved)
        verbs.put(trained.block, owing, moved)
        for array, new in zip(
            (*trained.state, trained.steps), (*rows.state, rows.steps), strict=True
        ):
            verbs.put(array, owing, cast(new, array))
        return paid
