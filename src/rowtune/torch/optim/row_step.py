"""The step of one block, in two halves: look and refuse, then move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rowtune.errors import NonFiniteError
from rowtune.kernels import update
from rowtune.kernels.grouping import Groups
from rowtune.rules import bind
from rowtune.rules.decay import with_decay
from rowtune.rules.lr_scale import own_numbers
from rowtune.rules.tuned import Tuned
from rowtune.step import Trained, step
from rowtune.torch import verbs
from rowtune.torch.optim.block_debts import BlockDebts
from rowtune.torch.optim.gradient import row_gradient
from rowtune.torch.views import COMPILED, as_array, over_memory_of

Move = Callable[[], None]


class Options(NamedTuple):
    """What a group says of a step beside its rule."""

    maximize: bool
    check_finite: bool
    max_norm: float | None


def prepare(
    parameter: Tensor, tuned: Tuned, state: dict[str, Tensor], most_steps: int, options: Options,
    lr_scale: Tensor | None = None, debts: BlockDebts | None = None, grad: Tensor | None = None,
) -> Move:  # fmt: skip
    """Group and check the gradient of a block; what is returned moves the touched rows.

    Parameters
    ----------
    state : dict
        ``step`` int32 (k,), and the rule's arrays by name, in ``tuned.dtype``.
    most_steps : int
        No row will have taken more steps than this.
    lr_scale : Tensor (k,) or None
        In ``tuned.dtype``, on the device of the block.
    grad : Tensor (k, D) or None
        In place of the block's own gradient, row-sparse or not.

    Raises
    ------
    NonFiniteError
        NaN or infinity in a touched row's gradient. Nothing has been changed then.
    """
    slots, grads, unique = row_gradient(parameter, grad)
    if not len(slots):
        return lambda: None if debts is None else debts.record()
    if options.maximize:
        grads = -grads
    trained = Trained(
        parameter.detach(), tuple(state[name] for name in tuned.rule.state), state["step"], lr_scale
    )
    compiled = (
        parameter.device.type == "cpu"
        and parameter.dtype in COMPILED
        and grads.dtype == parameter.dtype
        and parameter.is_contiguous()
    )
    if compiled:
        rows = as_array(grads.contiguous())
        which = as_array(slots).astype(np.int32, copy=False)
        groups = update.check_and_group(which, rows, options.check_finite, unique)
        arrays = over_memory_of(trained)
        move = _compiled(arrays, tuned, most_steps, groups, rows, options.max_norm, debts)
    else:
        move = _plain(trained, tuned, most_steps, slots, grads, options, debts)

    def move_and_tell() -> None:
        move()
        # autograd cannot see what a kernel writes; a graph that saved the block must hear of it.
        torch.autograd.graph.increment_version(parameter)

    return move_and_tell


def _compiled(
    trained: Trained, tuned: Tuned, most_steps: int, groups: Groups, rows: NDArray[Any],
    max_norm: float | None, debts: BlockDebts | None,
) -> Move:  # fmt: skip
    def move() -> None:
        if debts is not None:
            debts.pay_rows(groups.unique)  # those that nobody has looked up
            debts.record()
        update.move_groups(
            tuned.rule, tuned.decay, trained, groups, rows, tuned.clock_table(most_steps),
            tuned.constants,
        )  # fmt: skip
        if max_norm is not None:
            update.shorten(trained, groups.unique, max_norm)

    return move


def _plain(
    trained: Trained, tuned: Tuned, most_steps: int, slots: Tensor, grads: Tensor,
    options: Options, debts: BlockDebts | None,
) -> Move:  # fmt: skip
    dtype = torch.from_numpy(tuned.constants).dtype
    unique, sums = verbs.sum_duplicates(slots, grads.to(dtype))
    if options.check_finite and not torch.isfinite(sums).all():
        raise NonFiniteError(
            "a gradient of the block holds NaN or infinity, or its sum over duplicates overflows; "
            "nothing was changed. Skip this batch, or pass check_finite=False"
        )
    rule = with_decay(bind(tuned.rule.function, verbs.OPERATIONS), tuned.decay)
    table = torch.from_numpy(tuned.clock_table(most_steps)).to(grads.device)

    def numbers_at(t: Tensor, lr_scale: Tensor | None) -> list[Any]:
        clock = table[t.clamp(max=len(table) - 1).to(torch.int64)]
        decay, *constants = tuned.constants.tolist()
        columns = [clock[:, i, None] for i in range(clock.shape[1])]
        numbers = [decay, *tuned.rule.in_order(columns, constants)]
        return own_numbers(tuned.rule, tuned.decay, numbers, lr_scale)

    def move() -> None:
        if debts is not None:
            debts.pay_rows(unique.to("cpu", torch.int32).numpy())
            debts.record()
        step(verbs, rule, trained, unique, sums, numbers_at)
        if options.max_norm is not None:
            verbs.shorten(trained, unique, options.max_norm, dtype)

    return move
