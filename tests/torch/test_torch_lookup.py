"""`Embedding`: the rows that come out and the gradients that go in, beside `nn.Embedding`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import rowtune.torch as rt

N, D = 12, 5
TRAINS = ["all", [0, 3, 11], slice(2, 9), []]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture
def weights():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


def integers(*shape, seed=1):
    """Small whole numbers as gradients: their sums are exact in every dtype and order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).float()


def plain(weights, **options):
    return nn.Embedding(*weights.shape, _weight=weights.clone(), **options)


def own_part(embedding, grad):
    """Of a gradient of the whole table, what belongs to the block."""
    rows = grad.to_dense()[torch.from_numpy(embedding.rows.ids.copy())]
    return rows if embedding.rows.columns is None else rows[:, embedding._columns]


def bits(tensor):
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().contiguous().view(integer)


def same_bits(one, other):
    return one.dtype == other.dtype and torch.equal(bits(one), bits(other))


def forward_and_backward_agree(ours, torchs, ids, grads):
    out, expected = ours(ids), torchs(ids)
    assert same_bits(out, expected)
    out.backward(grads.to(out.dtype))
    expected.backward(grads.to(out.dtype))
    assert ours.block.grad.is_sparse == ours.sparse
    assert ours.block.grad.dtype == ours.block.dtype
    assert ours.block.grad.shape == ours.block.shape
    torch.testing.assert_close(
        ours.block.grad.to_dense(), own_part(ours, torchs.weight.grad).contiguous()
    )


@pytest.mark.parametrize("columns", [None, [4, 0, 1]])
@pytest.mark.parametrize("train", TRAINS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding_idx": 3},
        {"padding_idx": -1},
        {"scale_grad_by_freq": True},
        {"scale_grad_by_freq": True, "padding_idx": 3},
        {"sparse": True},
        {"sparse": True, "padding_idx": -9},
    ],
)
def test_outputs_and_gradients_are_those_of_torch(weights, train, columns, options):
    ours = rt.Embedding.from_pretrained(weights, train=train, columns=columns, **options)
    torchs = plain(weights, **options)
    ids = torch.tensor([[3, 3, 0, 11], [11, 7, 3, 2]])
    forward_and_backward_agree(ours, torchs, ids, integers(2, 4, D))
    assert ours.padding_idx == torchs.padding_idx
    assert ours.padding_idx not in ours.rows.ids


@pytest.mark.parametrize("base", DTYPES)
@pytest.mark.parametrize("block", DTYPES)
def test_base_and_block_of_any_two_dtypes(weights, base, block):
    ids, grads = torch.tensor([0, 4, 3, 3, 11]), integers(5, D)
    table = weights.to(base)
    for more in ({}, {"columns": [1, 2]}, {"padding_idx": 4}):
        ours = rt.Embedding.from_pretrained(table, train=[0, 3, 11], **more).to(block)
        assert (ours.base.dtype, ours.block.dtype) == (base, block)
        forward_and_backward_agree(ours, plain(table.to(block)), ids, grads)
    all_train = rt.Embedding.from_pretrained(table, padding_idx=4).to(block)
    forward_and_backward_agree(all_train, plain(table.to(block), padding_idx=4), ids, grads)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint8])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (1,), (2, 3, 2)])
def test_ids_of_any_shape_and_integer_type(weights, shape, dtype):
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(0, N, shape, generator=generator)
    for train in ("all", [1, 6], []):
        ours = rt.Embedding.from_pretrained(weights, train=train)
        out = ours(ids.to(dtype))
        assert same_bits(out, weights[ids])
        grads = integers(*shape, D)
        out.backward(grads)
        expected = torch.zeros(N, D).index_add_(0, ids.reshape(-1), grads.reshape(-1, D))
        assert torch.equal(ours.block.grad, own_part(ours, expected))


def test_ids_of_any_layout(weights):
    ids = torch.tensor([[1, 5, 3], [3, 0, 9]])
    for form in (ids.T, ids[:, ::2], ids[:, 1:2].expand(2, 4), ids.flip(0), ids[1:]):
        for train in ("all", [1, 3]):
            ours = rt.Embedding.from_pretrained(weights, train=train)
            forward_and_backward_agree(ours, plain(weights), form, integers(*form.shape, D))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("train", ["all", [1, 3]])
