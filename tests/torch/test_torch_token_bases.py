"""Tables as models have them: half precision, mapped, packed, hooked, padded, with NaN in a row."""

from __future__ import annotations

import copy
import hashlib

import numpy as np
import pytest
import torch
from torch import nn

import rowtune.torch as rt
from rowtune.errors import ShapeError
from token_models import MODELS, ROWS, D, N, batch, logits, made, move, near

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(params=MODELS)
def model(request):
    return made(request.param)


def trained(model, handle, steps=3, lr=1e-4):
    optimizer = rt.optim.AdamW(handle.parameters(), lr=lr, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch(model)).logits.float().square().mean().backward()
        optimizer.step()


def test_rows_of_a_half_precision_model_learn_in_full_precision(model, tmp_path):
    model = model.to(torch.bfloat16)
    plain = copy.deepcopy(model)
    with torch.no_grad():
        expected = logits(model)
    handle = rt.train_rows(model, rows=ROWS, head=True, dtype=torch.float32)
    assert all(rows.dtype == torch.float32 for rows in handle.parameters())
    with torch.no_grad():
        assert torch.equal(logits(model), expected), "untrained, it is the model"
    before = handle.rows.detach().clone()
    trained(model, handle, lr=1e-6)
    assert handle.rows.grad.dtype == torch.float32
    assert bool((handle.rows != before).any()), "steps that half precision would round away"
    assert float((handle.rows.to(torch.bfloat16) == before).float().mean()) > 0.9

    move(handle)
    with torch.no_grad():
        ours = logits(model)
        assert ours.dtype == torch.bfloat16
        rows = model.get_input_embeddings()(torch.arange(N))
        merged = handle.merge()
        assert torch.equal(merged.get_input_embeddings()(torch.arange(N)), rows)
        assert float((logits(merged) - ours).abs().max() / ours.abs().max()) < 0.02
        handle.unmerge()
        handle.save(tmp_path / "rows.safetensors")
        loaded = rt.load_rows(plain, tmp_path / "rows.safetensors")
        assert loaded.rows.dtype == torch.float32 and torch.equal(loaded.rows, handle.rows)
        assert torch.equal(logits(plain), ours)


def test_a_file_in_half_precision_is_read_by_its_bits(tmp_path):
    half = made("llama, tied").to(torch.bfloat16)
    plain = copy.deepcopy(half).float()
    handle = rt.train_rows(half, rows=ROWS)
    move(handle)
    handle.save(tmp_path / "rows.safetensors")
    wide = rt.load_rows(plain, tmp_path / "rows.safetensors", force=True)
    assert torch.equal(wide.rows, handle.rows.float())


