"""A lookup that is called directly, and the same one through torch's dispatcher."""

from __future__ import annotations

import warnings
from contextlib import nullcontext, suppress

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.autograd.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import rowtune.torch as rt
from rowtune.torch.clip import summed
from rowtune.torch.eager import nobody_looks_on

N, D = 40, 5
IDS = torch.tensor([[3, 3, 0, 11], [7, 3, 2, 3], [3, 11, 39, 8]])
TRAIN = [0, 2, 3, 8, 11, 20, 39]
FORWARD = {rt.Embedding: "rowtune::lookup", rt.EmbeddingBag: "rowtune::sum_bags"}
BACKWARD = {
    (rt.Embedding, False): "rowtune::dense_gradient",
    (rt.Embedding, True): "rowtune::row_gradient",
    (rt.EmbeddingBag, False): "rowtune::bag_gradient",
    (rt.EmbeddingBag, True): "rowtune::bag_gradient",
}
either_kind = pytest.mark.parametrize("kind", FORWARD, ids=["Embedding", "EmbeddingBag"])
either_gradient = pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])


class LookingOn(TorchDispatchMode):
    """Sees every operator, and changes nothing."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


ROUTES = {  # what surrounds the forward and the backward pass
    "directly": (nullcontext, nullcontext),
    "as an operator": (LookingOn, LookingOn),
    "forward as an operator": (LookingOn, nullcontext),
    "backward as an operator": (nullcontext, LookingOn),
}


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(kind, sparse, /, dtype=torch.float32, **more):
    options = {"train": TRAIN, "sparse": sparse, **more}
    return kind.from_pretrained(random(N, D).to(dtype), **options)


def operators(run):
    """Names of this library's operators that the dispatcher is handed while it runs."""
    with profile() as seen:
        run()
    return {e.name for e in seen.function_events if e.name.startswith("rowtune::")}


BATCHES = [(IDS,), (IDS.T,), (IDS[:, :0],), (IDS.int()[:1],), (IDS.repeat(60, 3),)]
OFFSETS = [(IDS.view(-1), torch.tensor([0, 0, 5, 12])), (IDS[0], torch.tensor([0]))]
WEIGHTS = [(IDS, None, random(3, 4, seed=seed)) for seed in (3, 4)]
LOSSES = [torch.sum, lambda out: (out * random(*out.shape, seed=2)).sum()]
CASES = {
    "rows": (rt.Embedding, {}, BATCHES),
    "columns": (rt.Embedding, {"columns": [4, 0]}, BATCHES),
    "all": (rt.Embedding, {"train": "all"}, BATCHES),
    "all but padding": (rt.Embedding, {"train": "all", "padding_idx": 3}, BATCHES),
    "by frequency": (rt.Embedding, {"scale_grad_by_freq": True, "sparse": False}, BATCHES),
    "half": (rt.Embedding, {"train": "all", "dtype": torch.bfloat16}, BATCHES),
    "sum": (rt.EmbeddingBag, {"mode": "sum"}, BATCHES),
    "mean": (rt.EmbeddingBag, {"mode": "mean", "padding_idx": 3}, BATCHES),
    "max": (rt.EmbeddingBag, {"mode": "max"}, BATCHES),
    "parts": (rt.EmbeddingBag, {"mode": "sum", "columns": [1, 2]}, BATCHES),
    "offsets": (rt.EmbeddingBag, {"mode": "mean", "train": "all"}, OFFSETS),
    "weights": (rt.EmbeddingBag, {"mode": "sum", "padding_idx": 11}, WEIGHTS),
}


def bits(*tensors):
    return [(t.dtype, t.shape, t.detach().double().numpy().tobytes()) for t in tensors]


def trained(case, route, sparse):
    """Bits of everything that comes out of a few steps."""
    kind, more, batches = CASES[case]
    emb = made(kind, sparse, **more)
    optimizer = rt.optim.Adam(emb.parameters(), lr=0.1, weight_decay=0.01)
    forward, backward = ROUTES[route]
    seen = []
    for arguments in batches:
        for loss in LOSSES:
            optimizer.zero_grad()
            with forward():
                out = emb(*arguments)
            with backward():
                loss(out).backward()
            grad = emb.block.grad
            parts = (summed(grad)._indices(), summed(grad)._values()) if grad.is_sparse else (grad,)
            seen += bits(out, *parts, emb.block.touched())
            optimizer.step()
    return [*seen, *bits(emb.block, *optimizer.row_state(emb.block).values())]


@either_gradient
@pytest.mark.parametrize("case", CASES)
def test_both_ways_have_the_same_bits(case, sparse):
    expected = trained(case, "directly", sparse)
    for route in list(ROUTES)[1:]:
        assert trained(case, route, sparse) == expected, route


def pass_through(emb, mode):
    with mode:
        emb(IDS).tanh().sum().backward()


