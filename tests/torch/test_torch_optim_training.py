"""Steps among all that a training loop has: scaled gradients, graphs, workers, threads."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import rowtune
import rowtune.torch as rt
from rowtune.torch import memory

either_gradient = pytest.mark.parametrize("sparse", [False, True])
TRAIN = [1, 2, 5, 7]


class Model(nn.Module):
    """Two tables that are added, as words and positions are, and a layer."""

    def __init__(self, sparse, train=TRAIN, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.words = rt.Embedding(8, 4, train=train, sparse=sparse, dtype=dtype)
        self.places = rt.Embedding(8, 4, train=train, sparse=sparse, dtype=dtype)
        self.head = nn.Linear(4, 2)

    def forward(self, ids):
        return self.head(self.words(ids) + self.places(ids.flip(0))).square().sum()


def bits(model):
    return [p.detach().numpy().tobytes() for p in model.parameters()]


BATCHES = [[1, 2, 2, 0], [5, 7], [3], [7, 0, 1]]


@either_gradient
@pytest.mark.parametrize("train", [TRAIN, "all"], ids=["some", "all"])
@pytest.mark.parametrize("clip", [False, True])
def test_a_scaled_loss_gives_the_bits_of_one_that_is_not_scaled(clip, train, sparse):
    results = []
    for enabled in (True, False):
        model = Model(sparse, train)
        optimizer = rt.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, enabled=enabled)
        for ids in BATCHES:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(torch.tensor(ids))
            scaler.scale(loss).backward()
            if clip:
                scaler.unscale_(optimizer)
                rt.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
        results.append(bits(model))
    assert results[0] == results[1]


@either_gradient
@pytest.mark.parametrize("where", ["words", "head"])
def test_a_step_with_infinite_gradients_is_skipped_by_the_scaler(where, sparse):
    model, twin = Model(sparse), Model(sparse)
    optimizer, other = (rt.optim.Adam(m.parameters(), lr=0.1) for m in (model, twin))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)

    def step(bad):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(torch.tensor([1, 2, 0]))
        if bad:
            part = model.words(torch.tensor([2])) if where == "words" else model.head.bias
            loss = loss + (part * float("inf")).sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    step(bad=False)
    before, state = bits(model), str(optimizer.state_dict())
    step(bad=True)
    assert bits(model) == before
    assert str(optimizer.state_dict()) == state
    assert scaler.get_scale() == 2.0**11
    step(bad=False)
    for _ in range(2):
        other.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = twin(torch.tensor([1, 2, 0]))
        loss.backward()
        other.step()
    assert bits(model) == bits(twin)


@either_gradient
@pytest.mark.parametrize("train", ["all", TRAIN], ids=["all", "some"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_graph_that_holds_the_block_notices_that_a_step_has_written_it(dtype, train, sparse):
    emb = rt.Embedding(8, 4, train=train, sparse=sparse, dtype=dtype)
    optimizer = rt.optim.SGD(emb.parameters(), lr=0.1)
    emb(torch.tensor([1, 2])).sum().backward()
    penalty = (emb.block**2).sum()  # its gradient is 2 * block, as it was
    rows = emb(torch.tensor([1, 5])).square().sum()  # of a copy, which nobody writes
    with torch.no_grad():
        expected = emb(torch.tensor([1, 5])) * 2
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        penalty.backward()
    optimizer.zero_grad()
    rows.backward()
    grad = emb.block.grad.to_dense()[torch.from_numpy(emb.rows.slots([1, 5])).long()]
    assert torch.equal(grad, expected)


def test_the_whole_matrix_is_one_of_before_or_after_a_step():
    emb = rt.Embedding(8, 4, train=TRAIN)
    optimizer = rt.optim.SGD(emb.parameters(), lr=0.1)
    before = emb.weight
    kept = before.detach().clone()
    before[[1, 3]].sum().backward()
    optimizer.step()
    assert torch.equal(before, kept)
    moved = (emb.weight.detach() - kept)[1]
    torch.testing.assert_close(moved, torch.full((4,), -0.1))
    assert torch.equal(emb.weight.detach()[2:], kept[2:])


class Lookups(Dataset):
    """Batches that a worker makes with the model's own rows, and with a step of its own."""

    def __init__(self, emb, optimizer):
        self.emb, self.optimizer = emb, optimizer

    def __len__(self):
        return 6

    def __getitem__(self, i):
        rows = self.emb(torch.arange(40_000) % 20_000).detach()
        self.emb(torch.arange(20_000)).sum().backward()
        self.optimizer.step()  # in the worker: its own copy
        return rows[:2, 0].clone(), self.emb.weight[i % 2, 0].detach()