def test_gradients_of_any_layout(weights, train, sparse):
    ids = torch.tensor([[1, 3, 5], [3, 3, 2]])
    for reduce in (
        torch.sum,
        lambda out: out.transpose(1, 2).reshape(2, -1) @ torch.arange(15.0),
        lambda out: out[..., ::2].sum() + out[:, 1].sum(),
        lambda out: out.mean(dim=(0, 2)).flip(0) @ torch.arange(3.0),
        lambda out: (out * 0).sum(),
    ):
        ours = rt.Embedding.from_pretrained(weights, train=train, sparse=sparse)
        torchs = plain(weights, sparse=sparse)
        reduce(ours(ids)).sum().backward()
        reduce(torchs(ids)).sum().backward()
        expected = own_part(ours, torchs.weight.grad)
        torch.testing.assert_close(ours.block.grad.to_dense(), expected)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_gradient_whose_sign_torch_has_not_yet_turned(weights, sparse):
    ours = rt.Embedding.from_pretrained(weights, train=[1, 3], sparse=sparse)
    grads = torch.view_as_complex(integers(2, D, 2)).conj().imag
    assert grads.is_neg()
    ours(torch.tensor([3, 1])).backward(grads)
    assert torch.equal(ours.block.grad.to_dense(), grads.flip(0))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("batches", [[[0], [1, 1]], [[1, 1], [0]], [[], [1, 1]], [[0], [], [1, 1]]])
def test_gradients_accumulate_also_over_batches_without_a_trainable_id(weights, batches, sparse):
    ours = rt.Embedding.from_pretrained(weights, train=[1, 3], sparse=sparse)
    for ids in batches:
        ours(torch.tensor(ids, dtype=torch.long)).sum().backward()
    assert ours.block.grad.to_dense().tolist() == [[2.0] * D, [0.0] * D]


def test_a_row_sparse_gradient_can_be_scaled_in_place(weights):
    """As GradScaler does, also where every position got one and the same expanded gradient."""
    for train in ("all", [1, 3]):
        ours = rt.Embedding.from_pretrained(weights, train=train, sparse=True)
        ours(torch.tensor([1, 3, 3])).sum().backward()
        ours.block.grad._values().mul_(0.5)
        slots = torch.from_numpy(ours.rows.slots([1, 3])).long()
        assert ours.block.grad.to_dense()[slots].tolist() == [[0.5] * D, [1.0] * D]


def test_a_row_sparse_gradient_has_one_entry_for_each_row_that_was_looked_up(weights):
    ours = rt.Embedding.from_pretrained(weights, train=[1, 3, 8], sparse=True)
    came = torch.ones(5, D)
    ours(torch.tensor([8, 0, 8, 1, 7])).backward(came)
    grad = ours.block.grad
    assert (grad.sparse_dim(), grad.dense_dim()) == (1, 1)
    assert grad._indices().tolist() == [[0, 2]]
    assert grad._values()[:, 0].tolist() == [1.0, 2.0]
    torch.sparse_coo_tensor(
        grad._indices(), grad._values(), grad.shape, is_coalesced=True, check_invariants=True
    )
    grad._values().zero_()
    assert (came == 1).all()  # and is not the memory of the gradient that came
    ours.zero_grad()
    ours(torch.tensor([0, 7])).sum().backward()
    assert ours.block.grad._nnz() == 0


