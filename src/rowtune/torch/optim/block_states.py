"""What an optimizer knows of blocks: asked for, replaced, saved and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from rowtune.errors import RuleError
from rowtune.rules import Rule
from rowtune.rules.tuned import Tuned
from rowtune.torch.optim import row_state
from rowtune.torch.optim.block_debts import BlockDebts


class BlockStates(Optimizer):
    """The part of `RowOptimizer` that is about the state of blocks."""

    _most_steps: dict[Tensor, int]
    _debts: dict[Tensor, BlockDebts]

    def rule_of(self, group: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The rule for a group's blocks, and its hyper-parameters.

        Raises
        ------
        RuleError
            An option that the rule has not.
        """
        raise NotImplementedError

    def _rules(self) -> list[Rule]:
        raise NotImplementedError

    def _tuned_for(self, index: int, group: dict[str, Any], dtype: torch.dtype) -> Tuned:
        raise NotImplementedError

    def _follow(self, parameter: Tensor, tuned: Tuned) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        """Bring every row up to date."""
        raise NotImplementedError

    def _is_rows(self, parameter: Tensor) -> bool:
        raise NotImplementedError

    def _hand_over(self) -> None:
        raise NotImplementedError

    def rule_name(self, block: Tensor) -> str:
        """Name of the rule that moves ``block``.

        Raises
        ------
        RuleError
            This optimizer has no such parameter.
        """
        for group in self.param_groups:
            if any(parameter is block for parameter in group["params"]):
                return self.rule_of(group)[0]
        raise RuleError("this optimizer does not have the block; give it model.parameters()")

    def row_state(self, block: Tensor) -> dict[str, Tensor]:
        """What is remembered of a block: ``step`` int32 (k,), and arrays of k rows by name.

        Raises
        ------
        RuleError
            This optimizer has no such parameter.
        """
        for index, group in enumerate(self.param_groups):
            if any(parameter is block for parameter in group["params"]):
                self.flush()
                tuned = self._tuned_for(index, group, block.dtype)
                self._follow(block, tuned)
                return dict(self.state[block])
        raise RuleError("this optimizer does not have the block; give it model.parameters()")

    def set_row_states(self, states: Mapping[Tensor, dict[str, Tensor]]) -> None:
        """Replace what is remembered of blocks.

        Raises
        ------
        RuleError
            A state that does not fit its block or the rule. Nothing is changed then.
        """
        self.check_row_states(states)
        self.flush()
        for block, state in states.items():
            self.state[block] = dict(state)
            self._most_steps.pop(block, None)
            self._debts.pop(block, None)

    def check_row_states(self, states: Mapping[Tensor, dict[str, Tensor]]) -> None:
        """Raise what `set_row_states` would."""
        for block, state in states.items():
            row_state.check(state, block, self._rules())

    def state_dict(self) -> dict[str, Any]:
        """As torch's; under catch-up every row is up to date in it."""
        self.flush()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's. A block's state keeps its dtype, and may have fewer rows than the block has
        by now: the rows that were added begin afresh.

        Raises
        ------
        RuleError
            The state of another rule, or of more rows than there are. Nothing is changed then.
        """
        ours = self._states_of_blocks(state_dict)
        self.flush()
        super().load_state_dict(state_dict)
        self._debts.clear()
        for parameter, state in ours.items():
            # torch casts what it loads to the dtype of the parameter, and shares the rest.
            self.state[parameter] = {
                name: value.detach().clone().to(parameter.device) for name, value in state.items()
            }
        self._hand_over()

    def _states_of_blocks(self, state_dict: dict[str, Any]) -> dict[Tensor, dict[str, Any]]:
        found = {}
        saved_groups = state_dict["param_groups"]
        for group, saved in zip(self.param_groups, saved_groups, strict=False):
            for parameter, key in zip(group["params"], saved["params"], strict=False):
                state = state_dict["state"].get(key)
                if state and self._is_rows(parameter):
                    row_state.check(state, parameter, self._rules())
                    found[parameter] = state
        return found
