"""`EmbeddingBag`: sums, means and maxima beside `nn.EmbeddingBag`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rowtune.torch as rt

N, D = 12, 5
MODES = ["sum", "mean", "max"]
IDS = torch.tensor([3, 3, 0, 11, 7, 3, 2, 3, 3, 11])
OFFSETS = torch.tensor([0, 2, 2, 6, 10])  # the second bag is empty, the last one too


@pytest.fixture
def weights():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[False, True], ids=["dense", "sparse"])
def sparse(request):
    return request.param


def whole(*shape, seed=1):
    """Small whole numbers, whose sums are exact in every order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).float()


def pair(weights, sparse=False, train=(0, 3, 11), columns=None, **options):
    ours = rt.EmbeddingBag.from_pretrained(
        weights, train=train, columns=columns, sparse=sparse, **options
    )
    return ours, nn.EmbeddingBag(*weights.shape, _weight=weights.clone(), **options)


def agree(ours, torchs, *arguments, tolerance=None):
    """Outputs and gradients; ``arguments`` as a forward pass takes them."""
    close = {} if tolerance is None else {"rtol": tolerance, "atol": tolerance}
    out, expected = ours(*arguments), torchs(*arguments)
    assert out.dtype == expected.dtype
    torch.testing.assert_close(out, expected, **close)
    grads = whole(*expected.shape).to(expected.dtype)
    out.backward(grads)
    expected.backward(grads)
    assert ours.block.grad.is_sparse == ours.sparse
    rows = torchs.weight.grad.to_dense()[torch.from_numpy(ours.rows.ids.copy())]
    if ours.rows.columns is not None:
        rows = rows[:, ours._columns]
    torch.testing.assert_close(ours.block.grad.to_dense(), rows.contiguous(), **close)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("more", [{}, {"columns": [4, 0]}, {"train": "all"}, {"train": []}])
@pytest.mark.parametrize("padding_idx", [None, 3, -1])
def test_outputs_and_gradients_are_those_of_torch(weights, sparse, mode, more, padding_idx):
    def made(**options):
        return pair(weights, sparse, mode=mode, padding_idx=padding_idx, **more, **options)

    agree(*made(), IDS, OFFSETS)
    agree(*made(), IDS, OFFSETS[:-1])
    agree(*made(), IDS.int(), OFFSETS.int())
    agree(*made(include_last_offset=True), IDS, OFFSETS)
    agree(*made(), IDS.view(5, 2))
    agree(*made(include_last_offset=True), IDS.view(2, 5))
    agree(*made(), IDS.view(5, 2).T)
    agree(*made(), IDS[:0], OFFSETS[:0])
    agree(*made(), IDS[:0], OFFSETS[:1].expand(3))
    agree(*made(), IDS[:0].view(0, 4))


@pytest.mark.parametrize("more", [{}, {"columns": [4, 0]}, {"train": "all"}])
@pytest.mark.parametrize("padding_idx", [None, 3])
def test_weights_of_samples_and_their_gradient(weights, sparse, more, padding_idx):
    options = {"mode": "sum", "padding_idx": padding_idx, **more}
    for form in (lambda x: (x, OFFSETS), lambda x: (x.view(5, 2), None)):
        ids, offsets = form(IDS)
        weighting = whole(10, seed=2).view(ids.shape)
        agree(*pair(weights, sparse, **options), ids, offsets, weighting)
        strided = weighting.repeat_interleave(2, -1)[..., ::2]
        agree(*pair(weights, sparse, **options), ids, offsets, strided)
        grads = []
        for bag in pair(weights, sparse, **options):
            own = weighting.clone().requires_grad_()
            bag(ids, offsets, own).square().sum().backward()
            grads.append(own.grad)
        torch.testing.assert_close(*grads)
        learned = (weighting.clone().requires_grad_() for _ in range(2))
        agree(*pair(weights, sparse, **options), ids, offsets, next(learned))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding_idx", [None, 3])
