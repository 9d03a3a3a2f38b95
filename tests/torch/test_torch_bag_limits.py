"""What an `EmbeddingBag` refuses, the same in every mode and before anything is written."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rowtune.torch as rt
from rowtune.errors import FrozenRowError, IdError, RuleError, ShapeError

N, D = 12, 5
MODES = ["sum", "mean", "max"]
IDS = torch.tensor([3, 3, 0, 11, 7, 3, 2, 3, 3, 11])
OFFSETS = torch.tensor([0, 2, 2, 6, 10])


@pytest.fixture
def weights():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("more", [{"train": [0]}, {"columns": [0]}, {"max_norm": 0.1}])
@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (torch.tensor([[0, -1]]), "id -1 is not a row: expected 0 to 11"),
        (torch.tensor([[N, 1]]), "id 12 is not a row"),
        (torch.tensor([[0, N]], dtype=torch.int32), "id 12 is not a row"),
        (torch.tensor([[1.0]]), "dtype torch.float32; expected integers"),
        (torch.tensor([[True]]), "dtype torch.bool; expected integers"),
        ([[1, 2]], "ids are a list; expected a tensor"),
        (np.array([[1, 2]]), "ids are a ndarray; expected a tensor"),
    ],
)
def test_a_wrong_id_raises_before_anything_is_written(weights, mode, more, ids, words):
    ours = rt.EmbeddingBag.from_pretrained(weights, mode=mode, **more)
    before = ours.block.detach().clone()
    with pytest.raises(IdError, match=words):
        ours(ids)
    if isinstance(ids, torch.Tensor):
        with pytest.raises(IdError, match=words):
            ours(ids.flatten(), torch.tensor([0]))
    assert torch.equal(ours.block, before)
    assert not ours.block.pending.any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    "offsets",
    [[1, 3, 10], [0, 5, 2, 10], [0, -3, 10], [0, 11, 11], [[0, 10]], [0.0, 10.0], []],
    ids=["late", "descending", "negative", "beyond", "matrix", "floats", "none"],
)
def test_offsets_that_do_not_fit_are_refused(weights, mode, last, offsets):
    ours = rt.EmbeddingBag.from_pretrained(weights, mode=mode, include_last_offset=last)
    wrong = torch.tensor(offsets) if offsets else torch.tensor([], dtype=torch.long)
    with pytest.raises(ShapeError, match="offsets"):
        ours(IDS, wrong)


@pytest.mark.parametrize("mode", MODES)
def test_ids_that_would_be_in_no_bag_are_refused(weights, mode):
    """torch leaves them out of sums, not out of gradients, means and maxima (2.13)."""
    ours = rt.EmbeddingBag.from_pretrained(weights, mode=mode, include_last_offset=True)
    for offsets in ([0, 3], [0]):
        with pytest.raises(ShapeError, match="offsets"):
            ours(IDS, torch.tensor(offsets))
    assert ours(IDS, torch.tensor([0, 10])).shape == (1, D)
    assert ours(IDS[:0], torch.tensor([0])).shape == (0, D)


def test_ids_and_offsets_of_shapes_that_do_not_go_together(weights):
    ours = rt.EmbeddingBag.from_pretrained(weights)
    with pytest.raises(ShapeError, match="given; expected"):
        ours(IDS.view(2, 5), torch.tensor([0]))
    for ids in (IDS, torch.tensor(1), IDS.view(1, 2, 5)):
        with pytest.raises(ShapeError, match="missing; expected"):
            ours(ids)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("columns", [None, [0]])
def test_weights_of_samples_that_do_not_fit(weights, columns, learned):
    ours = rt.EmbeddingBag.from_pretrained(weights, train=[3], mode="sum", columns=columns)
    for weighting in (torch.ones(9), torch.ones(1, 10), torch.ones(5, 2)):
        with pytest.raises(ShapeError, match=r"per_sample_weights.*expected \(10,\)"):
            ours(IDS, OFFSETS, weighting.requires_grad_(learned))
    with pytest.raises(ShapeError, match=r"per_sample_weights.*expected \(5, 2\)"):
        ours(IDS.view(5, 2), None, torch.ones(10, requires_grad=learned))
    for mode in ("mean", "max"):
        other = rt.EmbeddingBag.from_pretrained(weights, mode=mode, columns=columns)
        with pytest.raises(ShapeError, match='mode="sum"'):
            other(IDS, OFFSETS, torch.ones(10, requires_grad=learned))


@pytest.mark.parametrize("columns", [None, [0]])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int64])
def test_weights_of_samples_have_the_dtype_of_the_rows(weights, columns, dtype):
    """Anything else is an error in torch, and would be one to the gradient here."""
    ours = rt.EmbeddingBag.from_pretrained(weights, train=[3], mode="sum", columns=columns)
    with pytest.raises((ShapeError, RuntimeError), match="per_sample_weights"):
        ours(IDS, OFFSETS, torch.ones(10, dtype=dtype))


def test_options_that_cannot_be_kept_are_refused(weights):
    with pytest.raises(ShapeError, match="expected sum, mean or max"):
        rt.EmbeddingBag(N, D, mode="prod")
    with pytest.raises(RuleError, match="sparse=False"):
        rt.EmbeddingBag(N, D, scale_grad_by_freq=True, sparse=True)
    for more in ({"train": [1]}, {"columns": [1]}):
        with pytest.raises(FrozenRowError, match=r"max_norm.*leave it out"):
            rt.EmbeddingBag.from_pretrained(weights, max_norm=1.0, **more)
    for wrong in (N, -N - 1):
        with pytest.raises(IdError, match=f"padding_idx is {wrong}"):
            rt.EmbeddingBag(N, D, padding_idx=wrong)
