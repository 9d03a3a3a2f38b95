"""The block as a parameter, which knows the rows that its gradient is of."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rowtune.kernels.scatter import any_nonzero, mark
from rowtune.row_memory import RowMemory
from rowtune.torch import rooms
from rowtune.torch.views import as_array

_RECORD = "rowtune_touched"
_LEFT = "rowtune_left"


def stamp() -> int:
    """What marks a slot in this backward pass, and in no other; never 0."""
    return int(torch._C._current_graph_task_id()) % (2**31 - 2) + 1


def leave(slots: Tensor, pending: Tensor) -> None:
    """In place of stamps, leave the ``slots`` (n,) of a row-sparse gradient beside ``pending``, -1
    where frozen.

    They are looked at only where a dense gradient is added to it in the same backward pass, and to
    stamp them costs a cache miss each. Nothing is left where ``pending`` is empty: nobody asks.
    """
    if not len(pending):
        return
    now, left = stamp(), getattr(pending, _LEFT, ())
    if left and left[-1][0] != now:
        # Of a pass that this one runs in, or that has accumulated nothing: stamped after all.
        for of_pass, others in left:
            if pending.device.type == "cpu":
                mark(as_array(others), of_pass, as_array(pending))
            else:
                pending.index_fill_(0, others[others >= 0].to(torch.int64), of_pass)
        left = ()
    setattr(pending, _LEFT, (*left, (now, slots)))


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
    payer : callable or None
        A method of the optimizer with catch-up that moves this block: it brings rows up to date
        before they are read. The block keeps its optimizer while something may be owed, since it
        may be nobody else's by then.
    """

    pending: Tensor
    memory: RowMemory  # in which rows are added
    payer: Callable[[RowParameter, Tensor | None], None] | None = None
    _record: Tensor | None  # of the gradient as it was last accumulated, see `keep`
    _recorded: weakref.ref[Tensor] | None  # the gradient that the record is of

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> RowParameter:
        made: RowParameter = super().__new__(cls, data, requires_grad)
        made.memory = RowMemory()
        made.start_record()
        return made

    def start_record(self) -> None:
        """An empty record for as many rows as there are now, on the device where they are."""
        if self.device.type == "cpu":  # and takes no memory until a row is stamped
            self.pending = rooms.zeros(self.memory, "pending", (len(self),), "i4")
        else:
            self.pending = torch.zeros(len(self), dtype=torch.int32, device=self.device)
        self._begin_record()

    def extend_record(self) -> None:
        """An empty record for rows that were added, too."""
        self.pending = rooms.grown(self.memory, "pending", self.pending, len(self), 0)
        self._begin_record()

    def _begin_record(self) -> None:
        self._record, self._recorded = None, None
        if self.requires_grad and not getattr(self, "_post_accumulate_grad_hooks", None):
            self.register_post_accumulate_grad_hook(_keep_record)  # type: ignore[no-untyped-call]

    def settle(self, slots: Tensor | None = None) -> None:
        """Bring the rows of slots (n,), -1 where frozen, up to date, all of them where None."""
        if self.payer is not None:
            self.payer(self, slots)
        if slots is None:
            self.payer = None  # nothing is owed until its optimizer takes another step

    def touched(self) -> Tensor | None:
        """The rows that the present gradient is of, bool (k,); None where nobody knows."""
        grad = self.grad
        if grad is not None and grad.is_sparse:
            marks = torch.zeros(len(self), dtype=torch.bool, device=self.device)
            return marks.index_fill_(0, grad._indices()[0], True)
        record = None if grad is None else getattr(grad, _RECORD, None)
        if record is None or record[0].dtype != torch.bool or len(record[0]) != len(self):
            return None
        kept: Tensor = record[0]
        return None if _was_zeroed(grad) else kept

    def keep(self, marks: Tensor | None) -> None:
        """Hang ``marks`` on the present gradient, bool (k,): the rows that it is of. For one that
        is row-sparse, int64 (u,): their slots.
        """
        self._record, grad = marks, self.grad
        if grad is None or marks is None:
            return
        setattr(grad, _RECORD, (marks, grad._version))
        if self._recorded is None or self._recorded() is not grad:
            self._recorded = weakref.ref(grad, partial(_dropped, weakref.ref(self)))

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
            self.settle()
            memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        twin: RowParameter = memo[id(self)]
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        self.settle()
        return RowParameter, (self.detach(), self.requires_grad)


def _dropped(block: weakref.ref[RowParameter], gone: weakref.ref[Tensor]) -> None:
    """A gradient is no more: with it goes its record, unless a backward pass has put another in
    its place, as where a dense gradient is added to a row-sparse one.
    """
    parameter = block()
    in_backward = torch._C._current_graph_task_id() != -1
    if parameter is not None and parameter._recorded is gone and not in_backward:
        parameter._record = None


def _keep_record(parameter: Tensor) -> None:
    """Hang what this backward pass has stamped on the gradient that it has made or added to."""
    assert isinstance(parameter, RowParameter)
    grad, before = parameter.grad, parameter._record
    left = _left_in_this_pass(parameter.pending)
    if grad is not None and grad.is_sparse:
        # It is its own record, and a look at every row's stamp would cost more than the step.
        parameter.keep(grad._indices()[0])
        return
    now = parameter.pending == stamp()
    for slots in left:
        now[slots[slots >= 0].to(torch.int64)] = True
    if before is not None and before.dtype != torch.bool:
        before = torch.zeros_like(now).index_fill_(0, before, True)
    if before is not None and _goes_on(parameter, before & ~now):
        now |= before
    parameter.keep(now)


def _left_in_this_pass(pending: Tensor) -> list[Tensor]:
    """Take what `leave` has left, but for that of a pass in which this one runs."""
    left, now = getattr(pending, _LEFT, ()), stamp()
    if left:
        setattr(pending, _LEFT, tuple(pair for pair in left if pair[0] != now))
    return [slots for of_pass, slots in left if of_pass == now]


def _goes_on(parameter: RowParameter, earlier: Tensor) -> bool:
    """Whether what has just been accumulated was added to a gradient, of ``earlier`` rows too."""
    last = None if parameter._recorded is None else parameter._recorded()
    if last is None:  # replaced in this backward pass; else `_dropped` would have been here
        return True
    if last is not parameter.grad:
        return False
    changed_between = last._version > getattr(last, _RECORD)[1] + 1
    # Scaled or zeroed? If it was zeroed, rows that this pass has not met are zero still.
    return last.is_sparse or not changed_between or bool(last[earlier].any())


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
