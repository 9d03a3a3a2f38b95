"""Nothing that a user can call writes into the base: least of all into a file that is mapped
read-only, which would end the process.
"""

from __future__ import annotations

import copy
import hashlib
import io
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch.nn import functional

import rowtune.torch as rt
from rowtune.errors import FrozenRowError

N, D = 30, 8

WAYS = {
    "setitem": lambda b: b.__setitem__((0, 0), 1.0),
    "zero_": lambda b: b.zero_(),
    "add_": lambda b: b.add_(1),
    "augmented": lambda b: exec("b += 1", {"b": b}),
    "true division": lambda b: exec("b /= 2", {"b": b}),
    "modulo": lambda b: exec("b %= 2", {"b": b}),
    "a row": lambda b: b[3].fill_(1),
    "a slice": lambda b: b[2:5].mul_(2),
    "a column": lambda b: b[:, 1].copy_(torch.zeros(N)),
    "each row": lambda b: [row.zero_() for row in b],
    "unbind": lambda b: b.unbind()[0].zero_(),
    "chunk": lambda b: b.chunk(2)[1].zero_(),
    "transposed": lambda b: b.t().zero_(),
    "reshaped": lambda b: b.view(-1).zero_(),
    "bits": lambda b: b.view(torch.int32).zero_(),
    "detached": lambda b: b.detach().zero_(),
    "data": lambda b: b.data.zero_(),
    "assigned data": lambda b: setattr(b, "data", torch.zeros(N, D)),
    "out": lambda b: torch.add(b, 1, out=b),
    "out of others": lambda b: torch.mul(torch.ones(N, D), torch.ones(N, D), out=b),
    "several outs": lambda b: torch.max(torch.ones(N, D), 1, out=(b[:, 0], torch.zeros(N).long())),
    "view by another": lambda b: torch.einsum("ij->ji", b).zero_(),
    "one of several": lambda b: torch.broadcast_tensors(torch.ones(D), b)[1].zero_(),
    "function": torch.relu_,
    "inplace": lambda b: functional.relu(b, inplace=True),
    "module": torch.nn.ReLU(inplace=True),
    "dropout": lambda b: functional.dropout(b, 0.5, True, True),
    "init": torch.nn.init.zeros_,
    "init by name": lambda b: torch.nn.init.zeros_(tensor=b),
    "foreach": lambda b: torch._foreach_add_([b], 1),
    "operator": lambda b: torch.ops.aten.add_.Tensor(b, b),
    "operator with out": lambda b: torch.ops.aten.add.out(b, b, out=b),
    "index_copy_": lambda b: b.index_copy_(0, torch.tensor([1]), torch.zeros(1, D)),
    "index_put_": lambda b: b.index_put_((torch.tensor([1]),), torch.zeros(D)),
    "scatter_": lambda b: b.scatter_(0, torch.zeros(1, D).long(), 1.0),
    "renorm": lambda b: torch.embedding_renorm_(b, torch.tensor([1]), 1e-9, 2.0),
    "embedding with max_norm": lambda b: functional.embedding(
        torch.tensor([1]), b, max_norm=1e-9
    ),
    "running statistics": lambda b: functional.batch_norm(
        torch.randn(4, D), b[0], torch.ones(D), training=True
    ),
    "numpy": lambda b: b.numpy().fill(1),
    "asarray": lambda b: np.asarray(b).fill(1),
    "memory of numpy": lambda b: np.multiply(b.numpy(), 2, out=b.numpy()),
    "dlpack": lambda b: torch.from_dlpack(b).zero_(),
    "dlpack to numpy": lambda b: np.from_dlpack(b).fill(1),
    "map_": lambda b: b.map_(b, lambda x, y: 0.0),
    "apply_": lambda b: b.apply_(lambda x: 0.0),
    "set_": lambda b: b.set_(torch.zeros(N, D)),
    "resize_": lambda b: b.resize_(1, 1),
    "sgd": lambda b: descend(torch.optim.SGD, b),
    "adam": lambda b: descend(torch.optim.Adam, b),
    "sgd without foreach": lambda b: descend(torch.optim.SGD, b, foreach=False),
    "parameter": lambda b: torch.nn.Parameter(b, requires_grad=False).zero_(),
    "copied state": lambda b: torch.utils.swap_tensors(b, torch.zeros(N, D)),
}  # fmt: skip
REFUSALS = (FrozenRowError, ValueError, RuntimeError, BufferError)


