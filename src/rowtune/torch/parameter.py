"""The block as a parameter, which remembers the rows that a step has looked up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_RECORD = "rowtune_touched"


class RowParameter(nn.Parameter):
    """The trainable rows of a table: k x D, one row for each slot.

    A dense gradient cannot tell a row that was looked up and got a zero gradient from a row that
    was not there. So every backward pass of a lookup marks its slots in ``pending``, and when the
    gradient has been accumulated they are hung on that very gradient: where the gradient is
    dropped, so is the record of it.

    Attributes
    ----------
    pending : uint8 tensor (k,), 1 where the backward pass in progress has met a slot
    """

    pending: Tensor

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> RowParameter:
        made: RowParameter = super().__new__(cls, data, requires_grad)
        made.start_record()
        return made

    def start_record(self) -> None:
        """An empty record for as many rows as there are now, on the device where they are."""
        self.pending = torch.zeros(len(self), dtype=torch.uint8, device=self.device)
        if not getattr(self, "_post_accumulate_grad_hooks", None) and self.requires_grad:
            self.register_post_accumulate_grad_hook(_keep_record)  # type: ignore[no-untyped-call]

    def touched(self) -> Tensor | None:
        """The record of the present gradient, uint8 (k,); None where it has none."""
        return None if self.grad is None else getattr(self.grad, _RECORD, None)

    def forget(self) -> None:
        """Drop the record, as when the gradient has been used or zeroed."""
        if self.grad is not None and hasattr(self.grad, _RECORD):
            delattr(self.grad, _RECORD)
        self.pending.zero_()

    def requires_grad_(self, requires_grad: bool = True) -> RowParameter:
        """As torch's; the record begins with the first gradient that is asked for."""
        super().requires_grad_(requires_grad)
        self.start_record()
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> RowParameter:
        """A copy under the same memo, so that a module and an optimizer find the same one."""
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        twin: RowParameter = memo[id(self)]
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        return RowParameter, (self.detach(), self.requires_grad)


def _keep_record(parameter: Tensor) -> None:
    """Move what this backward pass has marked to the gradient that it has made or added to."""
    assert isinstance(parameter, RowParameter)
    grad = parameter.grad
    if grad is None or grad.is_sparse:  # a row-sparse gradient is its own record
        return
    before = getattr(grad, _RECORD, None)
    record = parameter.pending.clone() if before is None else before | parameter.pending
    setattr(grad, _RECORD, record)
    parameter.pending.zero_()
