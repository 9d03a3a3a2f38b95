"""Embeddings over fewer bits and over files: the rows that the base gives, the steps of a table."""

from __future__ import annotations

import copy
import hashlib
import io

import numpy as np
import pytest
import torch
from torch import nn

import rowtune
import rowtune.torch as rt
from rowtune import Quantized, Table, quantize
from rowtune.errors import FormatError, PatchError, ShapeError
from rowtune.torch import cpu, ops, plain

N, D, TRAINED = 40, 7, [3, 8, 9, 39]
KINDS = ["int8", "float16", "bfloat16"]
IDS = torch.tensor([[0, 3, 39], [8, 3, 20]])


@pytest.fixture
def weights():
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


@pytest.fixture(params=KINDS)
def quantized(request, weights):
    return quantize(weights, request.param)


def digest(one):
    parts = [one.codes.tobytes(), b"" if one.scales is None else one.scales.tobytes()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def whole(quantized):
    return torch.from_numpy(quantized.rows(slice(None)))


def make(quantized, kind=rt.Embedding, **more):
    return kind.from_pretrained(quantized, **{"train": TRAINED, **more})


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("train", [[], [5]])
def test_every_bit_pattern_is_widened_as_numpy_does(kind, train):
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(-1, 64)
    table = Quantized(bits.view(np.float16) if kind == "float16" else bits)
    module = rt.Embedding.from_pretrained(table, train=train)
    got = module(torch.arange(len(bits))).detach().numpy()
    assert (got.view(np.uint32) == table.rows(slice(None)).view(np.uint32)).all()
    assert (table.codes.view(np.uint16) == np.arange(1 << 16).reshape(-1, 64)).all()


@pytest.mark.parametrize("columns", [None, [0, 4]])
@pytest.mark.parametrize("train", [TRAINED, "all", []])
def test_rows_are_those_of_the_quantized_table(quantized, columns, train):
    module = make(quantized, train=train, columns=columns)
    assert module.block.dtype == torch.float32
    assert torch.equal(module(torch.arange(N)), whole(quantized))
    assert torch.equal(module.weight, whole(quantized))
    with torch.no_grad():
        module.block.add_(1)
    expected = whole(quantized)
    where = np.ix_(module.rows.ids, np.arange(D) if columns is None else columns)
    expected[where] += 1
    assert torch.equal(module(torch.arange(N)), expected)
    assert torch.equal(module.merge()(IDS), module(IDS))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_block_of_another_dtype(quantized, dtype):
    module = make(quantized, dtype=dtype)
    assert module(IDS).dtype == module.block.dtype == dtype
    assert torch.equal(module(IDS), whole(quantized)[IDS].to(dtype))
    half = rt.Embedding.from_pretrained(whole(quantized).half(), train=TRAINED, dtype=torch.float32)
    assert half.block.dtype == half(IDS).dtype == torch.float32
    assert half.base.dtype == torch.float16
    with pytest.raises(ShapeError, match=r"dtype is torch.int8"):
        make(quantized, dtype=torch.int8)


def test_kernels_and_plain_operations_agree(quantized):
    module = make(quantized)
    for ids in (torch.arange(N), torch.arange(N, dtype=torch.int32), torch.tensor([], dtype=int)):
        slots = cpu.slots_of(ids, N, module._slot_map, None)
        arguments = (module.block.detach(), module._base, None, None, ids, slots, module._scales)
        assert cpu.can_widen(module.block, module._base, module._scales)
        assert torch.equal(cpu.take_rows(*arguments), plain.take_rows(*arguments))


def test_the_operator_keeps_its_promises(quantized):
    module = make(quantized)
    arguments = (module.block, module._base, None, None, module._slot_map, None,
                 module._pending(), IDS, N, False, False, module._scales)  # fmt: skip
    torch.library.opcheck(ops.lookup, arguments, test_utils=("test_schema", "test_faketensor"))


OPTIMIZERS = {
    "sgd": (rt.optim.SGD, {"lr": 0.01}),
    "momentum": (rt.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
    "adagrad": (rt.optim.Adagrad, {"lr": 0.01}),
    "rowwise_adagrad": (rt.optim.RowwiseAdagrad, {"lr": 0.01}),
    "rmsprop": (rt.optim.RMSprop, {"lr": 0.01}),
    "adadelta": (rt.optim.Adadelta, {"lr": 0.01}),
    "adam": (rt.optim.Adam, {"lr": 0.01}),
    "adamw": (rt.optim.AdamW, {"lr": 0.01}),
    "adamax": (rt.optim.Adamax, {"lr": 0.01}),
    "lion": (rt.optim.Lion, {"lr": 0.01}),
}


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_rule_moves_the_rows_that_a_table_moves(quantized, name, sparse):
    before, (kind, arguments) = digest(quantized), OPTIMIZERS[name]
    module = make(quantized, sparse=sparse)
    optimizer = kind(module.parameters(), **arguments)
    hyper = {k: v for k, v in arguments.items() if k != "lr"}
    table = Table(quantized, train=TRAINED, rule=name, lr=0.01, **hyper)
    for seed in range(2):
        grads = np.random.default_rng(seed).normal(size=(*IDS.shape, D)).astype(np.float32)
        table.update(IDS.numpy(), grads)
        optimizer.zero_grad()
        (module(IDS) * torch.from_numpy(grads)).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(module.weight.detach().numpy(), table.weights, rtol=1e-5, atol=1e-6)
    assert digest(quantized) == before


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [None, 20])
def test_bags_add_up_widened_rows(quantized, mode, padding_idx):
    ours = make(quantized, rt.EmbeddingBag, mode=mode, padding_idx=padding_idx)
    theirs = nn.EmbeddingBag.from_pretrained(
        whole(quantized), freeze=False, mode=mode, padding_idx=padding_idx
    )
    out, expected = ours(IDS), theirs(IDS)
    torch.testing.assert_close(out, expected)
    grad = torch.randn(out.shape)
    out.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(ours.block.grad, theirs.weight.grad[TRAINED])


def test_weighted_bags_do_as_well(quantized):
    weights = torch.rand(IDS.shape)
    out = make(quantized, rt.EmbeddingBag, mode="sum")(IDS, per_sample_weights=weights)
    torch.testing.assert_close(out, (whole(quantized)[IDS] * weights[..., None]).sum(1))


def test_one_graph_when_it_is_compiled_and_autocast(quantized):
    module = make(quantized)
    compiled = torch.compile(lambda ids: module(ids) * 2, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(IDS), module(IDS) * 2)
    compiled(IDS).sum().backward()
    assert module.block.grad.sum(1).tolist() == [4 * D, 2 * D, 0, 2 * D]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(IDS), whole(quantized)[IDS])
        assert (module(IDS) @ torch.ones(D, 1)).dtype == torch.bfloat16


