"""ZeRO-3 partitions parameters: a stand-in does the same to token rows, which is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rowtune.torch as rt
from rowtune.errors import RuleError
from token_models import ROWS, made

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def partitioned(parameter):
    """As ZeRO-3 leaves a parameter: it has an id, and its numbers are elsewhere."""
    parameter.ds_id, parameter.ds_shape, parameter.ds_tensor = 0, parameter.shape, None
    parameter.data = torch.empty(0)


@pytest.mark.parametrize("kind", ["llama, tied", "llama, untied"])
def test_zero_3_may_not_partition_the_rows(kind, tmp_path):
    model, ids = made(kind), torch.tensor([[5, 9, 11, 40]])
    handle = rt.train_rows(model, rows=ROWS, head=True)
    partitioned(handle.parameters()[-1])  # of the head, where it has its own
    for reads in (
        lambda: model(ids),
        lambda: model.lm_head.weight,
        lambda: handle.save(tmp_path / "rows.safetensors"),
        lambda: model.save_pretrained(tmp_path),
        handle.merge,
    ):
        with pytest.raises(RuleError, match=r"ZeRO-3 .* stage 1 or 2"):
            reads()
    assert list(tmp_path.glob("*.safetensors")) == []
    assert not isinstance(model.lm_head, nn.Linear), "nothing was merged"
    plain = made(kind)
    partitioned(plain.get_input_embeddings().weight)
    with pytest.raises(RuleError, match=r"ZeRO-3 .* before"):
        rt.train_rows(plain, rows=ROWS)
