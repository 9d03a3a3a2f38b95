"""What an optimizer remembers of a block: made at its first step, and growing with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rowtune.errors import RuleError
from rowtune.rules import Rule
from rowtune.rules.tuned import Tuned

# Step counts of the rows. The name is torch's, whose optimizers look for it when they load a state.
STEP = "step"


def fresh(count: int, width: int, tuned: Tuned, device: torch.device) -> dict[str, Tensor]:
    """State of ``count`` rows before their first step."""
    arrays: dict[str, Any] = {STEP: np.zeros(count, np.int32)}
    widths = tuned.rule.state_widths(width)
    for name, value in tuned.rule.first_values(tuned.hyper).items():
        shape = (count, widths[name])
        # numpy.zeros takes no memory until a row is touched; torch.zeros writes every byte.
        arrays[name] = np.full(shape, value, tuned.dtype) if value else np.zeros(shape, tuned.dtype)
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def follow(state: dict[str, Tensor], parameter: Tensor, tuned: Tuned) -> None:
    """Make ``state`` fit the block as it is now: begin it, or go on for rows that were added.

    An array that the rule did not need so far, as SGD whose momentum was 0, begins afresh too.
    """
    count, width = parameter.shape
    dtype = torch.from_numpy(np.empty(0, tuned.dtype)).dtype
    complete = STEP in state and set(tuned.rule.state) <= set(state)
    if (
        complete
        and len(state[STEP]) == count
        and all(state[name].dtype == dtype for name in tuned.rule.state)
        and state[STEP].device == parameter.device
    ):
        return
    for name, array in state.items():
        kind = array.dtype if name == STEP else dtype  # the block may have another by now
        state[name] = array.to(parameter.device, kind)
    known = len(state[STEP]) if STEP in state else 0
    if known > count:
        raise RuleError(f"the state has {known} rows, and the block only {count}")
    for name, array in fresh(count, width, tuned, parameter.device).items():
        if name not in state:
            state[name] = array
    for name, array in state.items():
        if len(array) < count:
            rest = fresh(count - len(array), width, tuned, parameter.device).get(name)
            if rest is None:  # of a rule that is not in use now
                rest = array.new_zeros(count - len(array), *array.shape[1:])
            state[name] = torch.cat([array, rest])


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
