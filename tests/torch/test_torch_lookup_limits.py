"""What a lookup refuses, and what it does not do: read, copy or make anything table-sized."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import rowtune.torch as rt
from rowtune.errors import FrozenRowError, IdError, RuleError, ShapeError

N, D = 12, 5


@pytest.fixture
def weights():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


def bits(tensor):
    return tensor.detach().contiguous().view(torch.int32)


WRONG = [
    (torch.tensor([0, -1]), "id -1 is not a row: expected 0 to 11"),
    (torch.tensor([N]), "id 12 is not a row"),
    (torch.tensor([[0], [N]], dtype=torch.int32), "id 12 is not a row"),
    (torch.tensor(-(2**62)), "is not a row"),
    (torch.tensor([1.0]), "dtype torch.float32; expected integers"),
    (torch.tensor([True]), "dtype torch.bool; expected integers"),
    (torch.tensor([1j]), "dtype torch.complex64"),
    ([1, 2], "ids are a list; expected a tensor"),
    (np.array([1, 2]), "ids are a ndarray; expected a tensor"),
]


@pytest.mark.parametrize(("ids", "words"), WRONG)
@pytest.mark.parametrize(
    "more",
    [
        {"train": "all"},
        {"train": [1, 2]},
        {"train": [1, 2], "columns": [0]},
        {"max_norm": 0.5},
        {"max_norm": 0.5, "padding_idx": 0},
    ],
)
def test_a_wrong_id_raises_before_anything_is_written(weights, ids, words, more):
    ours = rt.Embedding.from_pretrained(weights, **more)
    before = bits(ours.block).clone()
    with pytest.raises(IdError, match=words):
        ours(ids)
    assert torch.equal(bits(ours.block), before)
    assert ours.block.grad is None
    assert not ours.block.pending.any()


def test_a_table_without_rows_or_without_columns():
    empty = rt.Embedding(0, 3)
    assert empty(torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0, 3)
    with pytest.raises(IdError, match="there are none"):
        empty(torch.tensor([0]))
    narrow = rt.Embedding(4, 0, train=[1])
    out = narrow(torch.tensor([1, 2]))
    out.sum().backward()
    assert (out.shape, narrow.block.grad.shape) == ((2, 0), (1, 0))


def test_max_norm_shrinks_the_rows_that_are_looked_up_as_in_torch(weights):
    ids = torch.tensor([[1, 4], [4, 9]])
    for options in ({}, {"norm_type": 1.0}, {"padding_idx": 2}, {"sparse": True}):
        ours = rt.Embedding.from_pretrained(weights, max_norm=0.7, **options)
        torchs = nn.Embedding(N, D, _weight=weights.clone(), max_norm=0.7, **options)
        out, expected = ours(ids), torchs(ids)
        out.sum().backward()
        expected.sum().backward()
        assert torch.equal(out, expected)
        assert torch.equal(ours.weight, torchs.weight)
        rows = torch.from_numpy(ours.rows.ids.copy())
        assert torch.equal(ours.block.grad.to_dense(), torchs.weight.grad.to_dense()[rows])
        assert not torch.equal(torchs.weight[4], weights[4])
        assert torch.equal(ours.weight[5], weights[5])
        with torch.no_grad():  # in eval mode too, as torch does
            ours.eval()(torch.tensor([5]))
        assert not torch.equal(ours.weight[5], weights[5])


def test_options_that_cannot_be_kept_are_refused_at_construction(weights):
    for more in ({"train": [1]}, {"columns": [1]}, {"train": [], "padding_idx": 1}):
        with pytest.raises(FrozenRowError, match=r"max_norm.*leave it out"):
            rt.Embedding.from_pretrained(weights, max_norm=1.0, **more)
        with pytest.raises(FrozenRowError, match="max_norm"):
            rt.Embedding(N, D, max_norm=1.0, **more)
    with pytest.raises(RuleError, match="sparse=False"):
        rt.Embedding.from_pretrained(weights, scale_grad_by_freq=True, sparse=True)
    for wrong in (N, -N - 1):
        with pytest.raises(IdError, match=f"padding_idx is {wrong}"):
            rt.Embedding.from_pretrained(weights, padding_idx=wrong)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (torch.zeros(3), r"shape \(3,\)"),
        (torch.zeros(2, 2, 2), r"shape \(2, 2, 2\)"),
        (torch.zeros(2, 2, dtype=torch.long), "dtype torch.int64"),
        (torch.zeros(2, 2, dtype=torch.complex64), "complex64"),
        (np.zeros((2, 2), int), "dtype int64"),
        (np.zeros((2, 2), np.longdouble), "native floats"),
        (np.zeros((2, 2), np.dtype(np.float32).newbyteorder()), "native floats"),
        ([["a"]], "dtype <U1"),
    ],
)
def test_weights_that_are_no_table_of_floats(table, words):
    for kind in (rt.Embedding, rt.EmbeddingBag):
        with pytest.raises(ShapeError, match=words):
            kind.from_pretrained(table)


@pytest.mark.parametrize("kind", [rt.Embedding, rt.EmbeddingBag])
def test_rows_that_are_not_there_cannot_be_chosen(weights, kind):
    for train, error in (([N], IdError), ([-1], IdError), ([1, 1], IdError), ("some", ShapeError)):
        with pytest.raises(error, match="train"):
            kind.from_pretrained(weights, train=train)
    with pytest.raises(IdError, match="columns"):
        kind.from_pretrained(weights, train=[1], columns=[D])
    with pytest.raises(ShapeError, match="mask"):
        kind(N, D, train=torch.ones(N + 1, dtype=torch.bool))


@pytest.mark.parametrize("kind", [rt.Embedding, rt.EmbeddingBag])
def test_a_weight_of_another_shape_than_was_said(kind):
    with pytest.raises((ShapeError, AssertionError), match="shape"):
        kind(10, 3, _weight=torch.zeros(4, 5))


def bytes_made(run):
    """What torch and NumPy allocate during ``run``: the sum of torch's, the peak of NumPy's."""
    run()  # compiles the kernels
    tracemalloc.start()
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            run()
        numpys = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return numpys + sum(max(0, event.self_cpu_memory_usage) for event in seen.events())


ROWS, WIDTH = 200_000, 64
WAYS = {
    "slot map": {},
    "row-sparse": {"sparse": True},
    "columns": {"columns": slice(3, 60)},
    "half": {"dtype": torch.float16},
    "another layout": {"transposed": True},
    "search": {"expanded": 20_000_000},
}


def large(kind, dtype=torch.float32, transposed=False, expanded=None, **more):
    table = torch.zeros(ROWS, WIDTH, dtype=dtype)
    if transposed:
        table = torch.zeros(WIDTH, ROWS).T
    if expanded:
        table = torch.zeros(1, WIDTH).expand(expanded, WIDTH)
    embedding = kind.from_pretrained(table, train=slice(0, 3000, 10), **more)
    return embedding.to(torch.float32)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [rt.Embedding, rt.EmbeddingBag])
def test_a_step_makes_nothing_of_the_tables_size(kind, way):
    embedding = large(kind, **WAYS[way])
    ids = torch.arange(0, 4000, 8).view(20, 25)

    def step():
        embedding(ids).sum().backward()
        embedding.block.grad = None

    assert bytes_made(step) < 2_000_000  # a bool for each row and column would be 12,800,000


def test_the_measure_of_bytes_sees_both_torch_and_numpy():
    assert 4_000_000 < bytes_made(lambda: torch.zeros(1_000_000)) < 4_200_000
    assert 4_000_000 < bytes_made(lambda: np.zeros(1_000_000, np.float32)) < 4_200_000


def resident(path):
    """Megabytes of a mapped file that this process has in memory (Linux says so)."""
    kilobytes, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line.split()[0].endswith(":"):
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            kilobytes += int(line.split()[1])
    return kilobytes / 1000


def test_a_memory_map_of_two_gigabytes_is_read_where_it_is_asked_for(tmp_path):
    rows, width = 2_000_000, 256
    path = tmp_path / "table.bin"
    with path.open("wb") as file:
        file.truncate(rows * width * 4)  # a file of holes
    written = [3, 1_000_000, rows - 1]
    table = np.memmap(path, np.float32, "r+", shape=(rows, width))
    for i in written:
        table[i] = i % 1000 + np.arange(width)
    table.flush()
    del table
    read_only = np.memmap(path, np.float32, "r", shape=(rows, width))
    ours = rt.Embedding.from_pretrained(read_only, train=[3, rows - 1, 77], padding_idx=-5)
    out = ours(torch.tensor([*written, 77, 500_000]))
    out.sum().backward()
    looked_at = resident(path)
    assert out[:, 0].tolist() == [3.0, 0.0, 999.0, 0.0, 0.0]
    assert torch.equal(out[1], torch.arange(256.0))
    assert ours.block.grad.tolist() == [[1.0] * width] * 3
    assert ours.base.data_ptr() == read_only.ctypes.data
    assert read_only[: rows // 8, 0].max() == 3.0  # what reading an eighth looks like
    assert looked_at < 80
    assert resident(path) > 200