# Python's own advice, from 3.12 on: these tests are about a process that does it all the same.
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@forks
def test_a_fork_while_another_thread_takes_memory_can_look_rows_up():
    emb = rt.Embedding(20_000, 32, train=slice(0, 19_000))
    ids = torch.arange(20_000)
    emb(ids).sum().backward()
    with memory._lock:  # as when another thread of the parent is in there just then
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends a child that waits for ever
            try:
                torch.set_num_threads(1)  # as DataLoader does: torch's own threads are gone, too
                emb(ids).sum().backward()
                os._exit(0)
            finally:  # whatever happens, the child is not to go on with other tests
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@forks
@either_gradient
def test_workers_that_are_forked_after_a_step_look_rows_up_and_train(sparse):
    before = rowtune.get_num_threads()
    rowtune.set_num_threads(2)
    try:
        emb = rt.Embedding(20_000, 32, train=slice(0, 19_000), sparse=sparse)
        optimizer = rt.optim.SGD(emb.parameters(), lr=0.1)
        start = emb.weight.detach()[:2, 0].clone()
        emb(torch.arange(40_000) % 20_000).sum().backward()
        optimizer.step()  # the threads of the kernels are running now
        optimizer.zero_grad()
        loader = DataLoader(
            Lookups(emb, optimizer), num_workers=2, multiprocessing_context="fork", timeout=60
        )
        seen = list(loader)
    finally:
        rowtune.set_num_threads(before)
    assert len(seen) == 6
    torch.testing.assert_close(seen[0][0][0], start - 0.2)
    assert all(len(rows[0]) == 2 for rows, _ in seen)
    torch.testing.assert_close(seen[1][1][0], start[1] - 0.3)
    torch.testing.assert_close(emb.weight.detach()[:2, 0], start - 0.2)


def train_large(seed, sparse=True, results=None):
    """Large enough for several chunks in every kernel; the bits of weights and state."""
    draw = np.random.default_rng(seed)
    weights = draw.standard_normal((40_000, 64)).astype(np.float32)
    emb = rt.Embedding.from_pretrained(weights, train=slice(0, 30_000), sparse=sparse)
    optimizer = rt.optim.Adam(emb.parameters(), lr=0.1)
    for _ in range(3):
        often = np.minimum(draw.zipf(1.2, 20_000) - 1, 39_999)
        ids = torch.from_numpy(np.concatenate([often, draw.permutation(40_000)]))
        grads = torch.from_numpy(draw.standard_normal((60_000, 64), dtype=np.float32))
        optimizer.zero_grad()
        (emb(ids) * grads).sum().backward()
        rt.clip_grad_norm_(emb.parameters(), 1e9)
        optimizer.step()
    result = [emb.block.detach(), *optimizer.row_state(emb.block).values()]
    result = [values.numpy().tobytes() for values in result]
    if results is not None:
        results[seed] = result
    return result


@either_gradient
def test_one_thread_and_two_give_the_same_bits(sparse):
    before, results = rowtune.get_num_threads(), []
    for number in (1, 2):
        rowtune.set_num_threads(number)
        try:
            results.append(train_large(0, sparse))
        finally:
            rowtune.set_num_threads(before)
    assert results[0] == results[1]


def test_two_python_threads_train_two_models_as_if_each_were_alone():
    expected = [train_large(seed) for seed in (1, 2)]
    results = {}
    running = [threading.Thread(target=train_large, args=(seed, True, results)) for seed in (1, 2)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert [results[1], results[2]] == expected


def test_sparse_and_dense_gradients_give_the_same_bits_in_large_batches():
    assert train_large(3, sparse=True) == train_large(3, sparse=False)
