"""Memory of large outputs: used again once nobody holds it, and never before."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

import rowtune.torch as rt
from rowtune.torch import memory

LARGE = (600, 512)  # float32: more than a megabyte


@pytest.fixture(autouse=True)
def forgotten():
    memory.release()
    yield
    memory.release()


def address(array):
    return array.ctypes.data


def test_it_is_given_out_again_once_it_is_free():
    first = memory.empty(LARGE, np.float32)
    where = address(first)
    second = memory.empty(LARGE, np.float32)
    assert address(second) != where
    del first
    assert address(memory.empty(LARGE, np.float32)) == where


@pytest.mark.parametrize(
    "hold",
    [
        lambda array: array[5:, ::2],
        torch.from_numpy,
        lambda array: torch.from_numpy(array).view(torch.int32)[3],
        lambda array: torch.from_numpy(array).numpy(),
        memoryview,
        lambda array: torch.from_numpy(array).untyped_storage(),
    ],
)
def test_whoever_holds_a_part_of_it_keeps_it(hold):
    array = memory.empty(LARGE, np.float32)
    where, held = address(array), hold(array)
    del array
    gc.collect()
    assert address(memory.empty(LARGE, np.float32)) != where
    del held
    gc.collect()
    assert address(memory.empty(LARGE, np.float32)) == where


def test_shapes_and_dtypes_are_those_that_were_asked_for():
    first = memory.empty(LARGE, np.float32)
    where = address(first)
    del first
    smaller = memory.empty((400, 330), np.float64)
    assert (smaller.shape, smaller.dtype) == ((400, 330), np.float64)
    assert address(smaller) == where
    assert smaller.flags.c_contiguous
    tiny = memory.empty((3, 4), np.float32)
    assert tiny.shape == (3, 4)
    assert len(memory._pieces) == 1


def test_what_is_kept_is_bounded():
    arrays = [memory.empty((1 << 20,), np.float32) for _ in range(80)]
    assert sum(map(len, memory._pieces)) <= memory._MOST_BYTES
    assert len(memory._pieces) <= memory._MOST_PIECES
    assert len({address(a) for a in arrays}) == 80
    memory.release()
    assert not memory._pieces


@pytest.mark.parametrize("sparse", [False, True])
def test_a_training_loop_uses_the_same_memory_in_every_step(sparse):
    emb = rt.Embedding(2000, 300, train=slice(0, 1500), sparse=sparse)
    optimizer = rt.optim.Adam(emb.parameters())
    ids = torch.arange(2000)
    outputs, gradients = set(), set()
    for _ in range(4):
        optimizer.zero_grad()
        out = emb(ids)
        outputs.add(out.data_ptr())
        out.backward(torch.ones(2000, 300))
        grad = emb.block.grad
        gradients.add((grad._values() if sparse else grad).data_ptr())
        optimizer.step()
        del out, grad
    assert len(outputs) == len(gradients) == 1


def test_outputs_that_are_kept_keep_what_is_in_them():
    emb = rt.Embedding(2000, 300)
    kept = [emb(torch.full((2000,), i)) for i in range(5)]
    for i, out in enumerate(kept):
        assert torch.equal(out, emb.weight[i].expand(2000, 300))
