"""`rt.subset`: a few rows as a compact leaf, for optimizers that look at curvature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.functional import hessian, hvp
from torch.func import functional_call

import rowtune.torch as rt
from rowtune.errors import FrozenRowError, IdError, NonFiniteError, ShapeError

N, D = 12, 3
TRAIN = [1, 3, 5, 7, 9]


@pytest.fixture
def weights():
    return torch.randn(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def embedding(weights):
    return rt.Embedding.from_pretrained(weights, train=TRAIN)


def bits(tensor):
    return tensor.detach().contiguous().numpy().tobytes()


def of_values(subset, ids):
    """The lookup as a function of the subset's values."""
    return lambda values: functional_call(subset, {"values": values}, ids)


# --- what it is --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids",
    [[7, 1, 5], np.array([7, 1, 5], np.int32), torch.tensor([[7, 1, 5]]), (7, 1, 5)],
    ids=lambda ids: type(ids).__name__,
)
def test_its_values_are_a_copy_in_the_order_of_the_ids(embedding, weights, ids):
    subset = rt.subset(embedding, ids)
    assert subset.ids.tolist() == [7, 1, 5]
    assert bits(subset.values) == bits(weights[[7, 1, 5]])
    assert subset.values.is_leaf
    assert subset.values.requires_grad
    assert [p is subset.values for p in subset.parameters()] == [True]
    with torch.no_grad():
        subset.values.fill_(9)
    assert bits(embedding.weight) == bits(weights)


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 4), (2, 1, 3)])
def test_a_lookup_goes_through_the_values_and_past_them(embedding, weights, shape):
    subset = rt.subset(embedding, [7, 1])
    with torch.no_grad():
        subset.values.copy_(torch.tensor([[70.0] * D, [10.0] * D]))
        embedding.block[1] = 30  # id 3: trainable, but not of this subset
    expected = weights.clone()
    expected[[7, 1, 3]] = torch.tensor([[70.0], [10.0], [30.0]], dtype=torch.float64)
    ids = torch.randint(N, shape, generator=torch.Generator().manual_seed(1))
    for kind in (torch.int64, torch.int32):
        rows = subset(ids.to(kind))
        assert rows.shape == (*shape, D)
        assert bits(rows) == bits(expected[ids])
    assert bits(subset(torch.arange(N))) == bits(expected)


def test_only_its_own_rows_get_a_gradient(embedding):
    subset = rt.subset(embedding, [7, 1])
    subset(torch.tensor([7, 7, 3, 0, 1, 7])).sum().backward()
    assert subset.values.grad[:, 0].tolist() == [3, 1]
    assert embedding.block.grad is None
    frozen = subset(torch.tensor([0, 3]))
    (grad,) = torch.autograd.grad(frozen.sum() + 0 * subset.values.sum(), subset.values)
    assert not grad.any()


def test_its_optimizer_does_not_reach_the_embedding(embedding, weights):
    subset = rt.subset(embedding, [7, 1])
    optimizer = torch.optim.SGD(subset.parameters(), lr=1.0, weight_decay=0.1)
    subset(torch.arange(N)).sum().backward()
    optimizer.step()
    assert bits(embedding.weight) == bits(weights)
    subset.write()
    assert bits(embedding.weight[[7, 1]]) == bits(subset.values)
    others = [i for i in range(N) if i not in (7, 1)]
    assert bits(embedding.weight[others]) == bits(weights[others])


def test_a_model_does_not_take_the_embedding_for_a_part_of_the_subset(embedding):
    subset = rt.subset(embedding, [7, 1])
    assert list(subset.state_dict()) == ["values"]
    assert list(nn.ModuleDict({"s": subset}).state_dict()) == ["s.values"]


def test_subsets_of_no_rows_of_all_of_bags_and_of_grown_tables(weights, embedding):
    none = rt.subset(embedding, [])
    assert none.values.shape == (0, D)
    assert bits(none(torch.arange(N))) == bits(weights)
    none.write()
    new = embedding.grow(torch.ones(2, D, dtype=torch.float64))
    grown = rt.subset(embedding, [*new.tolist(), 1])
    grown.write(torch.full((3, D), 4.0))
    assert embedding.weight[[N, N + 1, 1]].eq(4).all()
    for kind in (rt.Embedding, rt.EmbeddingBag):
        every = rt.subset(kind.from_pretrained(weights), range(N))
        assert bits(every(torch.arange(N))) == bits(weights)