def test_gradients_divided_by_frequency(weights, mode, padding_idx):
    """As `nn.Embedding` divides them; torch's own bag takes the counts of other ids (2.13)."""
    ids = IDS.view(5, 2)
    grads = whole(5, D)
    undivided = nn.EmbeddingBag(N, D, mode=mode, padding_idx=padding_idx, _weight=weights.clone())
    undivided(ids).backward(grads)
    counts = torch.bincount(IDS, minlength=N).clamp(min=1)[:, None]
    expected = undivided.weight.grad / counts
    for more in ({}, {"columns": [1, 4]}, {"train": "all"}):
        options = {"scale_grad_by_freq": True, "padding_idx": padding_idx, **more}
        ours = rt.EmbeddingBag.from_pretrained(weights, mode=mode, **{"train": [0, 3], **options})
        ours(ids).backward(grads)
        rows = expected[torch.from_numpy(ours.rows.ids.copy())]
        rows = rows[:, [1, 4]] if "columns" in more else rows
        torch.testing.assert_close(ours.block.grad, rows)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_base_and_block_of_other_dtypes(weights, mode, dtype):
    for block, tolerance in ((dtype, 0.05), (torch.float32, 1e-5)):
        ours, _ = pair(weights.to(dtype), mode=mode)
        torchs = nn.EmbeddingBag(N, D, mode=mode, _weight=weights.to(dtype).to(block))
        exact = block in (torch.float32, torch.float64)
        agree(ours.to(block), torchs, IDS, OFFSETS, tolerance=1e-5 if exact else tolerance)
        assert ours.base.dtype == dtype


@pytest.mark.parametrize("mode", MODES)
def test_max_norm_as_in_torch(weights, mode):
    for options in ({}, {"norm_type": 1.0}, {"padding_idx": 2}):
        ours, torchs = pair(weights, train="all", mode=mode, max_norm=0.7, **options)
        agree(ours, torchs, IDS[IDS != 2].view(3, 3))
        assert torch.equal(ours.weight, torchs.weight)


@pytest.mark.parametrize("mode", MODES)
def test_bags_of_no_ids_at_all_are_zeros(weights, sparse, mode):
    """Which torch does not allow in two dimensions."""
    ours, _ = pair(weights, sparse, mode=mode)
    out = ours(torch.zeros(3, 0, dtype=torch.long))
    assert torch.equal(out, torch.zeros(3, D))
    out.sum().backward()
    assert not ours.block.grad.to_dense().any()


def test_bags_of_an_expanded_base_and_of_searched_rows(sparse):
    """One row stands for twenty million, of which two train: no map of ids to slots is kept."""
    row = torch.arange(1.0, 4.0)[None]
    last = 19_999_999
    ours = rt.EmbeddingBag.from_pretrained(
        row.expand(last + 1, 3), train=[7, last], sparse=sparse, init=torch.zeros(2, 3), mode="sum"
    )
    assert ours.rows.slot_map is None
    out = ours(torch.tensor([[1, 7, last], [last, last, 8]]))
    assert torch.equal(out, row.repeat(2, 1))
    out.sum().backward()
    assert ours.block.grad.to_dense().tolist() == [[1.0] * 3, [3.0] * 3]


