"""`Embedding` as a module: what it is made of, how it moves, and what training does around it."""

from __future__ import annotations

import copy
import inspect
import io
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rowtune.torch as rt
from rowtune.errors import NonFiniteError, ShapeError

N, D = 10, 4
KINDS = [rt.Embedding, rt.EmbeddingBag]


@pytest.fixture
def weights():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


def bits(tensor):
    return tensor.detach().contiguous().view(torch.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_arguments_are_those_of_torch_in_torchs_order_and_then_ours(kind):
    torchs = inspect.signature(getattr(nn, kind.__name__).__init__).parameters
    ours = inspect.signature(kind.__init__).parameters
    assert list(ours) == [*torchs, "train", "columns"]
    for name, parameter in torchs.items():
        assert (ours[name].kind, ours[name].default) == (parameter.kind, parameter.default)
    for name in ("train", "columns"):
        assert ours[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert issubclass(kind, getattr(nn, kind.__name__))
    theirs = set(inspect.signature(getattr(nn, kind.__name__).from_pretrained).parameters)
    assert theirs - {"embeddings"} <= set(inspect.signature(kind.from_pretrained).parameters)


def test_positional_arguments_arrive_where_torch_puts_them():
    args = (N, D, 2, 3.0, 1.0, False, True, torch.ones(N, D), True)
    ours, torchs = rt.Embedding(*args), nn.Embedding(*args)
    for name in ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse"):
        assert getattr(ours, name) == getattr(torchs, name)
    assert not ours.block.requires_grad
    args = (N, D, 3.0, 1.0, False, "sum", True, torch.ones(N, D), True, 2)
    ours, torchs = rt.EmbeddingBag(*args), nn.EmbeddingBag(*args)
    names = ("max_norm", "norm_type", "scale_grad_by_freq", "mode", "sparse")
    for name in (*names, "include_last_offset", "padding_idx", "num_embeddings", "embedding_dim"):
        assert getattr(ours, name) == getattr(torchs, name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_rows_that_torch_draws(kind):
    for more in ({}, {"padding_idx": -3}, {"dtype": torch.float64}):
        for train in ("all", [1, 7]):
            torch.manual_seed(0)
            ours = kind(N, D, train=train, **more)
            torch.manual_seed(0)
            torchs = getattr(nn, kind.__name__)(N, D, **more)
            assert torch.equal(ours.weight, torchs.weight)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_rows_are_those_of_torch_too(kind, dtype):
    size = 300_000, 16  # beyond it they lie in memory of NumPy's
    for more in ({}, {"train": slice(0, -1)}, {"padding_idx": 3}):
        torch.manual_seed(0)
        ours = kind(*size, dtype=dtype, **more)
        torch.manual_seed(0)
        torchs = getattr(nn, kind.__name__)(*size, dtype=dtype, padding_idx=more.get("padding_idx"))
        assert ours.block.dtype == dtype
        assert torch.equal(bits(ours.weight), bits(torchs.weight))
        assert torch.equal(bits(pickle.loads(pickle.dumps(ours)).weight), bits(ours.weight))
    with torch.device("meta"):
        assert kind(*size, dtype=dtype).block.is_meta


# In a process of its own: memory that others gave back keeps the flags that they asked for.
FLAGS = """
import torch
from pathlib import Path
import rowtune.torch as rt

def flags(tensor):
    address, inside = tensor.data_ptr() + 500_000 * 64, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            begin, end = (int(part, 16) for part in first.split("-"))
            inside = begin <= address < end
        elif inside and first == "VmFlags:":
            return line.split()[1:]
    raise AssertionError(f"no memory at {address}")

torchs = torch.ones(1_100_000, 16)
assert "hg" not in flags(torchs)
for train in ("all", slice(0, 1_000_000)):
    assert "hg" in flags(rt.Embedding(1_100_000, 16, train=train).block), train
    assert "hg" in flags(rt.Embedding.from_pretrained(torchs, train=train).block), train
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the flags that Linux gives to memory")
def test_the_system_is_asked_for_huge_pages_for_a_large_block():
    if not Path("/sys/kernel/mm/transparent_hugepage").exists():
        pytest.skip("this system has no huge pages; they are a setting of its kernel")
    subprocess.run([sys.executable, "-c", FLAGS], check=True, timeout=120)


@pytest.mark.parametrize("kind", KINDS)
def test_the_block_is_the_only_parameter_and_the_base_no_buffer(kind, weights):
    for more, shape in (
        ({"train": [7, 1]}, (2, D)),
        ({"train": torch.arange(N) > 6}, (3, D)),
        ({"train": slice(None), "columns": [3]}, (N, 1)),
        ({"train": "all"}, (N, D)),
        ({"train": "all", "padding_idx": 0}, (N - 1, D)),
        ({"train": [], "sparse": True}, (0, D)),
    ):
        ours = kind.from_pretrained(weights, **more)
        ((name, parameter),) = ours.named_parameters()
        assert parameter is ours.block
        assert isinstance(parameter, rt.RowParameter)
        assert parameter.shape == shape
        assert parameter.requires_grad
        assert name == ("weight" if more == {"train": "all"} else "block")
        assert not list(ours.named_buffers())
        assert (ours.base is None) == (more == {"train": "all"})
        assert ours.base is None or not ours.base.requires_grad


def test_a_parameter_as_weight_stays_out_of_the_base(weights):
    for given in (nn.Parameter(weights.clone()), weights.clone().requires_grad_() * 1):
        for train in ("all", [1, 7]):
            ours = rt.Embedding(N, D, _weight=given, train=train)
            ours(torch.tensor([1, 2])).sum().backward()
            assert [p is ours.block for p in ours.parameters()] == [True]
            assert ours.base is None or not ours.base.requires_grad
            assert ours.block.grad.sum() == (2 * D if train == "all" else D)


def test_choosing_every_row_by_whatever_means_is_all(weights):
    for train in ("all", slice(None), np.ones(N, bool), torch.arange(N), list(range(N))):
        ours = rt.Embedding.from_pretrained(weights, train=train)
        assert ours.base is None
        assert ours.weight is ours.block


def test_a_table_of_any_kind_is_neither_written_nor_copied(weights, tmp_path):
    path = tmp_path / "table.npy"
    np.save(path, weights.numpy())
    read_only = weights.numpy().copy()
    read_only.flags.writeable = False
    for table in (weights, weights.numpy(), np.load(path, mmap_mode="r"), read_only):
        before = np.asarray(table).tobytes()
        for more in (
            {"train": [2, 8], "init": "normal"},
            {"train": [2, 8], "columns": [1]},
            {"train": "all"},
            {"train": "all", "init": "normal"},
        ):
            ours = rt.Embedding.from_pretrained(table, **more)
            ours(torch.arange(N)).sum().backward()
            with torch.no_grad():
                ours.block.add_(1)
            assert np.asarray(table).tobytes() == before
            if ours.base is not None:
                address = table.data_ptr() if table is weights else table.ctypes.data
                assert ours.base.data_ptr() == address


def test_first_values_of_the_chosen_rows(weights):
    table = torch.cat([weights, weights * 3 + 5]).repeat(50, 1)
    train = slice(100, 600)
    torch.manual_seed(1)

    def made(init, **more):
        ours = rt.Embedding.from_pretrained(table, train=train, init=init, **more)
        left_alone = torch.ones(len(table), dtype=torch.bool)
        left_alone[train] = False
        assert torch.equal(ours.weight[left_alone], table[left_alone])
        return ours.block.detach()

    assert torch.equal(made(None), table[train])
    assert not made("zeros").any()
    normal = made("normal")
    assert abs(normal.mean()) < 0.1
    assert abs(normal.std() - 1) < 0.1
    kaiming = made("kaiming")
    bound = math.sqrt(6 / D)
    assert 0.95 * bound < kaiming.abs().max() <= bound
    assert abs(kaiming.mean()) < 0.1
    others = torch.cat([table[:100], table[600:]])
    mean = made("mean")
    assert (mean.mean(0) - others.mean(0)).abs().max() < 0.01 * others.std(0).max()
    assert ((mean.std(0) / (0.01 * others.std(0, correction=0))) - 1).abs().max() < 0.15
    assert len(mean.unique(dim=0)) == len(mean)
    rows = torch.randn(500, D, dtype=torch.float64)
    for array in (rows, rows.numpy(), rows.tolist()):
        assert torch.equal(made(array), rows.float())
    assert torch.equal(made(rows, columns=[2, 0]), rows.float()[:, [0, 2]])
    shuffled = rt.Embedding.from_pretrained(weights, train=[5, 2], init=[[2.0] * D, [5.0] * D])
    assert shuffled(torch.tensor([5, 2]))[:, 0].tolist() == [5.0, 2.0]  # in ascending order of ids


def test_first_values_that_are_refused(weights):
    for init, error, words in (
        ("xavier", ShapeError, "expected one of normal, kaiming, mean, zeros"),
        (torch.zeros(3, D), ShapeError, r"shape \(3, 4\); expected \(2, 4\)"),
        ([[1.0], [1.0, 2.0]], ShapeError, "not an array of rows"),
        (torch.full((2, D), math.nan), NonFiniteError, "NaN or infinity"),
    ):
        with pytest.raises(error, match=words):
            rt.Embedding.from_pretrained(weights, train=[1, 2], init=init)
    with pytest.raises(ShapeError, match="no other rows"):
        rt.Embedding.from_pretrained(weights, init="mean")


def test_frozen_for_now(weights):
    ours = rt.Embedding.from_pretrained(weights, train=[1, 2], freeze=True)
    assert not ours(torch.tensor([1])).requires_grad
    ours.requires_grad_()
    ours(torch.tensor([1, 2, 2])).sum().backward()
    assert ours.block.grad[:, 0].tolist() == [1.0, 2.0]
    ours.zero_grad()
    ours.requires_grad_(False)
    assert not ours(torch.tensor([1])).requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_keeps_its_dtype_wherever_the_module_goes(kind, weights):
    ids = torch.tensor([[1, 4], [7, 7]])
    for table in (weights, weights.half(), weights.double()):
        for more in ({"train": [1, 7]}, {"train": [1], "columns": [0]}, {"padding_idx": 3}):
            module = nn.Sequential(kind.from_pretrained(table, **more))
            ours = module[0]
            before, block, out = bits(ours.base).clone(), ours.block, ours(ids)
            for move in (module.half, module.double, module.bfloat16, module.float):
                move()
                assert ours.base.dtype == table.dtype
                assert torch.equal(bits(ours.base), before)
                assert ours.block is block
                assert ours(ids).dtype == block.dtype
            torch.testing.assert_close(ours(ids), out.float(), atol=0.05, rtol=0.05)
            assert ours.block.pending.shape == (len(block),)


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_follows_to_another_device(kind, weights):
    ids = torch.tensor([[1, 4], [7, 7]])
    for more in ({"train": [1, 7]}, {"train": [1], "columns": [0]}, {"padding_idx": 3}, {}):
        ours = kind.from_pretrained(weights.half(), **more).float()
        kept = ours.base is None or ours.base.dtype
        ours.to("meta")
        assert kept == (ours.base is None or ours.base.dtype)
        assert ours.block.is_meta
        assert isinstance(ours.block, rt.RowParameter)
        assert ours.base is None or ours.base.is_meta
        assert ours.weight.is_meta
        assert ours.block.pending.is_meta
        made_there = kind(N, D, device="meta", **more)
        for there in (ours, made_there):
            expected = kind.from_pretrained(weights, **more)(ids)
            assert there(ids.to("meta")).shape == expected.shape
            back = there.to_empty(device="cpu")
            assert back.weight.shape == (N, D)
            assert back(ids).shape == expected.shape


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_device_is_nothing_to_a_table_that_is_elsewhere(kind, weights):
    with torch.device("meta"):
        for init in (None, "normal", "kaiming", "mean", "zeros"):
            ours = kind.from_pretrained(weights, train=[1, 7], init=init)
            assert ours.block.device == ours.base.device == torch.device("cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_device_is_nothing_to_a_pass_that_is_elsewhere(kind, weights):
    ids, frozen_ids = torch.tensor([[1, 4], [7, 7]]), torch.tensor([[4, 2]])
    with torch.device("meta"):
        for more in ({"columns": [1]}, {"sparse": True}, {"mode": "max"}):
            if kind is rt.EmbeddingBag or "mode" not in more:
                ours = kind.from_pretrained(weights, train=[1, 7], **more)
                ours.grow(2)
                ours(ids).sum().backward()
                ours.grow(1)  # where a gradient waits
                for batch in (frozen_ids, ids):
                    (ours(batch).sum() + ours.weight.sum()).backward()
                ours.zero_grad()
                for batch in (frozen_ids, ids):
                    ours(batch).sum().backward()
                    rt.clip_grad_norm_(ours.parameters(), 1.0)
        assert kind(N, D, train=[1, 7]).base.is_meta


def test_a_weight_that_is_tied_to_somebody_elses(weights):
    """Where everything trains, the weight can be assigned, as torch's users do."""
    ours, head = rt.Embedding(N, D), nn.Linear(D, N, bias=False)
    ours.weight = head.weight
    ids = torch.tensor([1, 2, 2])
    assert torch.equal(ours(ids), head.weight[ids])
    head(ours(ids)).sum().backward()
    torchs = nn.Embedding(N, D, _weight=head.weight.detach().clone())
    nn.functional.linear(torchs(ids), torchs.weight).sum().backward()
    torch.testing.assert_close(head.weight.grad, torchs.weight.grad)
    ours.to(torch.float64)
    assert ours.weight.dtype == torch.float64
    assert copy.deepcopy(ours)(ids).dtype == torch.float64


@pytest.mark.parametrize("kind", KINDS)
def test_a_deep_copy_has_a_block_of_its_own_and_the_same_base(kind, weights):
    ids = torch.tensor([[1, 4], [7, 7]])
    for more in ({"train": [1, 7]}, {"train": [1], "columns": [0]}, {"padding_idx": 3}, {}):
        ours = kind.from_pretrained(weights, sparse=True, **more)
        model = nn.ModuleDict({"a": ours, "b": ours})
        twin = copy.deepcopy(model)["a"]
        assert copy.deepcopy(model)["b"] is not twin
        assert (twin.base is None) or (twin.base is ours.base)
        assert isinstance(twin.block, rt.RowParameter)
        assert twin.block.data_ptr() != ours.block.data_ptr()
        assert torch.equal(twin(ids), ours(ids))
        with torch.no_grad():
            twin.block.zero_()
        assert not torch.equal(twin(ids), ours(ids))
        assert torch.equal(ours(ids), kind.from_pretrained(weights, **more)(ids))
        twin(ids).sum().backward()
        assert ours.block.grad is None


def through_pickle(module):
    return pickle.loads(pickle.dumps(module))


def through_torch(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("way", [through_pickle, through_torch])
@pytest.mark.parametrize("kind", KINDS)
def test_a_pickled_module_comes_back_with_its_rows(way, kind, weights):
    ids = torch.tensor([[1, 4], [7, 7]])
    for more in ({"train": [1, 7]}, {"train": [1], "columns": [0]}, {"padding_idx": 3}, {}):
        ours = kind.from_pretrained(weights, sparse=True, **more)
        ours.save_base = False
        with torch.no_grad():
            ours.block.add_(1)
        back = way(ours)
        assert repr(back) == repr(ours)
        assert torch.equal(back(ids), ours(ids))
        assert back.rows.ids.tolist() == ours.rows.ids.tolist()
        assert not back.rows.ids.flags.writeable
        assert (back.padding_idx, back.save_base) == (ours.padding_idx, False)
        assert isinstance(back.block, rt.RowParameter)
        for module in (back, ours):
            module(ids).sum().backward()
        assert torch.equal(back.block.grad.to_dense(), ours.block.grad.to_dense())


def test_a_module_says_what_trains(weights):
    ours = rt.Embedding.from_pretrained(weights, train=[1, 2], columns=[0], padding_idx=-1)
    assert repr(ours) == "Embedding(10, 4, 2 rows train in 1 columns, padding_idx=9)"
    assert "mode='max'" in repr(rt.EmbeddingBag.from_pretrained(weights, mode="max"))
    assert repr(rt.Embedding(3, 2, sparse=True)) == "Embedding(3, 2, 3 rows train, sparse=True)"