def test_with_columns_it_holds_those_alone(weights):
    embedding = rt.Embedding.from_pretrained(weights, train=TRAIN, columns=[2, 0])
    subset = rt.subset(embedding, [7, 1])
    assert bits(subset.values) == bits(weights[[7, 1]][:, [0, 2]])
    ids = torch.tensor([[1, 7], [0, 3]])
    assert bits(subset(ids)) == bits(weights[ids])
    assert gradcheck(of_values(subset, ids), (subset.values,))
    subset.write(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert embedding.weight[7].tolist() == [1, weights[7, 1], 2]
    assert embedding.weight[1].tolist() == [3, weights[1, 1], 4]


# --- curvature ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [[7, 1, 5], [9]])
def test_first_and_second_derivatives_are_right(embedding, ids):
    subset = rt.subset(embedding, ids)
    batch = torch.tensor([[7, 1, 7], [0, 3, 5]])

    def cost(values):
        return (of_values(subset, batch)(values).tanh() ** 2).sum(-1)

    assert gradcheck(cost, (subset.values,))
    assert gradgradcheck(cost, (subset.values,))


# A least-squares problem in which rows 1, 5 and 7 are all that is unknown: every item of a batch
# says what a known mixture of one of them and of a frozen row should be.
UNKNOWN = [7, 1, 5]


def least_squares(rows_of):
    """Its cost, of a lookup."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.tensor(UNKNOWN * 4)
    mixture = torch.randn(len(ids), D, D, generator=generator, dtype=torch.float64)
    wanted = torch.randn(len(ids), D, generator=generator, dtype=torch.float64)
    given = (mixture @ rows_of(ids)[:, :, None]).squeeze(2) + rows_of(ids * 0 + 2)
    return (given - wanted).square().sum(), (ids, mixture, wanted)


def solved(weights):
    """The optimum by normal equations, row by row."""
    _, (ids, mixture, wanted) = least_squares(lambda ids: weights[ids])
    rows = []
    for unknown in UNKNOWN:
        own = ids == unknown
        a, b = mixture[own].reshape(-1, D), (wanted[own] - weights[2]).reshape(-1)
        rows.append(torch.linalg.lstsq(a, b).solution)
    return torch.stack(rows)


def test_lbfgs_finds_the_optimum_and_writes_it_back(embedding, weights):
    subset = rt.subset(embedding, UNKNOWN)
    optimizer = torch.optim.LBFGS(
        subset.parameters(), max_iter=100, tolerance_grad=1e-12, tolerance_change=0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        cost, _ = least_squares(subset)
        cost.backward()
        return cost

    optimizer.step(closure)
    assert bits(embedding.weight) == bits(weights)
    subset.write()
    torch.testing.assert_close(embedding.weight[UNKNOWN].detach(), solved(weights))
    others = [i for i in range(N) if i not in UNKNOWN]
    assert bits(embedding.weight[others]) == bits(weights[others])
    assert least_squares(embedding)[0] == least_squares(subset)[0]


def test_on_the_whole_table_the_hessian_is_singular_and_on_the_subset_it_is_not(weights):
    """The remark of Theano's FAQ on Hessian-free optimization."""
    embedding = rt.Embedding.from_pretrained(weights)

    def of(subset):
        found = hessian(
            lambda values: least_squares(lambda ids: of_values(subset, ids)(values))[0],
            subset.values.detach(),
        )
        size = subset.values.numel()
        return found.reshape(size, size)

    whole, compact = of(rt.subset(embedding, range(N))), of(rt.subset(embedding, UNKNOWN))
    assert whole.shape == (N * D, N * D)
    # Row 2 is looked up as well, so a fourth row of the whole table has curvature; eight have none.
    assert torch.linalg.matrix_rank(whole) == 4 * D
    assert torch.linalg.eigvalsh(whole)[0].abs() < 1e-10
    assert torch.linalg.cholesky_ex(whole).info > 0
    assert torch.linalg.eigvalsh(compact)[0] > 0.1
    assert torch.linalg.cholesky_ex(compact).info == 0
    kept = torch.tensor([row * D + j for row in UNKNOWN for j in range(D)])
    torch.testing.assert_close(compact, whole[kept][:, kept])


def test_one_newton_step_solves_what_is_quadratic(embedding, weights):
    subset = rt.subset(embedding, UNKNOWN)
    cost, _ = least_squares(subset)
    (grad,) = torch.autograd.grad(cost, subset.values)
    curvature = hessian(
        lambda values: least_squares(lambda ids: of_values(subset, ids)(values))[0],
        subset.values.detach(),
    ).reshape(grad.numel(), -1)
    step = torch.linalg.solve(curvature, grad.reshape(-1))
    subset.write(subset.values.detach().reshape(-1) - step)
    torch.testing.assert_close(embedding.weight[UNKNOWN].detach(), solved(weights))


def test_hessian_vector_products(embedding):
    subset = rt.subset(embedding, UNKNOWN)
    values = subset.values.detach()
    direction = torch.cos(torch.arange(values.numel(), dtype=torch.float64)).view_as(values)

    def cost(values):
        rows = of_values(subset, torch.tensor([7, 1, 5, 5, 0]))(values)
        return (rows.tanh() @ rows.exp().T).sum()

    _, product = hvp(cost, values, direction)
    size = values.numel()
    full = hessian(cost, values).reshape(size, size) @ direction.reshape(-1)
    torch.testing.assert_close(product.reshape(-1), full)
    # The way of torch.autograd.grad, on the leaf itself.
    loss = (subset(torch.tensor([7, 1, 5, 5, 0])).tanh() ** 3).sum()
    (first,) = torch.autograd.grad(loss, subset.values, create_graph=True)
    (second,) = torch.autograd.grad((first * direction).sum(), subset.values)
    assert second.shape == values.shape
    assert second.abs().sum() > 0


@pytest.mark.parametrize("kind", [rt.Embedding, rt.EmbeddingBag])
@pytest.mark.parametrize("sparse", [False, True])
def test_elsewhere_a_second_derivative_says_where_to_go(weights, kind, sparse):
    embedding = kind.from_pretrained(weights, train=TRAIN, sparse=sparse)
    loss = embedding(torch.tensor([[1, 3], [3, 5]])).pow(3).sum()
    with pytest.raises((NotImplementedError, RuntimeError), match=r"rowtune\.torch\.subset"):
        (first,) = torch.autograd.grad(loss, embedding.block, create_graph=True)
        first.to_dense().square().sum().backward()


# --- what it refuses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "error", "words"),
    [
        ([1, 2], FrozenRowError, "row 2 is frozen"),
        ([1, 3, 1], IdError, "twice"),
        ([1, N], IdError, "id 12 is not a row: expected 0 to 11"),
        ([-1], IdError, "id -1"),
        ([1.0, 3.0], IdError, "expected integers"),
        (torch.tensor([False, True] * 6), IdError, "bool|mask"),
        (torch.tensor([False, True]), IdError, "bool|mask"),
    ],
)
def test_ids_that_no_subset_can_have(embedding, ids, error, words):
    with pytest.raises(error, match=words):
        rt.subset(embedding, ids)