@pytest.mark.parametrize("sparse", [False, True])
def test_a_batch_larger_than_any_piece_that_the_kernels_cut(sparse):
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(3000, 64, generator=generator)
    ids = torch.randint(0, 3000, (40, 500), generator=generator)
    ids[:, ::3] = 7  # one very long group
    grads = torch.randint(-2, 3, (40, 500, 64), generator=generator).float()
    ours = rt.Embedding.from_pretrained(table, train=slice(5, 2500), sparse=sparse)
    forward_and_backward_agree(ours, plain(table, sparse=sparse), ids, grads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_come_out_of_a_lookup_as_they_are_in_the_table(dtype):
    size = dtype.itemsize * 8
    integer = {16: torch.int16, 32: torch.int32, 64: torch.int64}[size]
    quiet = torch.tensor(float("nan"), dtype=dtype).view(integer)
    top = 1 << (size - 1)
    patterns = [-top, 1, -top + 1, int(quiet) + 5, int(quiet) + 5 - top, int(quiet) - 2]
    patterns += [torch.tensor(x, dtype=dtype).view(integer).item() for x in (0.0, float("-inf"))]
    table = torch.tensor(patterns, dtype=integer).repeat(3, 1)
    ids = torch.tensor([2, 0, 1, 0])
    scattered = table.repeat_interleave(2, dim=1)[:, ::2]  # a base that no kernel reads
    for weights in (table.view(dtype), scattered.view(dtype), table[:1].view(dtype).expand(3, 8)):
        for more in ({"train": [1]}, {"train": "all"}, {"train": [1], "columns": [0, 3]}):
            ours = rt.Embedding.from_pretrained(weights, **more)
            assert torch.equal(bits(ours(ids)), table[ids])
            assert torch.equal(bits(torch.Tensor(ours.weight.detach())), table)
    bag = rt.Embedding.from_pretrained(table.view(dtype), padding_idx=0)
    assert torch.equal(bits(bag(ids)), table[ids])


def test_an_output_is_nobody_elses_memory(weights):
    for more in ({"train": [1]}, {"train": "all"}, {"train": [1], "columns": [2]}):
        ours = rt.Embedding.from_pretrained(weights, **more)
        before = bits(ours.weight).clone()
        for ids in (torch.arange(N), torch.tensor(4), torch.tensor([1])):
            with torch.no_grad():
                ours(ids).fill_(9)
        assert torch.equal(bits(ours.weight), before)


def test_large_outputs_live_as_long_as_somebody_looks_at_them():
    """Their memory is used again afterwards, and not before: not even a view may change."""
    table = torch.arange(3000.0).repeat_interleave(128).view(3000, 128)
    ours = rt.Embedding.from_pretrained(table, train=slice(0, 3000, 2))
    with torch.no_grad():
        outs = [ours(torch.full((3000,), i)) for i in range(8)]
        row, array = ours(torch.full((3000,), 8))[5], ours(torch.full((3000,), 9)).numpy()[5:]
        for i in range(10, 30):
            ours(torch.full((3000,), i))
    for i, out in enumerate(outs):
        assert (out == i).all()
    assert (row == 8).all()
    assert (array == 9).all()


@st.composite
def lookups(draw):
    rows, width = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    train = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    columns = draw(st.none() | st.lists(st.booleans(), min_size=width, max_size=width))
    batches = st.lists(st.integers(0, rows - 1), max_size=12)
    padding = draw(st.none() | st.integers(-rows, rows - 1))
    return rows, width, np.array(train), columns, draw(batches), draw(batches), padding


@settings(max_examples=60, deadline=None)
@given(lookups(), st.booleans(), st.integers(0, 1000))
def test_any_lookups_agree_with_a_dense_computation(case, sparse, seed):
    rows, width, train, columns, first, second, padding = case
    rng = np.random.default_rng(seed)
    table = rng.integers(-9, 10, (rows, width)).astype(np.float32)
    chosen = None if columns is None else np.array(columns, bool)
    ours = rt.Embedding.from_pretrained(
        table, train=train, columns=chosen, padding_idx=padding, sparse=sparse
    )
    new = rng.integers(-9, 10, ours.block.shape).astype(np.float32)
    ours.block.data.copy_(torch.from_numpy(new))
    expected, where = table.copy(), train.copy()
    if padding is not None:
        where[padding] = False
    grid = np.ix_(where, np.ones(width, bool) if chosen is None else chosen)
    expected[grid] = new
    total = np.zeros_like(table)
    for ids in (first, second):  # twice in one pass, and the gradients of both arrive
        grads = rng.integers(-3, 4, (len(ids), width)).astype(np.float32)
        out = ours(torch.tensor(ids, dtype=torch.long))
        np.testing.assert_array_equal(out.detach().numpy(), expected[ids])
        out.backward(torch.from_numpy(grads))
        np.add.at(total, ids, grads)
    np.testing.assert_array_equal(ours.block.grad.to_dense().numpy(), total[grid])
    again = functional.embedding(torch.tensor(first, dtype=torch.long), ours.weight)
    np.testing.assert_array_equal(again.detach().numpy(), expected[first])
