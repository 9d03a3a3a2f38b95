"""Token rows in compiled models, and under losses that read a head's weight themselves."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import rowtune.torch as rt
from token_models import ROWS, D, N, batch, made

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
KINDS = ["llama, tied", "llama, untied"]
LABELS = torch.tensor([[5, 9, 11, 40], [12, 7, 7, 3]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_model_compiles_to_one_graph(kind):
    handle = rt.train_rows(made(kind), rows=ROWS, head=True)
    torch.compiler.reset()
    fast = torch.compile(handle.model, backend="aot_eager", fullgraph=True)
    found = []
    for run in (handle.model, fast):
        loss = run(**batch(handle.model), labels=LABELS).loss
        loss.backward()
        found.append([loss.detach(), *[rows.grad for rows in handle.parameters()]])
        handle.model.zero_grad()
    torch.testing.assert_close(found[1], found[0])
    assert all(value.abs().sum() > 0 for value in found[0])


class ChunkedLoss(torch.autograd.Function):
    """Cross-entropy that never has all logits at once, and makes its gradients as it goes."""

    @staticmethod
    def forward(ctx, hidden, weight, targets):
        to_hidden, to_weight = torch.zeros_like(hidden), torch.zeros_like(weight)
        total = hidden.new_zeros(())
        for at in range(0, len(hidden), 5):
            part = slice(at, at + 5)
            scores = hidden[part] @ weight.T
            total += functional.cross_entropy(scores, targets[part], reduction="sum")
            error = scores.softmax(-1) - functional.one_hot(targets[part], len(weight))
            to_hidden[part] = error @ weight
            to_weight += error.T @ hidden[part]
        ctx.save_for_backward(to_hidden, to_weight)
        return total

    @staticmethod
    def backward(ctx, grad):
        return *[grad * each for each in ctx.saved_tensors], None


@pytest.mark.parametrize("kind", KINDS)
def test_a_fused_loss_that_reads_the_heads_weight_trains_the_rows(kind):
    handle = rt.train_rows(made(kind), rows=ROWS, head=True)
    model, ids = handle.model, LABELS
    hidden = model.model(ids).last_hidden_state[:, :-1].reshape(-1, D)
    ChunkedLoss.apply(hidden, model.lm_head.weight, ids[:, 1:].reshape(-1)).backward()
    found = [rows.grad for rows in handle.parameters()]
    model.zero_grad()
    plain = model(ids).logits[:, :-1].reshape(-1, N)
    functional.cross_entropy(plain, ids[:, 1:].reshape(-1), reduction="sum").backward()
    expected = [rows.grad for rows in handle.parameters()]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert all(grad.abs().sum() > 0 for grad in expected)