@pytest.mark.parametrize("mode", MODES)
def test_bags_larger_than_any_piece_that_the_kernels_cut(sparse, mode):
    generator = torch.Generator().manual_seed(3)
    table = torch.randint(-9, 10, (3000, 64), generator=generator).float()
    ids = torch.randint(0, 3000, (20_000,), generator=generator)
    ids[::3] = 7
    cuts = torch.randint(0, 20_001, (300,), generator=generator).sort().values
    offsets = torch.cat([torch.tensor([0]), cuts])
    ours, torchs = pair(table, sparse, slice(5, 2500), mode=mode, padding_idx=8)
    agree(ours, torchs, ids, offsets, tolerance=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_any_layout(weights, sparse, mode):
    for reduce in (
        torch.sum,
        lambda out: out[:, ::2].sum() + out[1].sum(),
        lambda out: (out.T.reshape(-1) * torch.arange(out.numel())).sum(),
    ):
        ours, torchs = pair(weights, sparse, mode=mode)
        for bag in (ours, torchs):
            reduce(bag(IDS, OFFSETS)).backward()
        torch.testing.assert_close(ours.block.grad.to_dense(), torchs.weight.grad[[0, 3, 11]])


def test_a_bag_that_is_used_twice_and_accumulates(weights, sparse):
    for mode in MODES:
        ours, torchs = pair(weights, sparse, mode=mode)
        for bag in (ours, torchs):
            (bag(IDS.view(2, 5)) * bag(IDS.flip(0).view(2, 5))).sum().backward()
            bag(torch.tensor([[1, 2]])).sum().backward()  # no trainable id
            bag(torch.tensor([[1, 3]])).sum().backward()
        torch.testing.assert_close(ours.block.grad.to_dense(), torchs.weight.grad[[0, 3, 11]])
    empty, _ = pair(weights, sparse)
    empty(torch.tensor([[1, 2]])).sum().backward()
    empty(torch.tensor([[1, 3]])).sum().backward()
    assert empty.block.grad.to_dense()[1].tolist() == [0.5] * D


def test_a_second_derivative_is_refused(weights, sparse):
    for mode in MODES:
        ours, _ = pair(weights, sparse, mode=mode)
        loss = ours(IDS, OFFSETS).pow(3).sum()
        (grad,) = torch.autograd.grad(loss, ours.block, create_graph=True)
        with pytest.raises(NotImplementedError, match=r"rowtune\.torch\.subset"):
            grad.to_dense().sum().backward()


def test_maxima_pass_over_what_is_not_a_number(weights):
    table = weights.clone()
    table[2, 1], table[3, 2] = float("nan"), float("inf")
    ours, torchs = pair(table, mode="max")
    assert torch.equal(ours(IDS, OFFSETS).isnan(), torchs(IDS, OFFSETS).isnan())
    for mode in ("sum", "mean"):
        ours, torchs = pair(table, mode=mode)
        out, expected = ours(IDS, OFFSETS), torchs(IDS, OFFSETS)
        torch.testing.assert_close(out, expected, equal_nan=True)


@st.composite
def batches(draw):
    sizes = draw(st.lists(st.integers(0, 5), max_size=5))
    ids = draw(st.lists(st.integers(0, N - 1), min_size=sum(sizes), max_size=sum(sizes)))
    train = draw(st.lists(st.booleans(), min_size=N, max_size=N))
    return sizes, ids, np.array(train), draw(st.none() | st.integers(-N, N - 1))


@settings(max_examples=60, deadline=None)
@given(batches(), st.sampled_from(["sum", "mean"]), st.booleans(), st.booleans())
def test_any_bags_agree_with_a_dense_computation(batch, mode, weighted, sparse):
    sizes, ids, train, padding_idx = batch
    weighted = weighted and mode == "sum"
    rng = np.random.default_rng(len(ids))
    table = rng.integers(-9, 10, (N, D)).astype(np.float32)
    ours = rt.EmbeddingBag.from_pretrained(
        table, train=train, mode=mode, sparse=sparse, padding_idx=padding_idx
    )
    skipped = None if padding_idx is None else padding_idx % N
    shares = rng.integers(1, 4, len(ids)).astype(np.float32) if weighted else np.ones(len(ids))
    grads = rng.integers(-3, 4, (len(sizes), D)).astype(np.float64)
    expected, total = np.zeros((len(sizes), D)), np.zeros((N, D))
    begin = 0
    for bag, size in enumerate(sizes):
        members = [p for p in range(begin, begin + size) if ids[p] != skipped]
        for p in members:
            share = shares[p] / (len(members) if mode == "mean" else 1)
            expected[bag] += share * table[ids[p]]
            total[ids[p]] += share * grads[bag]
        begin += size
    offsets = torch.tensor([0, *np.cumsum(sizes)[:-1]], dtype=torch.long)[: len(sizes)]
    given = torch.from_numpy(shares).float() if weighted else None
    out = ours(torch.tensor(ids, dtype=torch.long), offsets, given)
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    out.backward(torch.from_numpy(grads).float())
    np.testing.assert_allclose(
        ours.block.grad.to_dense().numpy(), total[ours.rows.ids], rtol=1e-5, atol=1e-5
    )