def test_lookups_out_of_range(embedding):
    subset = rt.subset(embedding, [7, 1])
    for wrong in (N, -1):
        with pytest.raises(IdError, match="expected 0 to 11"):
            subset(torch.tensor([1, wrong]))


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (torch.zeros(3, D), ShapeError),
        (torch.zeros(D, 2), ShapeError),
        (3.0, ShapeError),
        (torch.tensor([[1.0, 2, 3], [4, float("nan"), 6]]), NonFiniteError),
        (np.array([[1.0, 2, 3], [4, np.inf, 6]]), NonFiniteError),
    ],
)
def test_values_that_cannot_be_written_change_nothing(embedding, weights, values, error):
    subset = rt.subset(embedding, [7, 1])
    own = bits(subset.values)
    with pytest.raises(error):
        subset.write(values)
    assert bits(embedding.weight) == bits(weights)
    assert bits(subset.values) == own


def test_values_that_overflow_the_block_are_not_finite(weights):
    embedding = rt.Embedding.from_pretrained(weights.half(), train=TRAIN)
    subset = rt.subset(embedding, [7, 1])
    with pytest.raises(NonFiniteError):
        subset.write(torch.full((2, D), 1e6, dtype=torch.float64))
    assert bits(embedding.weight) == bits(weights.half())
    with torch.no_grad():
        subset.values.fill_(float("nan"))
    with pytest.raises(NonFiniteError):
        subset.write()
    assert bits(embedding.weight) == bits(weights.half())


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_what_can_be_written(embedding, flat, kind):
    subset = rt.subset(embedding, [7, 1])
    rows = [[1.0, 2, 3], [4, 5, 6]]
    subset.write(kind([*rows[0], *rows[1]] if flat else rows))
    assert embedding.weight[[7, 1]].tolist() == rows
    assert subset.values.tolist() == rows
    assert subset.values.is_leaf
    assert subset.values.requires_grad
