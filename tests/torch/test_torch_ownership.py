"""Whose memory a row-sparse gradient is in: that of a gradient nobody else holds, or its own."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

import rowtune.torch as rt
from rowtune.errors import NonFiniteError
from rowtune.torch import ownership

N, D = 12, 4
IDS = torch.tensor([[3, 7, 3], [0, 3, 11]])
HOLD = []  # what the user of a test holds on to


def hold(thing):
    HOLD.append(thing)
    return thing


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def embedding(seed=0, **more):
    return rt.Embedding.from_pretrained(random(N, D, seed=seed), **{"sparse": True, **more})


def weighted(out):
    return (out * random(*out.shape, seed=1)).sum()


def is_kept(emb, positions=6):
    """Whether the gradient has an entry for each position, as it came."""
    return emb.block.grad._nnz() == positions


LAYERS = {
    "product": lambda out: out * random(*out.shape, seed=1),
    "linear": nn.Linear(D, 2),
    "flat": lambda out: out.view(-1).tanh(),
    "other rows": lambda out: out.reshape(2, -1).view(-1, 2).tanh(),
    "mean of words": lambda out: out.mean(1).tanh(),
    "checkpoint": lambda out: checkpoint(torch.tanh, out, use_reentrant=False),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_gradient_that_nobody_else_holds_is_kept_as_it_came(layer, monkeypatch):
    emb, came = embedding(), []
    out = emb(IDS)
    out.register_hook(lambda grad: came.append(grad.data_ptr()))
    weighted(LAYERS[layer](out)).backward()
    kept = emb.block.grad
    assert is_kept(emb)
    assert kept._values().data_ptr() == came[0]
    assert kept._indices().tolist() == [IDS.view(-1).tolist()]
    assert emb.block.touched().nonzero().view(-1).tolist() == IDS.unique().tolist()
    monkeypatch.setattr(ownership, "_ALONE", {})  # as with a torch that does not count
    emb.zero_grad()
    weighted(LAYERS[layer](emb(IDS))).backward()
    assert not is_kept(emb)
    torch.testing.assert_close(emb.block.grad.to_dense(), kept.to_dense())


def test_which_rows_and_ids_keep_it():
    for ids in (torch.tensor([3, 3, 0]), IDS.T, IDS.view(1, 2, 3), IDS.int()):
        weighted((emb := embedding())(ids).tanh()).backward()
        assert is_kept(emb, ids.numel())
    weighted((all_train := embedding(train=[0, 3, 7, 11]))(IDS)).backward()
    assert is_kept(all_train)
    weighted((one_is_frozen := embedding(train=[0, 3, 7]))(IDS)).backward()
    assert one_is_frozen.block.grad._indices().tolist() == [[0, 1, 2]]
    weighted((columns := embedding(columns=[1, 2]))(IDS)).backward()
    assert not is_kept(columns)
    # Nor one that is not in one piece, or a part of a larger one.
    for layer in (lambda out: out.transpose(0, 2), lambda out: torch.cat([out, out.detach()])):
        weighted(layer((emb := embedding())(IDS)).tanh()).backward()
        assert not is_kept(emb)


class Given(torch.autograd.Function):
    """A layer whose backward pass hands over the gradient that ``give`` makes."""

    @staticmethod
    def forward(ctx, out, give):
        ctx.give = give
        return out.sum()

    @staticmethod
    def backward(ctx, grad):
        return ctx.give(), None


def given(give):
    return lambda a, b: (Given.apply(a(IDS), give) + weighted(b(IDS))).backward()


def hook(keep=lambda grad: grad, at=lambda rows, _: rows.register_hook):
    """What a hook keeps of the gradients that it is told: of the rows, or of a view of them."""

    def told(*grads):
        HOLD.extend(keep(grad) for grad in torch.utils._pytree.tree_leaves(grads))

    def run(a, b):
        rows = a(IDS)
        flat = rows.view(-1)
        at(rows, flat)(told)
        weighted(flat.tanh() + b(IDS).view(-1)).backward()

    return run


def retained(a, b):
    rows = a(IDS)
    rows.retain_grad()
    weighted(rows.tanh() + b(IDS)).backward()
    HOLD.append(rows.grad)


def asked_for_both(a, b):
    flat, leaves = a(IDS).view(-1), [*a.parameters(), *b.parameters()]
    loss = weighted(flat.tanh() + b(IDS).view(-1))
    *grads, of_flat = torch.autograd.grad(loss, [*leaves, flat])
    HOLD.append(of_flat)
    for leaf, grad in zip(leaves, grads, strict=True):
        leaf.grad = grad


def a_parameter_beside_it(a, b):
    place = nn.Parameter(random(2, 3, D))
    weighted((a(IDS) + place).tanh() + b(IDS)).backward()
    HOLD.append(place.grad)


CASES = {
    "both sides of a sum": lambda a, b: weighted((a(IDS) + b(IDS)).tanh()).backward(),
    "a sum of views": lambda a, b: weighted(a(IDS).view(6, D) + b(IDS).view(6, D)).backward(),
    "views of one": lambda a, b: weighted(torch.cat([a(IDS), b(IDS)]).tanh()).backward(),
    "stacked": lambda a, b: weighted(torch.stack([a(IDS), b(IDS)], 1).tanh()).backward(),
    "expanded": lambda a, b: (a(IDS).sum() + b(IDS).mean()).backward(),
    "strided": lambda a, b: (a(IDS) + b(IDS)).transpose(0, 2).backward(random(D, 3, 2)),
    "handed in": lambda a, b: (a(IDS) + b(IDS)).backward(hold(random(2, 3, D))),
    "retained": retained,
    "grad of both": asked_for_both,
    "a parameter beside it": a_parameter_beside_it,
    "a hook": hook(),
    "a hook of a view": hook(at=lambda _, flat: flat.register_hook),
    "a hook before the node": hook(at=lambda rows, _: rows.grad_fn.register_prehook),
    "a hook after the node": hook(at=lambda rows, _: rows.grad_fn.register_hook),
    "a hook after the node above": hook(at=lambda _, flat: flat.grad_fn.register_hook),
    "detached": hook(torch.Tensor.detach),
    "a row": hook(lambda grad: grad[1, 2]),
    "its bits": hook(lambda grad: grad.view(torch.int32)),
    "an array": hook(torch.Tensor.numpy),
    "a part of an array": hook(lambda grad: grad.detach().numpy()[0]),
    "a memoryview": hook(lambda grad: memoryview(grad.numpy())),
    "by dlpack": hook(np.from_dlpack),
    "its memory": hook(torch.Tensor.untyped_storage),
    "in another tensor": hook(lambda grad: torch.empty(0).set_(grad.untyped_storage())),
    "given": given(lambda: hold(random(2, 3, D))),
    "given, of NumPy": given(lambda: torch.from_numpy(hold(random(2, 3, D).numpy()))),
    "given, all but a row": given(lambda: hold(random(7, D))[1:].view(2, 3, D)),
    "given, a buffer": given(
        lambda: torch.frombuffer(hold(bytearray(96)), dtype=torch.float32).view(2, 3, D)
    ),
}


def unscale(block):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(torch.ones(()))
    scaler.unscale_(torch.optim.SGD([block]))


HALVED = {
    "in place": lambda block: block.grad._values().mul_(0.5),
    "unscaled": unscale,
    "clipped": lambda block: rt.clip_grad_norm_(block, block.grad.to_dense().norm() / 2),
}


def contents():
    """Copies of what is held, as arrays."""
    tensors = [t.to_dense().detach().numpy() if torch.is_tensor(t) else t for t in HOLD]
    return [np.array(t.tolist() if torch.is_storage(t) else t) for t in tensors]


@pytest.mark.parametrize("halve", HALVED)
@pytest.mark.parametrize("case", CASES)
def test_what_somebody_holds_is_no_blocks_gradient_too(case, halve):
    plain = [nn.Embedding(N, D, _weight=random(N, D, seed=seed)) for seed in (0, 1)]
    CASES[case](*plain)
    expected = [table.weight.grad / 2 for table in plain]
    HOLD.clear()
    ours = [embedding(0), embedding(1)]
    CASES[case](*ours)
    before = contents()
    for emb in ours:
        HALVED[halve](emb.block)
    for emb, grad in zip(ours, expected, strict=True):
        torch.testing.assert_close(emb.block.grad.to_dense(), grad)
    for one, other in zip(contents(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("rule", [rt.optim.Adam, rt.optim.RowwiseAdagrad])
def test_a_step_has_the_same_bits_whoever_holds_the_gradient(rule, clip):
    ids = torch.randint(0, 2 * N, (5000,), generator=torch.Generator().manual_seed(3)) // 3
    found = []
    for hooks in ([], [HOLD.append]):
        emb = embedding()
        optimizer = rule(emb.parameters(), lr=0.1)
        for seed in range(3):
            optimizer.zero_grad()
            look_up(emb, ids, hooks, random(5000, D, seed=seed))
            assert is_kept(emb, 5000) == (not hooks)
            if clip:
                rt.clip_grad_norm_(emb.parameters(), 1.0)
            optimizer.step()
        arrays = [emb.block.detach(), *optimizer.row_state(emb.block).values()]
        found.append([array.numpy().tobytes() for array in arrays])
        look_up(emb, ids, hooks, torch.full((5000, D), torch.nan))
        with pytest.raises(NonFiniteError):
            optimizer.step()
        assert emb.block.detach().numpy().tobytes() == found[-1][0]
    assert found[0] == found[1]


def look_up(table, ids, hooks, factor):
    out = table(ids)
    for hook in hooks:
        out.register_hook(hook)
    (out * factor).sum().backward()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, FakeTensorMode])
def test_where_it_is_imported_does_not_matter(mode):
    with mode():
        again = runpy.run_path(ownership.__file__)
    assert again["_ALONE"] == ownership._ALONE
