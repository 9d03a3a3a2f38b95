"""More tokens for a model whose rows train already."""

from __future__ import annotations

import copy

import pytest
import torch

import rowtune.torch as rt
from rowtune.errors import FrozenRowError, IdError, ShapeError
from token_models import MODELS, D, N, Words, batch, hf, logits, made, move

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def words():
    return Words({f"w{i}": i for i in range(N)})


def step(model, optimizer, ids=None):
    optimizer.zero_grad()
    model(**batch(model, ids)).logits.square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", MODELS)
def test_it_trains_on_and_reads_as_if_all_had_been_chosen_at_once(kind):
    ids = torch.tensor([[5, 9, N, 40], [12, 7, 7, 3]])
    grown, whole = made(kind), made(kind)
    tokenizer = words()
    first = torch.arange(2 * D).reshape(2, D) / D
    handle = rt.train_rows(
        grown, tokens=["w7", "new"], tokenizer=tokenizer, head=True, init=first / 3
    )
    optimizer = rt.optim.AdamW(handle.parameters(), lr=0.1)
    step(grown, optimizer, ids)
    mine = [rows.detach().clone() for rows in handle.parameters()]
    parameters = [id(rows) for rows in handle.parameters()]
    assert handle.grow(["newer", "newest"], tokenizer, init=first).tolist() == [N + 1, N + 2]
    assert [id(rows) for rows in handle.parameters()] == parameters
    assert handle.ids.tolist() == [7, N, N + 1, N + 2]
    assert handle.tokens == ["w7", "new", "newer", "newest"]
    for rows, before in zip(handle.parameters(), mine, strict=True):
        assert torch.equal(rows[:2], before)
    assert torch.equal(handle.rows[2:].detach(), first)
    step(grown, optimizer, torch.tensor([[5, N + 1, N, 40], [12, 7, N + 2, 3]]))
    assert bool((handle.rows[2:] != first).any())

    # Another model, in which all these rows were chosen at once, and put where the first's are now.
    twin = rt.train_rows(whole, tokens=handle.tokens, tokenizer=words(), head=True)
    with torch.no_grad():
        for rows, there in zip(twin.parameters(), handle.parameters(), strict=True):
            rows.copy_(there)
        assert torch.equal(
            grown(**batch(grown, ids + 1)).logits, whole(**batch(whole, ids + 1)).logits
        )
    assert [n for n, p in grown.named_parameters() if p.requires_grad] == [
        n for n, p in whole.named_parameters() if p.requires_grad
    ]


def test_an_optimizer_keeps_what_it_knows():
    model, tokenizer = made("llama, untied"), words()
    handle = rt.train_rows(model, rows=[5, 7])
    optimizer = rt.optim.Adam(handle.parameters(), lr=0.1)
    for _ in range(3):
        step(model, optimizer)
    known = {key: value.clone() for key, value in optimizer.state[handle.rows].items()}
    handle.grow(["new"], tokenizer)
    step(model, optimizer, torch.tensor([[1, N]]))
    after = optimizer.state[handle.rows]
    for key, value in known.items():
        assert torch.equal(after[key][:2], value[:2]), key
        assert len(after[key]) == 3
    assert all(bool(value[2].any()) for value in after.values())


def test_pieces_may_be_tokens_that_have_been_trained():
    model, tokenizer = made("llama, untied"), words()
    handle = rt.train_rows(model, rows=[3, 4], head=True)
    move(handle)
    handle.grow({"both": "w3 w4"}, tokenizer, init="description")
    for rows in handle.parameters():
        torch.testing.assert_close(rows[2].detach(), rows[:2].detach().mean(0))
    assert handle.tokens is None


def test_a_padded_table_keeps_its_size_and_its_base():
    model = made("llama, tied")
    base = model.get_input_embeddings().weight.detach()
    tokenizer = Words({f"w{i}": i for i in range(N - 10)})
    handle = rt.train_rows(model, tokens=["new"], tokenizer=tokenizer)
    handle.grow(["newer"], tokenizer)
    assert handle.ids.tolist() == [N - 10, N - 9]
    assert model.get_input_embeddings().base.data_ptr() == base.data_ptr()
    assert logits(model).shape[-1] == N


def test_what_is_disabled_stays_so():
    model, tokenizer = made("llama, tied"), words()
    handle = rt.train_rows(model, rows=[5])
    move(handle)
    with torch.no_grad(), handle.disabled():
        plain = logits(model)
        handle.grow(["new"], tokenizer)
        assert torch.equal(logits(model)[..., :N], plain)
    with torch.no_grad():
        assert not torch.equal(logits(model)[..., :N], plain)


def test_what_has_grown_is_saved_merged_and_removed(tmp_path):
    plain = made("llama, untied")
    model, tokenizer = copy.deepcopy(plain), words()
    handle = rt.train_rows(model, tokens=["new"], tokenizer=tokenizer)
    handle.grow(["newer"], tokenizer)
    move(handle)
    handle.save(tmp_path / "rows.safetensors")
    fresh = copy.deepcopy(plain)
    rt.load_rows(fresh, tmp_path / "rows.safetensors", tokenizer=words())
    with torch.no_grad():
        assert torch.equal(logits(fresh), logits(model))
    handle.merge().save_pretrained(tmp_path / "model")
    loaded = hf.LlamaForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert loaded.config.vocab_size == N + 2
    with torch.no_grad():
        torch.testing.assert_close(logits(loaded), logits(fresh))
    handle.unmerge()
    table = handle.remove().get_input_embeddings().weight
    assert torch.equal(table[:N], plain.get_input_embeddings().weight)
    assert not table[N:].any() and table.requires_grad


def test_what_it_refuses_leaves_everything_as_it_was():
    model, tokenizer = made("llama, tied"), words()
    handle = rt.train_rows(model, tokens=["w7", "new"], tokenizer=tokenizer)
    move(handle)
    with torch.no_grad():
        before = logits(model)

    def same():
        with torch.no_grad():
            assert torch.equal(logits(model), before)
        assert handle.ids.tolist() == [7, N] and handle.rows.shape == (2, D)

    with pytest.raises(IdError, match="'w9' has id 9; grow takes ids behind 50"):
        handle.grow(["w9"], tokenizer)
    same()
    with pytest.raises(ShapeError, match="tokenizer"):
        handle.grow(["newer"], None)
    with pytest.raises(FrozenRowError, match=r"handle\.grow"):
        model.resize_token_embeddings(60)
    with pytest.raises(FrozenRowError, match=r"handle\.grow"):
        model.get_input_embeddings().grow(1)
    waiting = logits(model).sum()
    with pytest.raises(RuntimeError, match="backward"):
        handle.grow(["newer"], tokenizer)
    assert handle.ids.tolist() == [7, N] and handle.rows.shape == (2, D)
    waiting.backward()
    del waiting
    handle.merge()
    with pytest.raises(FrozenRowError, match="unmerge"):
        handle.grow(["newer"], tokenizer)
    handle.unmerge()
    assert handle.grow(["newer"], tokenizer).tolist() == [N + 1]
    nothing = handle.grow([], tokenizer)
    assert len(nothing) == 0 and handle.ids.tolist() == [7, N, N + 1]