def descend(kind, base, **more):
    base.requires_grad_()
    optimizer = kind([base], lr=1.0, **more)
    base.sum().backward()
    optimizer.step()


def digest(module):
    return hashlib.sha256(module._base.numpy().tobytes()).hexdigest()


CODE = """
import faulthandler, sys, tempfile, os
sys.path[:0] = {paths!r}
import numpy as np, torch, rowtune, rowtune.torch as rt
from test_torch_read_only import WAYS, REFUSALS, N, D, digest
folder = tempfile.mkdtemp()
table = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
for kind in ("float", "int8"):
    path = os.path.join(folder, kind + ".safetensors")
    rowtune.save_table(path, rowtune.quantize(table) if kind == "int8" else table)
    for name, way in WAYS.items():
        module = rt.Embedding.from_pretrained(rowtune.open_table(path), train=[1, 2])
        module.save_base = True
        before = digest(module)
        views = [module.base, module.state_dict()["base"]]
        if kind == "int8":
            views += [module.base_scales[:, None], module.state_dict()["base_scales"][:, None]]
        for view in views:
            print(kind, name, flush=True)
            try:
                way(view)
            except REFUSALS as error:
                pass
            except (TypeError, IndexError, AttributeError, NotImplementedError):
                pass
            assert digest(module) == before, name
print("lived", flush=True)
"""


def test_no_way_of_writing_ends_the_process_or_changes_a_row():
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    code = textwrap.dedent(CODE).format(paths=paths)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    last = done.stdout.splitlines()[-1:]
    assert done.returncode != -signal.SIGSEGV, f"the process died of {last}"
    assert last == ["lived"], done.stderr[-2000:]


@pytest.fixture
def embedding():
    return rt.Embedding.from_pretrained(torch.randn(N, D), train=[1, 2])


def test_reading_goes_on_as_with_any_tensor(embedding):
    base, plain = embedding.base, embedding._base
    assert base is embedding.base and base.data_ptr() == plain.data_ptr()
    for made in (base * 2, base.clone(), base.sum(0), base.index_select(0, torch.tensor([1]))):
        assert type(made) is torch.Tensor
        made.zero_()
    assert torch.equal(functional.embedding(torch.tensor([3]), base)[0], plain[3])
    assert base.tolist() == plain.tolist() and torch.equal(base[4] + 1, plain[4] + 1)
    assert not base.numpy().flags.writeable
    with pytest.raises(FrozenRowError, match=r"embedding.block.data"):
        base[0] = 1
    with pytest.raises(AttributeError):
        embedding.base = plain


def test_files_and_copies_hold_plain_tensors(embedding):
    state = embedding.state_dict()
    with pytest.raises(FrozenRowError):
        state["base"].zero_()
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded, copied = torch.load(file, weights_only=True), copy.deepcopy(state)
    packed = load(save(dict(state)))
    for one in (loaded, copied, packed):
        assert type(one["base"]) is torch.Tensor and torch.equal(one["base"], embedding._base)
        one["base"].zero_()
    assert embedding._base.any()


def test_a_module_that_was_pickled_or_copied_is_guarded_as_well(embedding):
    file = io.BytesIO()
    torch.save(embedding, file)
    file.seek(0)
    for one in (torch.load(file, weights_only=False), copy.deepcopy(embedding)):
        assert torch.equal(one.weight, embedding.weight)
        with pytest.raises(FrozenRowError):
            one.base.zero_()
    assert copy.deepcopy(embedding)._base is embedding._base