@pytest.mark.parametrize("columns", [None, [0, 4]])
def test_a_state_dict_brings_codes_scales_and_rows(quantized, weights, columns):
    one = make(quantized, columns=columns)
    with torch.no_grad():
        one.block.add_(1)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    kind = quantized.kind
    other = make(quantize(weights * 3, kind), columns=columns)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.weight, one.weight) and other.base.dtype == one.base.dtype
    same = make(quantized, columns=columns)
    base = same.base
    same.load_state_dict(one.state_dict())
    assert same.base is base and torch.equal(same.weight, one.weight)
    wide = rt.Embedding.from_pretrained(torch.zeros(N, D), train=[3], columns=columns)
    wide.load_state_dict(one.state_dict())
    assert torch.equal(wide.weight, one.weight)
    one.save_base = False
    fits = make(quantized, columns=columns)
    fits.load_state_dict(one.state_dict())
    assert torch.equal(fits.weight, one.weight)
    with pytest.raises(RuntimeError, match="another base"):
        make(quantize(weights * 3, kind), columns=columns).load_state_dict(one.state_dict())


def test_codes_cannot_take_what_was_trained_or_floats(weights):
    one, quantized = make(quantize(weights)), quantize(weights)
    fewer = make(quantized, train=[3])
    before = digest(quantized), fewer.block.detach().clone()
    with pytest.raises(RuntimeError, match="int8 codes cannot hold"):
        fewer.load_state_dict(one.state_dict())
    with pytest.raises(RuntimeError, match="of floats in the checkpoint"):
        fewer.load_state_dict(
            rt.Embedding.from_pretrained(torch.from_numpy(weights), train=[3]).state_dict()
        )
    assert (digest(quantized), fewer.block.tolist()) == (before[0], before[1].tolist())
    more = make(quantized, train=[*TRAINED, 0])
    more.load_state_dict(one.state_dict())
    assert torch.equal(more.weight, one.weight)


def test_codes_cannot_take_columns_that_are_frozen_here(weights):
    one = make(quantize(weights), columns=[0, 2])
    fewer = make(quantize(weights), columns=[0])
    with pytest.raises(RuntimeError, match="columns that are frozen in this module"):
        fewer.load_state_dict(one.state_dict())
    more = make(quantize(weights), columns=[0, 2, 3])
    more.load_state_dict(one.state_dict())
    assert torch.equal(more.weight, one.weight)


