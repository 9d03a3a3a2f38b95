"""The compiled CPU path beside the plain one, and the custom operators as torch wants them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rowtune.torch as rt
from rowtune.errors import IdError
from rowtune.torch import bag_ops, cpu, ops, plain

N, D = 12, 5
TRAIN = [0, 3, 8, 11]
SLOT_MAP = torch.full((N,), -1, dtype=torch.int32)
SLOT_MAP[TRAIN] = torch.arange(4, dtype=torch.int32)
WAYS = {
    "map": (SLOT_MAP, None),
    "search": (None, torch.tensor(TRAIN)),
    "search among none": (None, torch.tensor([], dtype=torch.long)),
    "all": (None, None),
}
BATCHES = [
    torch.tensor([0, 11, 3, 3, 1, 10, 0, 8, 7]),
    torch.tensor([1, 2, 2]),
    torch.tensor([], dtype=torch.long),
    torch.tensor([3, 0, 1, 0, 8, 0])[::2],
    torch.tensor([8]).expand(4),
]


def bits(tensor):
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.contiguous().view(integer)


def random(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def whole(*shape, dtype=torch.float32, seed=0):
    """Numbers whose sums are exact in every order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-4, 5, shape, generator=generator).to(dtype)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_slots_are_the_same_both_ways(way, dtype):
    for ids in [batch.to(dtype) for batch in BATCHES]:
        slots = cpu.slots_of(ids, N, *WAYS[way])
        expected = plain.slots_of(ids, N, *WAYS[way])
        assert slots.dtype == expected.dtype == torch.int32
        assert slots.tolist() == expected.tolist()
        if len(ids):  # which an operator may not hand back as its own
            assert ids.data_ptr() not in (slots.data_ptr(), expected.data_ptr())
    for wrong in ([-1], [N], [0, 3, N], [2**40] if dtype == torch.int64 else [2**31 - 1]):
        for engine in (cpu, plain):
            with pytest.raises(IdError, match="expected 0 to 11"):
                engine.slots_of(torch.tensor(wrong, dtype=dtype), N, *WAYS[way])


ADDED = 3
BASES = {
    "table": lambda dtype: random(N - ADDED, D, dtype=dtype, seed=1),
    "one row": lambda dtype: random(1, D, dtype=dtype, seed=2).expand(N - ADDED, D),
    "transposed": lambda dtype: random(D, N - ADDED, dtype=dtype, seed=3).T,
    "every other row": lambda dtype: random(2 * N, D, dtype=dtype, seed=4)[: 2 * (N - ADDED) : 2],
    "part of wider rows": lambda dtype: random(N - ADDED, D + 2, dtype=dtype, seed=4)[:, 1:-1],
}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_are_the_same_both_ways(base, dtype):
    """Ids 9 to 11 were added: all of them trainable, in their frozen columns from ``added``."""
    train = [0, 3, 8, 9, 10, 11]
    slot_map = torch.full((N,), -1, dtype=torch.int32)
    slot_map[train] = torch.arange(6, dtype=torch.int32)
    columns = torch.tensor([0, 2, 3])
    added = random(ADDED, D, dtype=dtype, seed=5)
    for other in (dtype, torch.float32):  # the block's; another one than the base's is converted
        table = BASES[base](dtype)
        for ids in BATCHES:
            slots = plain.slots_of(ids, N, slot_map, None)
            for arguments in (
                (random(6, D, dtype=other, seed=6), table, None, None),
                (random(6, 3, dtype=other, seed=6), table, added, columns),
                (random(6, 3, dtype=other, seed=6), table, added, columns[:0]),
            ):
                if arguments[3] is not None and len(arguments[3]) == 0:
                    arguments = (arguments[0][:, :0].contiguous(), *arguments[1:])  # noqa: PLW2901
                rows = cpu.take_rows(*arguments, ids, slots)
                expected = plain.take_rows(*arguments, ids, slots)
                assert rows.dtype == expected.dtype == other
                assert torch.equal(bits(rows), bits(expected))
        block = random(N, D, dtype=other, seed=7)
        all_train = plain.slots_of(BATCHES[0], N, None, None)
        rows = cpu.take_rows(block, None, None, None, BATCHES[0], all_train)
        assert torch.equal(bits(rows), bits(block[BATCHES[0]]))


