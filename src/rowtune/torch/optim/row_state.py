"""What an optimizer remembers of a block: made at its first step, and growing with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rowtune.errors import RuleError
from rowtune.row_memory import RowMemory
from rowtune.rules import Rule
from rowtune.rules.tuned import Tuned
from rowtune.torch import rooms

# Step counts of the rows. The name is torch's, whose optimizers look for it when they load a state.
STEP = "step"


def follow(state: dict[str, Tensor], parameter: Tensor, tuned: Tuned, memory: RowMemory) -> None:
    """Make ``state`` fit the block as it is now: begin it, or go on for rows that were added.

    An array that the rule did not need so far, as SGD whose momentum was 0, begins afresh too. All
    of it is in ``memory`` then, where that is files.
    """
    count, width = parameter.shape
    dtype = torch.from_numpy(np.empty(0, tuned.dtype)).dtype
    complete = STEP in state and set(tuned.rule.state) <= set(state)
    if (
        complete
        and len(state[STEP]) == count
        and all(state[name].dtype == dtype for name in tuned.rule.state)
        and state[STEP].device == parameter.device
        and rooms.keeps_all(memory, state)
    ):
        return
    for name, array in state.items():
        kind = array.dtype if name == STEP else dtype  # the block may have another by now
        state[name] = array.to(parameter.device, kind)
    known = len(state[STEP]) if STEP in state else 0
    if known > count:
        raise RuleError(f"the state has {known} rows, and the block only {count}")
    first, widths = tuned.rule.first_values(tuned.hyper), tuned.rule.state_widths(width)
    for name in (STEP, *first):
        if name not in state:
            shape = (count,) if name == STEP else (count, widths[name])
            begun = rooms.zeros(memory, name, shape, np.int32 if name == STEP else tuned.dtype)
            if first.get(name):
                begun.fill_(first[name])
            state[name] = begun.to(parameter.device)
    for name, array in state.items():
        if len(array) < count:
            # 0 also for what belongs to a rule that is not in use now.
            state[name] = rooms.grown(memory, name, array, count, first.get(name, 0.0))
        state[name] = rooms.kept(memory, name, state[name])


def check(state: dict[str, Any], parameter: Tensor, rules: Sequence[Rule]) -> None:
    """Refuse, when it is loaded, a state that a step could not go on with.

    ``rules`` are those that the optimizer may use for a block.

    Raises
    ------
    RuleError
        Of another rule, or of more rows than the block has.
    """
    expected = [{STEP, *rule.state} for rule in rules]
    if set(state) not in expected:
        wanted = " or ".join(str(sorted(names)) for names in expected)
        raise RuleError(
            f"the state holds {sorted(state)} for a block of rows; expected {wanted}. "
            "Load a state that an optimizer of this class has saved"
        )
    count, width = parameter.shape
    widths = {name: w for rule in rules for name, w in rule.state_widths(width).items()}
    for name, array in state.items():
        shape = tuple(array.shape)
        wanted_shape = (len(array),) if name == STEP else (len(state[STEP]), widths[name])
        if shape != wanted_shape or shape[0] > count:
            raise RuleError(
                f"the state {name!r} has shape {shape} for a block of {count} x {width} rows; "
                "it can have fewer rows (the others begin afresh), but not more. Grow the "
                "embedding first: embedding.grow(count)"
            )
