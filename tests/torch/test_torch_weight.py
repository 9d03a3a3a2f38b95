"""`embedding.weight`: the whole matrix, differentiable, and no place to write to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import rowtune.torch as rt
from rowtune.errors import FrozenRowError

N, D = 10, 4
TRAIN = [1, 4, 7]


@pytest.fixture
def weights():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[rt.Embedding, rt.EmbeddingBag], ids=["embedding", "bag"])
def ours(request, weights):
    return request.param.from_pretrained(weights, train=TRAIN)


def test_it_is_the_whole_matrix_as_it_is_now(weights):
    for more in (
        {"train": TRAIN},
        {"train": TRAIN, "columns": [3, 0]},
        {"train": []},
        {"padding_idx": 2},
        {"train": "all", "columns": [1]},
    ):
        ours = rt.Embedding.from_pretrained(weights, **more)
        assert torch.equal(ours.weight, weights)
        assert ours.weight.dtype == weights.dtype
        with torch.no_grad():
            ours.block.add_(1)
        assert torch.equal(ours.weight, ours(torch.arange(N)))
        new = ours.grow(3)
        assert torch.equal(ours.weight[new], ours(new))
        assert torch.equal(ours.weight, ours(torch.arange(N + 3)))
        ours.half()
        assert torch.equal(ours.weight, ours(torch.arange(N + 3)))


def test_it_is_the_parameter_itself_where_everything_trains(weights):
    for ours in (rt.Embedding(N, D), rt.EmbeddingBag.from_pretrained(weights, train=slice(0, N))):
        assert ours.weight is ours.block is next(ours.parameters())
        assert dict(ours.named_parameters()).keys() == {"weight"}
        nn.init.constant_(ours.weight, 2.0)
        ours.weight.data[0] = 3.0
        assert ours(torch.tensor([[0, 1]])).flatten().unique().tolist() in ([2.0, 3.0], [2.5])
        head = nn.Linear(D, N, bias=False)
        head.weight = ours.weight
        assert len({id(p) for m in (head, ours) for p in m.parameters()}) == 1


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "more", [{"train": TRAIN}, {"train": TRAIN, "columns": [0, 2]}, {"padding_idx": 3}, {}]
)
def test_a_tied_head_gives_the_gradients_that_torch_gives(weights, more, sparse):
    ids = torch.tensor([[1, 2, 7], [7, 7, 3]])
    ours = rt.Embedding.from_pretrained(weights, sparse=sparse, **more)
    padding_idx = more.get("padding_idx")
    torchs = nn.Embedding(N, D, padding_idx, _weight=weights.clone(), sparse=False)
    for table in (ours, torchs):
        logits = functional.linear(torch.tanh(table(ids)), table.weight)
        functional.cross_entropy(logits.view(-1, N), ids.view(-1)).backward()
    expected = torchs.weight.grad[torch.from_numpy(ours.rows.ids.copy())]
    if ours.rows.columns is not None:
        expected = expected[:, [0, 2]]
    torch.testing.assert_close(ours.block.grad.to_dense(), expected)


def test_it_can_be_used_as_any_matrix(weights):
    ours = rt.Embedding.from_pretrained(weights, train=TRAIN)
    for use in (
        lambda w: w @ torch.ones(D),
        lambda w: w.T.contiguous(),
        functional.normalize,
        lambda w: functional.embedding(torch.tensor([1, 2]), w),
        lambda w: torch.cat([w, w]),
        lambda w: torch.stack(list(w.unbind())) + w[3],
        lambda w: sum(row.sum() for row in w),
        lambda w: (w - w.mean(0)).square().sum().sqrt(),
        lambda w: torch.where(w > 0, w, 0.0),
        lambda w: w.to(torch.float64),
        lambda w: w.detach().clone().add_(1),
        lambda w: w.split(3)[1] * 2,
    ):
        result, expected = use(ours.weight), use(weights)
        assert torch.equal(result, expected)
        assert result.requires_grad == ("add_" not in use.__code__.co_names)
        if result.requires_grad:
            ours.zero_grad()
            result.sum().backward()
            assert ours.block.grad.shape == (3, D)
    np.testing.assert_array_equal(ours.weight.detach().numpy(), weights.numpy())
    assert ours.weight.tolist() == weights.tolist()
    assert ours.weight.shape == (N, D)
    assert "AssembledWeight" not in repr(ours.weight @ torch.ones(D))


def test_a_copy_of_it_is_a_plain_tensor_to_write_to(ours):
    for copied in (ours.weight.detach().clone(), ours.weight.detach() + 0, ours.weight[[1, 2]]):
        with torch.no_grad():
            copied[0] = 5
            copied.zero_()
        assert not copied.any()


def rows_of(weight, write):
    for row in weight:
        write(row)


WRITES = {
    "index": lambda w: w.__setitem__(3, 0.0),
    "mask": lambda w: w.__setitem__(w > 0, 0.0),
    "fill_": lambda w: w.fill_(0),
    "zero_": lambda w: w.zero_(),
    "copy_": lambda w: w.copy_(torch.zeros(N, D)),
    "normal_": lambda w: w.normal_(),
    "uniform_": lambda w: w.uniform_(),
    "index_copy_": lambda w: w.index_copy_(0, torch.tensor([1]), torch.zeros(1, D)),
    "index_put_": lambda w: w.index_put_((torch.tensor([1]),), torch.tensor(1.0)),
    "masked_fill_": lambda w: w.masked_fill_(w > 0, 0.0),
    "torch.fill_": lambda w: torch.fill_(w, 0),
    "add_": lambda w: w.add_(1),
    "+=": lambda w: w.__iadd__(1),
    "-=": lambda w: w.__isub__(1),
    "*=": lambda w: w.__imul__(2),
    "/=": lambda w: w.__itruediv__(2),
    "//=": lambda w: w.__ifloordiv__(2),
    "**=": lambda w: w.__ipow__(2),
    "%=": lambda w: w.__imod__(2),
    "out=": lambda w: torch.zeros(N, D, out=w),
    "out= of a sum": lambda w: torch.add(torch.ones(N, D), 1, out=w),
    "out= of two": lambda w: torch.sort(torch.ones(N, D), out=(w, torch.ones(N, D).long())),
    "out= of a row": lambda w: torch.mul(torch.ones(D), 1, out=w[0]),
    "row": lambda w: w[0].zero_(),
    "element": lambda w: w[0][1].fill_(0),
    "slice": lambda w: w[2:4].__setitem__(0, 1.0),
    "transposed": lambda w: w.T.fill_(1),
    "view": lambda w: w.view(-1).fill_(1),
    "integers": lambda w: w.view(torch.int32).zero_(),
    "loop": lambda w: rows_of(w, lambda row: row.zero_()),
    "unbind": lambda w: w.unbind()[0].zero_(),
    "split": lambda w: w.split(2)[0].zero_(),
    "chunk": lambda w: w.chunk(2)[1].zero_(),
    "detached": lambda w: w.detach()[0].zero_(),
    "the same dtype": lambda w: w.to(torch.float32).zero_(),
    "data": lambda w: w.data.__setitem__(0, 1.0),
    "data fill_": lambda w: w.data.fill_(0),
    "data of a loop": lambda w: rows_of(w.data, lambda row: row.zero_()),
    "data =": lambda w: setattr(w, "data", torch.zeros(N, D)),
    "numpy": lambda w: w.detach().numpy().fill(0),
    "data numpy": lambda w: w.data.numpy().__setitem__(0, 1.0),
    "asarray": lambda w: np.asarray(w.detach()).fill(0),
    "vector": lambda w: nn.utils.vector_to_parameters(torch.zeros(N * D), [w]),
    **{
        f"init.{name}": lambda w, name=name: getattr(nn.init, name)(w)
        for name in (
            "normal_", "uniform_", "zeros_", "ones_", "eye_", "xavier_uniform_", "xavier_normal_",
            "kaiming_uniform_", "kaiming_normal_", "orthogonal_", "trunc_normal_",
        )
    },
    "init.constant_": lambda w: nn.init.constant_(w, 0.1),
    "init.sparse_": lambda w: nn.init.sparse_(w, 0.1),
    "init of data": lambda w: nn.init.normal_(w.data),
}  # fmt: skip


@pytest.mark.parametrize("way", WRITES)
def test_a_write_that_would_be_lost_is_refused(ours, weights, way):
    with torch.no_grad(), pytest.raises((FrozenRowError, ValueError)) as caught:
        WRITES[way](ours.weight)
    if not isinstance(caught.value, FrozenRowError):  # NumPy has words of its own
        assert "read-only" in str(caught.value)
    else:
        assert "embedding.block" in str(caught.value)
    assert torch.equal(ours.weight, weights)


def test_a_write_with_gradients_on_is_refused_too(ours):
    for way in ("index", "fill_", "+=", "row", "data", "loop", "init.normal_"):
        with pytest.raises(FrozenRowError, match=r"embedding\.block\.data"):
            WRITES[way](ours.weight)


def test_the_attribute_cannot_be_assigned_or_deleted(ours, weights):
    with pytest.raises(FrozenRowError, match="weight cannot be assigned"):
        ours.weight = nn.Parameter(weights.clone())
    with pytest.raises((FrozenRowError, AttributeError)):
        ours.weight = weights.clone()
    with pytest.raises((FrozenRowError, AttributeError)):
        del ours.weight
    with pytest.raises(FrozenRowError):
        ours.weight += 1
    with pytest.raises(FrozenRowError, match="weight cannot be assigned"):
        ours.register_parameter("weight", nn.Parameter(weights.clone()))
    with pytest.raises(ValueError, match="non-leaf"):
        torch.optim.SGD([ours.weight], lr=1.0)
    with pytest.raises(TypeError, match="cannot assign"):
        nn.Linear(D, N).weight = ours.weight
    assert torch.equal(ours.weight, weights)
    assert [name for name, _ in ours.named_parameters()] == ["block"]


def test_torchs_own_names_for_it_are_read_only_ways_too(ours, weights):
    assert torch.equal(ours.get_parameter("block"), weights[TRAIN])
    ours.reset_parameters()
    left = [i for i in range(N) if i not in TRAIN]
    assert torch.equal(ours.weight[left], weights[left])
    assert not torch.isclose(ours.weight[TRAIN], weights[TRAIN]).any()
    ours.apply(lambda module: module.block.data.zero_())
    assert not ours.weight[TRAIN].any()
    assert torch.equal(ours.weight[left], weights[left])
