"""`state_dict` of a model with token rows is that of the plain class, on the way back as well."""

from __future__ import annotations

import pytest
import torch

import rowtune.torch as rt
from token_models import ROWS, logits, made, move

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize("kind", ["llama, tied", "llama, untied"])
def test_what_state_dict_holds_is_loaded_into_the_rows_in_place(kind):
    handle = rt.train_rows(made(kind), rows=ROWS, head=True)
    move(handle)
    state, expected = handle.model.state_dict(), handle.parameters()
    for assign in (False, True):
        other = rt.train_rows(made(kind), rows=ROWS, head=True)
        other.model.load_state_dict(state, assign=assign)
        assert all(map(torch.equal, other.parameters(), expected))
        assert torch.equal(logits(other.model), logits(handle.model))
        theirs = {id(p) for p in other.model.parameters() if p.requires_grad}
        assert theirs == {id(rows) for rows in other.parameters()}

    state["lm_head.weight"] = state["lm_head.weight"][:-1]
    with pytest.raises(RuntimeError, match=r"size mismatch for lm_head.weight"):
        other.model.load_state_dict(state)
    del state["lm_head.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*lm_head.weight"):
        other.model.load_state_dict(state)


def test_frozen_rows_of_a_checkpoint_are_taken_by_a_tied_head_too():
    plain = made("llama, tied")
    with torch.no_grad():
        plain.get_input_embeddings().weight.mul_(2)
    handle = rt.train_rows(made("llama, tied"), rows=ROWS)
    state = plain.state_dict()
    del state["lm_head.weight"]  # as files of tied models are
    handle.model.load_state_dict(state, strict=False)
    torch.testing.assert_close(logits(handle.model), logits(plain), rtol=1e-5, atol=1e-6)
    assert handle.model.lm_head.base is handle.model.get_input_embeddings()._base