def test_columns_that_are_frozen_here_are_not_rounded(weights):
    one = make(quantize(weights, "float16"))
    with torch.no_grad():
        one.block.add_(1e-6)
    fewer = make(quantize(weights, "float16"), columns=[0])
    fewer.load_state_dict(one.state_dict())
    assert torch.equal(fewer.weight, one.weight)


def test_frozen_columns_of_rows_that_were_added_are_loaded(quantized):
    one, other = make(quantized, columns=[0, 4]), make(quantized, columns=[0, 4])
    one.grow(2)
    other.grow(2, init="zeros")
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.weight, one.weight)


def test_rows_that_torch_cannot_read_are_refused_with_a_cure(weights):
    codes = quantize(weights)
    between = np.zeros(N, [("mark", "i1"), ("row", "f4", (D,))])["row"]
    for table in (weights[::-1], Quantized(codes.codes[::-1], codes.scales), between):
        with pytest.raises(ShapeError, match=r"numpy.ascontiguousarray\(weights\)"):
            make(table)


def test_padded_bags_of_halves_under_autocast(weights):
    table = weights.astype(np.float16)
    module = make(table, rt.EmbeddingBag, padding_idx=0)
    expected = module(IDS)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(IDS), expected)


def test_patches_go_between_table_and_module(quantized, weights, tmp_path):
    module = make(quantized)
    with torch.no_grad():
        module.block.add_(1)
    rt.save_patch(module, tmp_path / "p")
    table = Table(quantized, train=TRAINED)
    table.load_patch(tmp_path / "p")
    assert (table.weights == module.weight.detach().numpy()).all()
    assert (rowtune.apply_patch(quantized, tmp_path / "p") == table.weights).all()
    with pytest.raises(PatchError, match="another base"):
        rt.load_patch(make(quantize(-weights, quantized.kind)), tmp_path / "p")


@pytest.mark.parametrize("columns", [None, [0, 4]])
def test_growth_and_first_rows(quantized, columns):
    torch.manual_seed(0)
    module = make(quantized, init="mean", columns=columns)
    known = np.setdiff1d(np.arange(N), TRAINED)
    mean = whole(quantized)[known].mean(0)
    near = module(torch.tensor(TRAINED)).detach() - mean
    chosen = slice(None) if columns is None else columns
    assert 0 < near[:, chosen].abs().max() < 0.1
    new = module.grow(3, init="mean")
    assert module(new).shape == (3, D) and module(new).dtype == torch.float32
    assert torch.equal(module(torch.tensor(known)), whole(quantized)[known])


def test_copies_and_devices(quantized):
    module = make(quantized)
    twin = copy.deepcopy(module)
    assert twin._base is module._base and twin._scales is module._scales
    gone = copy.deepcopy(module).to("meta")
    assert gone.base.is_meta and gone.base.dtype == module.base.dtype
    assert (gone.base_scales is None) == (module.base_scales is None)
    back = gone.to_empty(device="cpu")
    back.load_state_dict(module.state_dict())
    assert torch.equal(back.weight, module.weight)
    module.half()
    assert module.base.dtype == twin.base.dtype and module.block.dtype == torch.float16


def test_a_padding_row_of_codes(weights):
    quantized = quantize(weights)
    module = make(quantized, train="all", padding_idx=5)
    assert torch.equal(module.weight, whole(quantized)) and module.base.dtype == torch.float32
    assert torch.equal(module(torch.arange(N)), whole(quantized))


@pytest.mark.parametrize("ending", ["npy", "safetensors"])
def test_of_a_large_file_a_checkpoint_holds_the_fingerprint(ending, weights, tmp_path, monkeypatch):
    path, table = tmp_path / f"t.{ending}", weights if ending == "npy" else quantize(weights)
    rowtune.save_table(path, table)
    assert make(rowtune.open_table(path)).save_base
    monkeypatch.setattr("rowtune.tables.mapped_pages.LARGE_FILE", 100)
    one, other = make(rowtune.open_table(path)), make(rowtune.open_table(path))
    with torch.no_grad():
        one.block.add_(1)
    state = one.state_dict()
    assert set(state) == {"block", "row_ids", "base_fingerprint"}
    other.load_state_dict(state)
    assert torch.equal(other.weight, one.weight)
    monkeypatch.setattr("rowtune.torch.base.array_fingerprint", lambda _: pytest.fail("again"))
    assert one.state_dict().keys() == state.keys(), "the file is read once"
    with pytest.raises(FormatError, match="open_table"):
        torch.save(one, io.BytesIO())
    assert copy.deepcopy(one)._base is one._base
    assert make(table).save_base, "what is in memory is saved whole"
    one.save_base = True
    assert type(one.state_dict()["base"]) is type(one.base)
