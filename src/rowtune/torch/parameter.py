"""The block as a parameter, which knows the rows that its gradient is of."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rowtune.kernels.scatter import any_nonzero
from rowtune.torch.views import as_array

_RECORD = "rowtune_touched"


def stamp() -> int:
    """What marks a slot in this backward pass, and in no other; never 0."""
    return int(torch._C._current_graph_task_id()) % (2**31 - 2) + 1


class RowParameter(nn.Parameter):
    """The trainable rows of a table: k x D, one row for each slot.

    A dense gradient cannot tell a row that was looked up and got a zero gradient from a row that
    was not there. So every backward pass of a lookup stamps its slots in ``pending``, and when the
    gradient has been accumulated, they are hung on that very gradient: where the gradient is
    dropped, so is the record of it. The stamp of a backward pass that failed, or that accumulated
    nothing, is no later one's.

    Attributes
    ----------
    pending : int32 tensor (k,), the last backward pass that has met each slot
    """

    pending: Tensor
    _fresh: bool
    _record: Tensor | None

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> RowParameter:
        made: RowParameter = super().__new__(cls, data, requires_grad)
        made.start_record()
        return made

    def start_record(self) -> None:
        """An empty record for as many rows as there are now, on the device where they are."""
        self.pending = torch.zeros(len(self), dtype=torch.int32, device=self.device)
        self._fresh, self._record = True, None
        if self.requires_grad and not getattr(self, "_post_accumulate_grad_hooks", None):
            self.register_hook(partial(_before_accumulation, weakref.ref(self)))  # type: ignore[no-untyped-call]
            self.register_post_accumulate_grad_hook(_keep_record)  # type: ignore[no-untyped-call]

    def touched(self) -> Tensor | None:
        """The rows that the present gradient is of, bool (k,); None where nobody knows."""
        record = None if self.grad is None else getattr(self.grad, _RECORD, None)
        if record is None or len(record[0]) != len(self) or _was_zeroed(self.grad):
            return None
        marks: Tensor = record[0]
        return marks

    def keep(self, marks: Tensor | None) -> None:
        """Hang ``marks``, bool (k,), on the present gradient: the rows that it is of."""
        self._record = marks
        if self.grad is not None and marks is not None:
            setattr(self.grad, _RECORD, (marks, self.grad._version))

    def forget(self) -> None:
        """Drop the record, as when the gradient has been zeroed."""
        self._record = None
        if self.grad is not None and hasattr(self.grad, _RECORD):
            delattr(self.grad, _RECORD)

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


def _before_accumulation(block: weakref.ref[RowParameter], _: Tensor) -> None:
    """Whether what comes now begins a gradient, or is added to one."""
    parameter = block()
    if parameter is not None:
        parameter._fresh = parameter.grad is None or _was_zeroed(parameter.grad)


def _keep_record(parameter: Tensor) -> None:
    """Hang what this backward pass has stamped on the gradient that it has made or added to."""
    assert isinstance(parameter, RowParameter)
    record = parameter.pending == stamp()
    if not parameter._fresh and parameter._record is not None:
        record |= parameter._record
    parameter.keep(record)


def _was_zeroed(grad: Tensor | None) -> bool:
    """Whether a gradient was set to zero in place after it was accumulated: a new beginning."""
    record = getattr(grad, _RECORD, None)
    if grad is None or record is None or grad._version == record[1]:
        return False
    if grad.is_sparse:
        return grad._nnz() == 0
    if grad.device.type == "cpu" and grad.dtype in (torch.float32, torch.float64):
        return not any_nonzero(as_array(grad))
    return not bool(grad.any())