GRADS = {
    "as they are": lambda grads: grads,
    "transposed": lambda grads: grads.T.contiguous().T,
    "one for all": lambda grads: grads[:1].expand_as(grads) if len(grads) else grads,
    "one number": lambda grads: grads.new_ones(1, 1).expand_as(grads),
    "every other": lambda grads: grads.repeat_interleave(2, 0)[::2],
}


@pytest.mark.parametrize("layout", GRADS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_gradients_are_the_same_both_ways(layout, dtype):
    for ids in BATCHES:
        slots = plain.slots_of(ids, N, SLOT_MAP, None)
        grads = GRADS[layout](whole(len(ids), D, dtype=dtype))
        if dtype == torch.float64:  # sums that are exact in this dtype only
            grads = grads * (1 + 2.0**-40)
        for by_frequency in (False, True):
            summed = cpu.sum_into_rows(grads, slots, 4, by_frequency)
            expected = plain.sum_into_rows(grads, slots, 4, by_frequency)
            assert summed.dtype == dtype
            assert torch.equal(summed, expected)
        touched = sorted({slot for slot in slots.tolist() if slot >= 0})
        expected = plain.sum_into_rows(grads, slots, 4)[touched]
        for engine in (cpu, plain):
            unique, sums = engine.sum_by_row(grads, slots)
            assert (unique.dtype, unique.tolist()) == (torch.int64, touched)
            assert sums.dtype == dtype
            assert torch.equal(sums, expected)
            stamps = torch.full((4,), 3, dtype=torch.int32)
            engine.mark(slots, 8, stamps)
            assert stamps.tolist() == [8 if slot in touched else 3 for slot in range(4)]


def test_large_sums_are_the_same_both_ways_and_on_every_cut():
    """More than one piece of rows, groups longer than a segment, and pieces without any group."""
    generator = torch.Generator().manual_seed(1)
    for highest in (9000, 4000):
        slots = torch.randint(-1, highest, (30_000,), generator=generator, dtype=torch.int32)
        slots[::5] = 17
        slots[1::5] = highest - 1
        grads = whole(30_000, 64)
        expected = plain.sum_into_rows(grads, slots, 9000)
        assert torch.equal(cpu.sum_into_rows(grads, slots, 9000), expected)
        touched = slots[slots >= 0].unique()
        for engine in (cpu, plain):
            unique, sums = engine.sum_by_row(grads, slots)
            assert torch.equal(unique, touched)
            assert torch.equal(sums, expected[touched])
        halves = plain.sum_into_rows(grads.half(), slots, 9000)
        assert torch.equal(cpu.sum_into_rows(grads.half(), slots, 9000), halves)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.lists(st.integers(0, 29), max_size=40))
def test_any_rows_and_ids_are_the_same_both_ways(train, ids):
    trainable = torch.from_numpy(np.flatnonzero(train))
    batch = torch.tensor([i for i in ids if i < len(train)], dtype=torch.long)
    slot_map = torch.full((len(train),), -1, dtype=torch.int32)
    slot_map[trainable] = torch.arange(len(trainable), dtype=torch.int32)
    found = [
        engine.slots_of(batch, len(train), *maps).tolist()
        for engine in (cpu, plain)
        for maps in ((slot_map, None), (None, trainable))
    ]
    assert found == [found[0]] * 4
    slots = torch.tensor(found[0], dtype=torch.int32)
    base, block = random(len(train), D), random(len(trainable), D, seed=1)
    arguments = (block, base, None, None, batch, slots)
    assert torch.equal(cpu.take_rows(*arguments), plain.take_rows(*arguments))
    grads = whole(len(batch), D)
    one, other = (e.sum_into_rows(grads, slots, len(trainable)) for e in (cpu, plain))
    assert torch.equal(one, other)


def lookup_arguments(ids, *, columns=False, way="map", sparse=False, by_frequency=False, base=True):
    rows = N if way == "all" else len(TRAIN)
    chosen = torch.tensor([0, 2]) if columns else None
    block = random(rows, 2 if columns else D).requires_grad_()
    return (
        block, random(N, D, seed=1) if base else None, None, chosen, *WAYS[way],
        torch.zeros(rows, dtype=torch.int32), ids, N, sparse, by_frequency,
    )  # fmt: skip


CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"columns": True},
        {"way": "search"},
        {"way": "all", "base": False},
        {"sparse": True},
        {"by_frequency": True},
    ],
)
def test_torch_finds_nothing_wrong_with_the_lookup(more):
    for ids in (BATCHES[0], BATCHES[2], torch.tensor(3), BATCHES[0].view(3, 3).T):
        torch.library.opcheck(ops.lookup, lookup_arguments(ids, **more), test_utils=CHECKS)
    if "sparse" not in more:  # torch cannot compare row-sparse gradients of a traced graph
        arguments = lookup_arguments(BATCHES[0], **more)
        torch.library.opcheck(ops.lookup, arguments, test_utils="test_aot_dispatch_dynamic")


def test_torch_finds_nothing_wrong_with_the_gradients():
    pending = torch.zeros(len(TRAIN), dtype=torch.int32)
    for slots in (SLOT_MAP[BATCHES[0]], torch.arange(9, dtype=torch.int32) % 4):
        for grads in (whole(9, D), torch.ones(1, 1).expand(9, D), whole(D, 9).T):
            for by_frequency in (False, True):
                arguments = (grads, slots, pending, len(TRAIN), by_frequency)
                torch.library.opcheck(ops.dense_gradient, arguments)
            arguments = (grads, slots, pending, len(TRAIN))
            torch.library.opcheck(ops.row_gradient, arguments, test_utils="test_schema")


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("padding", [-1, 1])
def test_torch_finds_nothing_wrong_with_the_bags(mean, padding):
    block, base = random(len(TRAIN), D).requires_grad_(), random(N, D, seed=1)
    pending = torch.zeros(len(TRAIN), dtype=torch.int32)
    ids, bounds = BATCHES[0], torch.tensor([0, 2, 2, 9])
    for weights in (None, None if mean else random(9)):
        arguments = (block, base, *WAYS["map"], pending, ids, bounds, weights, N, padding, mean)
        torch.library.opcheck(bag_ops.sum_bags, (*arguments, False))
        torch.library.opcheck(bag_ops.sum_bags, (*arguments, True), test_utils=CHECKS)
        slots = SLOT_MAP[ids]
        rest = (ids, bounds, weights, pending, len(TRAIN), padding, mean)
        torch.library.opcheck(bag_ops.bag_gradient, (whole(3, D), slots, *rest, False))
        row_sparse = (whole(3, D), slots, *rest, True)
        torch.library.opcheck(bag_ops.bag_gradient, row_sparse, test_utils="test_schema")


def test_rows_added_to_a_base_of_one_row_have_columns_of_their_own():
    table = rt.Embedding.from_pretrained(torch.ones(1, 3).expand(5, 3), train=[1], columns=[0])
    new = table.grow(torch.full((2, 3), 7.0))
    assert table(new).tolist() == [[7.0] * 3] * 2
    assert table(torch.arange(5)).tolist() == [[1.0] * 3] * 5


def test_a_module_hands_the_operators_what_it_is_made_of():
    """So that what is compared above is what runs."""
    row = torch.arange(1.0, 4.0)[None]
    searched = rt.Embedding.from_pretrained(row.expand(20_000_000, 3), train=[5, 19_999_999])
    assert searched._slot_map is None
    assert searched._trainable.tolist() == [5, 19_999_999]
    ids = torch.tensor([5, 6, 19_999_999, 5])
    searched.block.data.zero_()
    assert torch.equal(searched(ids), torch.cat([0 * row, row, 0 * row, 0 * row]))
    searched(ids.int()).sum().backward()
    assert searched.block.grad.tolist() == [[2.0] * 3, [1.0] * 3]
    with pytest.raises(IdError, match="id 20000000 is not a row"):
        searched(torch.tensor([20_000_000]))
    mapped = rt.Embedding.from_pretrained(row.expand(9, 3), train=[5])
    assert mapped._slot_map.tolist() == [-1, -1, -1, -1, -1, 0, -1, -1, -1]
    assert mapped._trainable is None
    everything = rt.Embedding(9, 3)
    assert everything._slot_map is everything._trainable is everything.base is None