@either_gradient
@either_kind
def test_the_operator_is_used_in_both_passes_where_somebody_looks_on(kind, sparse):
    emb, both = made(kind, sparse), {FORWARD[kind], BACKWARD[kind, sparse]}
    assert operators(lambda: pass_through(emb, LookingOn())) == both
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    assert operators(lambda: pass_through(made(kind, sparse), fake)) == both
    torch.compiler.reset()
    compiled = torch.compile(emb, backend="aot_eager", fullgraph=True)
    pass_through(compiled, nullcontext())
    # Compiled by now: nothing but the graph runs, and it calls operators.
    assert operators(lambda: pass_through(compiled, nullcontext())) == both
    with torch.inference_mode(), LookingOn():
        assert operators(lambda: emb(IDS)) == {FORWARD[kind]}


@either_kind
def test_the_operator_is_used_by_tracers_and_transforms(kind):
    emb, two = made(kind, False), torch.stack([IDS.flip(0), IDS])
    assert operators(lambda: torch.func.vmap(emb)(two)) == {FORWARD[kind]}
    assert torch.equal(torch.func.vmap(emb)(two)[1], emb(IDS))

    def of_block(block):
        return torch.func.functional_call(emb, {"block": block}, (IDS,)).sum()

    def differentiate():  # torch transforms no custom operator, and says so
        with suppress(RuntimeError):
            torch.func.grad(of_block)(emb.block.detach())

    assert operators(differentiate) == {FORWARD[kind]}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
        traced = torch.jit.trace(emb, (IDS,))
        assert torch.equal(traced(IDS.flip(0)), emb(IDS.flip(0)))
    assert FORWARD[kind] in str(traced.inlined_graph)
    exported = torch.export.export(emb, (IDS,))
    assert FORWARD[kind].replace("::", ".") in str(exported.graph)


@either_gradient
@either_kind
def test_no_operator_is_used_where_nobody_looks_on(kind, sparse):
    emb = made(kind, sparse)

    def use():
        pass_through(emb, nullcontext())
        pass_through(emb, torch.autocast("cpu", torch.bfloat16))
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                emb(IDS)
        with torch.autograd.graph.save_on_cpu():
            out = emb(IDS)
        out.register_hook(lambda grad: 2 * grad)
        checkpoint(lambda x: x * emb(IDS), out, use_reentrant=False).sum().backward()
        torch.autograd.grad(emb(IDS).sum(), emb.block, create_graph=True)

    assert operators(use) == set()


def test_who_looks_on():
    block = made(rt.Embedding, False).block
    plain = (x := torch.ones(2), block, torch.nn.Parameter(block.detach()), None)
    assert nobody_looks_on(*plain)
    own = x.as_subclass(type("Own", (torch.Tensor,), {}))
    for tensor in (own, x.to("meta"), torch._neg_view(x), torch._efficientzerotensor(2)):
        assert not nobody_looks_on(*plain, tensor)
    for mode in (LookingOn, FakeTensorMode):
        with mode():
            assert not nobody_looks_on(*plain)
    for transform in (torch.func.vmap, torch.func.grad):
        found = transform(lambda x: x.sum() * nobody_looks_on(*plain))(torch.ones(2))
        assert not found.any()
    compiled = torch.compile(lambda x: x + int(nobody_looks_on(x)), backend="aot_eager")
    assert compiled(torch.zeros(1)).item() == 0
    assert nobody_looks_on(*plain)


@either_gradient
@either_kind
def test_both_ways_refuse_a_second_derivative_with_the_same_words(kind, sparse):
    words = set()
    for forward, backward in ROUTES.values():
        emb = made(kind, sparse)
        with forward():
            loss = emb(IDS).pow(3).sum()
        with backward():
            (grad,) = torch.autograd.grad(loss, emb.block, create_graph=True)
        with backward(), pytest.raises(NotImplementedError) as refused:
            grad.to_dense().sum().backward()
        words.add(str(refused.value))
    assert len(words) == 1
    assert "rowtune.torch.subset(embedding, ids)" in words.pop()


@pytest.mark.parametrize("route", ROUTES)
@either_gradient
@either_kind
@pytest.mark.parametrize(
    "loss",
    [lambda out: torch.linalg.vector_norm(out, 0), lambda out: torch.sgn(out).sum()],
    ids=["none at all", "zeros without bytes"],
)
def test_gradients_that_torch_leaves_out_are_zero(kind, sparse, route, loss):
    emb, (forward, backward) = made(kind, sparse), ROUTES[route]
    before = emb.block.detach().clone()
    with forward():
        out = emb(IDS)
    with backward():
        loss(out).backward()
    rt.optim.SGD(emb.parameters(), lr=0.1).step()
    assert torch.equal(emb.block, before)


@either_kind
def test_a_forward_derivative_is_refused_and_never_zero(kind):
    emb = made(kind, False)
    block, tangent = emb.block.detach(), torch.ones_like(emb.block)

    def rows(block):
        return torch.func.functional_call(emb, {"block": block}, (IDS,))

    with warnings.catch_warnings():  # torch's own, where it makes its first tangent
        warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
        with pytest.raises(NotImplementedError), forward_ad.dual_level():
            rows(forward_ad.make_dual(block, tangent))
        with pytest.raises((NotImplementedError, RuntimeError)):
            torch.func.jvp(rows, (block,), (tangent,))