@pytest.mark.parametrize("head", [True, False])
def test_a_model_that_changes_its_dtype_reads_and_gives_back_that(model, head):
    plain = copy.deepcopy(model).to(torch.bfloat16)
    handle = rt.train_rows(model, rows=ROWS, head=head)
    model.to(torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(logits(model), logits(plain))
        move(handle)
        ours, rows = logits(model), model.get_input_embeddings()(torch.arange(N))
        merged = handle.merge()
        assert torch.equal(merged.get_input_embeddings()(torch.arange(N)), rows)
        assert logits(merged).dtype == ours.dtype == torch.bfloat16
        handle.remove()
        assert torch.equal(logits(model), logits(plain))


def test_a_memory_mapped_table_is_read_where_it_is_and_never_written(tmp_path):
    model = made("llama, tied")
    file = tmp_path / "table.bin"
    file.write_bytes(model.get_input_embeddings().weight.detach().numpy().tobytes())
    file.chmod(0o400)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    table = torch.from_file(str(file), shared=False, size=N * D).view(N, D)
    model.get_input_embeddings().weight = nn.Parameter(table, requires_grad=False)
    model.tie_weights()
    handle = rt.train_rows(model, rows=ROWS)
    assert model.get_input_embeddings().base.data_ptr() == table.data_ptr()
    assert model.lm_head.base.data_ptr() == table.data_ptr()
    trained(model, handle, lr=0.1)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    assert hashlib.sha256(table.numpy().tobytes()).hexdigest() == digest
    assert bool((handle.rows != table[handle.ids]).any(1).all())


def test_a_packed_weight_is_refused():
    class Packed(nn.Linear):  # as libraries that quantize have them
        def __init__(self):
            super().__init__(D, N, bias=False)
            self.weight = nn.Parameter(torch.zeros(N * D // 2, 1, dtype=torch.uint8), False)

    model = made("llama, untied")
    model.lm_head = Packed()
    with pytest.raises(ShapeError, match=r"Packed keeps its weight as torch.uint8"):
        rt.train_rows(model, rows=ROWS, head=True)
    assert type(model.get_input_embeddings()) is nn.Embedding
    assert rt.train_rows(model, rows=ROWS, head=False).head_rows is None

    class Scaled(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    other = made("llama, untied")
    other.lm_head = Scaled(D, N, bias=False)
    with pytest.raises(ShapeError, match="more than multiply"):
        rt.train_rows(other, rows=ROWS, head=True)

    third = made("llama, untied")
    third.model.embed_tokens.forward = lambda ids: torch.zeros(*ids.shape, D)
    with pytest.raises(ShapeError, match="more than look rows up"):
        rt.train_rows(third, rows=ROWS)


def test_hooks_that_others_hang_on_the_modules_go_on(model):
    seen = []
    table = model.get_input_embeddings().weight
    readers = [m for m in model.modules() if isinstance(m, nn.Embedding) and m.weight is table]
    hung = [m.register_forward_hook(lambda *_: seen.append("table")) for m in readers]
    model.get_output_embeddings().register_forward_pre_hook(
        lambda *_, **__: seen.append("head"), with_kwargs=True
    )
    handle = rt.train_rows(model, rows=ROWS, head=True)
    logits(model)
    assert {"table", "head"} == set(seen)
    for hook in hung:
        hook.remove()
    seen.clear()
    logits(model)
    assert set(seen) == {"head"}
    handle.merge()
    logits(model)
    assert seen == ["head", "head"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("broken", [True, False])
def test_the_heads_gradients_are_those_of_the_whole_product(bias, broken):
    """With NaN in a chosen row of the base too: it is replaced, so it must not be multiplied."""
    torch.manual_seed(0)
    table = nn.Embedding(N, D).double()
    model = nn.ModuleDict({"table": table, "head": nn.Linear(D, N, bias=bias).double()})
    model.head.weight = table.weight
    if broken:
        with torch.no_grad():
            table.weight[5] = float("nan")
    handle = rt.train_rows(model, rows=[5, 40], module="table", freeze=False)
    with torch.no_grad():
        handle.rows.normal_()
    head, rows = model.head, handle.rows
    for shape in [(D,), (3, D), (2, 3, D), (0, D)]:
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        given = (x, rows, *([head.bias] if bias else []))
        whole = head.base.index_copy(0, head.ids, rows)
        expected = nn.functional.linear(x, whole, head.bias)
        up = torch.randn_like(expected)
        theirs = torch.autograd.grad(expected, given, up)
        out = head(x)
        torch.testing.assert_close(out, expected)
        for mine, its in zip(torch.autograd.grad(out, given, up), theirs, strict=True):
            torch.testing.assert_close(mine, its)
    assert torch.autograd.gradgradcheck(
        head, torch.randn(2, D, dtype=torch.float64, requires_grad=True)
    )


def test_autocast_multiplies_the_head_in_half_precision():
    model = made("llama, tied")
    handle = rt.train_rows(model, rows=ROWS)
    move(handle)
    plain = copy.deepcopy(handle.merge())
    handle.unmerge()
    plain.get_input_embeddings().weight.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = logits(model), logits(plain)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert float((ours - theirs).detach().abs().max() / theirs.detach().abs().max()) < 0.02
    for out in (ours, theirs):
        out.float().square().mean().backward()
    expected = plain.get_input_embeddings().weight.grad[handle.ids]
    assert handle.rows.grad.dtype == torch.float32
    assert float((handle.rows.grad - expected).norm() / expected.norm()) < 0.05


def test_removing_lets_everything_train_that_did(model):
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    bits = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert all(before.values())
    with rt.train_rows(model, rows=ROWS, head=True) as handle:
        move(handle)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    for name, p in model.named_parameters():
        assert np.array_equal(p.detach().numpy(), bits[name].numpy()), name


def test_parts_of_a_model_may_train_beside_the_rows():
    model = made("llama, untied")
    handle = rt.train_rows(model, rows=ROWS, freeze=False)
    optimizer = rt.optim.AdamW(model.parameters(), lr=0.1)
    base = model.get_input_embeddings().base.clone()
    logits(model).square().mean().backward()
    optimizer.step()
    untouched = torch.ones(N, dtype=torch.bool).index_fill_(0, handle.ids, False)
    merged = handle.merge().get_input_embeddings().weight
    assert torch.equal(merged[untouched], base[untouched])
    assert not near(merged[handle.ids], base[handle.ids])
