"""`torch.compile`: whole graphs, forward and backward, with the same results as without."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import rowtune.torch as rt
from rowtune.errors import IdError

N, D = 12, 4
IDS = torch.tensor([[1, 4, 7], [7, 7, 2]])


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    torch.compiler.reset()


@pytest.fixture
def weights():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    """Two lookups in one table, and its matrix as a head where that is asked for."""

    def __init__(self, table, tied=False):
        super().__init__()
        self.table, self.tied = table, tied
        self.layer = nn.Linear(D, D)

    def forward(self, ids):
        hidden = torch.tanh(self.layer(self.table(ids))) * self.table(ids.flip(-1))
        return functional.linear(hidden, self.table.weight) if self.tied else hidden


def compiled(model, **options):
    return torch.compile(model, fullgraph=True, backend="aot_eager", **options)


def agree(model, batches, **options):
    """Outputs and accumulated gradients of the compiled model are those of its eager twin."""
    twin = copy.deepcopy(model)
    model.zero_grad()
    fast = compiled(model, **options)
    for batch in batches:
        out, expected = fast(*batch), twin(*batch)
        torch.testing.assert_close(out, expected)
        out.square().sum().backward()
        expected.square().sum().backward()
    for (name, one), (_, other) in zip(
        model.named_parameters(), twin.named_parameters(), strict=True
    ):
        assert (name, one.grad.is_sparse) == (name, other.grad.is_sparse)
        torch.testing.assert_close(one.grad.to_dense(), other.grad.to_dense())
    return twin


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "more",
    [
        {"train": [1, 4, 7]},
        {"train": [1, 4, 7], "columns": [0, 3]},
        {"train": "all"},
        {"train": "all", "padding_idx": 7},
        {"train": []},
    ],
    ids=["rows", "columns", "all", "padding", "none"],
)
def test_one_graph_forward_and_one_backward(weights, more, sparse):
    table = rt.Embedding.from_pretrained(weights, sparse=sparse, **more)
    agree(Model(table), [(IDS,), (IDS + 1,)])


def test_the_rows_that_were_looked_up_are_remembered(weights):
    for kind in (rt.Embedding, rt.EmbeddingBag):
        model = kind.from_pretrained(weights, train=[1, 4, 7, 9])
        twin = agree(model, [(IDS,), (torch.tensor([[9, 0, 0]]),)])
        assert model.block.touched().tolist() == twin.block.touched().tolist() == [True] * 4
        model.zero_grad()
        compiled(model)(IDS[:1, :2]).sum().backward()
        assert model.block.touched().tolist() == [True, True, False, False]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", [rt.Embedding, rt.EmbeddingBag])
@pytest.mark.parametrize("train", [[1, 4, 7], "all"])
def test_batches_of_any_size_share_one_graph(weights, kind, sparse, train):
    table = kind.from_pretrained(weights, train=train, sparse=sparse)
    fast, twin = compiled(table, dynamic=True), copy.deepcopy(table)
    generator = torch.Generator().manual_seed(1)
    stance = "default"
    for shape in ((5, 3), (2, 6), (7, 2), (8, 9)):
        ids = torch.randint(0, N, shape, generator=generator)
        with torch.compiler.set_stance(stance):
            out = fast(ids)
        expected = twin(ids)
        torch.testing.assert_close(out, expected)
        out.sum().backward()
        expected.sum().backward()
        stance = "fail_on_recompile"
    torch.testing.assert_close(table.block.grad.to_dense(), twin.block.grad.to_dense())


@pytest.mark.parametrize(
    "more",
    [{"train": [1, 4, 7]}, {"train": [1, 4, 7], "columns": [0, 3]}, {"train": "all"}],
    ids=["rows", "columns", "all"],
)
def test_the_matrix_inside_a_graph(weights, more):
    agree(Model(rt.Embedding.from_pretrained(weights, **more), tied=True), [(IDS,)])


@pytest.mark.parametrize(("mode", "sparse"), [("sum", True), ("mean", False), ("max", True)])
def test_bags(weights, mode, sparse):
    bag = rt.EmbeddingBag.from_pretrained(
        weights, train=[1, 4, 7], mode=mode, sparse=sparse, padding_idx=7
    )
    agree(bag, [(IDS.view(-1), torch.tensor([0, 2, 2]))])
    agree(bag, [(IDS,)])


def test_bags_of_weighted_samples(weights):
    bag = rt.EmbeddingBag.from_pretrained(weights, train=[1, 4, 7], mode="sum")
    for learned in (False, True):
        shares = torch.arange(6.0).view(2, 3).requires_grad_(learned)
        agree(bag, [(IDS, None, shares)])


def test_a_wrong_id_raises_from_a_compiled_model_too(weights):
    for table, ids in (
        (rt.Embedding.from_pretrained(weights, train=[1]), torch.tensor([0, N])),
        (rt.EmbeddingBag.from_pretrained(weights, train=[1]), torch.tensor([[0, -1]])),
    ):
        fast = compiled(table)
        fast(ids.clamp(0, 3))
        with pytest.raises(IdError, match="is not a row"):
            fast(ids)


def test_a_base_of_another_dtype_and_a_searched_one(weights):
    half = rt.Embedding.from_pretrained(weights.half(), train=[1, 4, 7]).float()
    agree(Model(half), [(IDS,)])
    row = torch.arange(4.0)[None]
    searched = rt.Embedding.from_pretrained(row.expand(20_000_000, 4), train=[1, 7])
    assert searched.rows.slot_map is None
    agree(Model(searched), [(IDS,), (IDS + 10_000_000,)])


def test_in_eval_and_under_autocast(weights):
    model = Model(rt.Embedding.from_pretrained(weights, train=[1, 4, 7]))
    twin = copy.deepcopy(model)
    fast = compiled(model)
    with torch.no_grad():
        torch.testing.assert_close(fast.eval()(IDS), twin(IDS))
    with torch.autocast("cpu", torch.bfloat16):
        out, expected = fast(IDS), twin(IDS)
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(model.table.block.grad, twin.table.block.grad)
