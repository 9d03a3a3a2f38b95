"""From the name of a rule to the optimizer that has it."""

from __future__ import annotations

import pytest
import torch

import rowtune.torch as rt
from rowtune import rules
from rowtune.torch.distributed.rule_names import checked, optimizer_of


@pytest.mark.parametrize("name", rules.names())
def test_every_rule_has_an_optimizer_that_moves_blocks_by_it(name):
    block = rt.Embedding(3, 2).block
    hyper, options = checked(name, {"lr": 0.25, "check_finite": False})
    optimizer = optimizer_of(name, [block], hyper, options)
    tuned = optimizer._tuned_for(0, optimizer.param_groups[0], torch.float32)
    # torch has one optimizer for each of these pairs.
    assert tuned.rule.name == {"nesterov": "momentum", "adamw": "adam"}.get(name, name)
    assert tuned.hyper["lr"] == 0.25
    assert optimizer.param_groups[0]["check_finite"] is False
    assert {k: v for k, v in tuned.hyper.items() if k in hyper} == {
        k: v for k, v in hyper.items() if k in tuned.hyper
    }
