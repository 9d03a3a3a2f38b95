"""What others got wrong when some tokens of a model train, one test for each.

The numbers are those of the threads in which people reported it: peft-3649 is issue or pull
request 3649 of PEFT.
"""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import rowtune.torch as rt
from rowtune.errors import PatchError
from token_models import ROWS, D, N, Words, batch, hf, logits, made, move, near

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own modules
    import peft

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
TABLE = N * D * 4


def trained(model, handle, steps=3):
    optimizer = torch.optim.AdamW(handle.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        logits(model).square().mean().backward()
        optimizer.step()


def test_peft_3649_a_heads_bias_is_kept():
    model = made("bert, tied with a bias")
    assert bool(model.get_output_embeddings().bias.any())
    with torch.no_grad():
        plain = logits(model)
        handle = rt.train_rows(model, rows=ROWS)
        assert near(logits(model), plain)
        move(handle)
        ours = logits(model)
        assert near(logits(handle.merge()), ours)


def test_peft_2399_a_tied_head_follows_the_embedding():
    model = made("gpt2, tied")
    with torch.no_grad():
        plain = logits(model)
        move(rt.train_rows(model, rows=ROWS))
        moved = (logits(model) - plain).abs().amax((0, 1)) > 1e-3
    assert bool(moved[ROWS].all())


def test_peft_2863_an_untied_head_trains_too():
    model = made("llama, untied")
    handle = rt.train_rows(model, rows=ROWS, head=True)
    before = handle.head_rows.detach().clone()
    trained(model, handle)
    assert bool((handle.head_rows != before).any(1).all())


def test_peft_2864_one_block_for_what_is_tied():
    model = made("llama, tied")
    handle = rt.train_rows(model, rows=ROWS, head=True)
    assert len(handle.parameters()) == 1
    assert model.get_input_embeddings().block is model.lm_head.block is handle.rows


def test_peft_2653_rows_beside_a_head_that_an_adapter_trains_wholly():
    model = made("llama, untied")
    handle = rt.train_rows(model, rows=ROWS, head=False)
    wrapped = peft.get_peft_model(
        model, peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"], r=2)
    )
    before = handle.rows.detach().clone()
    head = model.lm_head.modules_to_save["default"].weight
    first = head.detach().clone()
    optimizer = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], lr=0.1)
    logits(wrapped).square().mean().backward()
    optimizer.step()
    touched = torch.isin(handle.ids, batch(model)["input_ids"])
    assert bool((handle.rows != before).any(1)[touched].all())
    assert bool((head != first).any())


def test_peft_2898_a_file_is_small_after_tokens_were_added(tmp_path):
    model, tokenizer = made("llama, tied"), Words({f"w{i}": i for i in range(N)})
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], r=2))
    handle = rt.train_rows(wrapped, tokens=["new", "newer"], tokenizer=tokenizer)
    handle.save(tmp_path / "rows.safetensors")
    assert (tmp_path / "rows.safetensors").stat().st_size < 2 * D * 4 + 1_500
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT looks for a configuration in a folder of its own
        wrapped.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size < TABLE


@pytest.mark.parametrize("kind", ["llama, untied", "llama, tied"])
@pytest.mark.parametrize("multiple", [None, 64])
def test_peft_1457_resized_by_hand_then_loaded(kind, multiple, tmp_path):
    """Resizing draws its new rows at random; that makes no other base of it."""

    def resized(seed):
        model = made(kind)
        torch.manual_seed(seed)
        model.resize_token_embeddings(N + 2, pad_to_multiple_of=multiple, mean_resizing=False)
        return model.eval()

    model = resized(1)
    handle = rt.train_rows(model, rows=[N, N + 1], head=True)
    move(handle)
    handle.save(tmp_path / "rows.safetensors")
    other = resized(2)
    assert not torch.equal(
        other.get_input_embeddings().weight[N:], model.get_input_embeddings().base[N:]
    )
    if multiple is None:
        rt.load_rows(other, tmp_path / "rows.safetensors")
        with torch.no_grad():
            assert torch.equal(logits(other), logits(model))
    else:  # whose other new rows are not what they were
        with pytest.raises(PatchError, match="another base"):
            rt.load_rows(other, tmp_path / "rows.safetensors")


def test_peft_1932_a_table_that_was_made_larger_later_still_fits(tmp_path):
    model = made("llama, tied")
    handle = rt.train_rows(model, rows=ROWS)
    move(handle)
    handle.save(tmp_path / "rows.safetensors")
    later = made("llama, tied")
    later.resize_token_embeddings(N + 7)
    loaded = rt.load_rows(later, tmp_path / "rows.safetensors")
    assert torch.equal(loaded.rows, handle.rows)
    with torch.no_grad():
        loaded.remove()
        later.get_input_embeddings().weight[3, 0] += 1
    with pytest.raises(PatchError, match="another base"):
        rt.load_rows(later, tmp_path / "rows.safetensors")


def test_the_table_is_not_copied_in_a_forward_pass_and_has_no_gradient():
    """PEFT's TrainableTokens makes a whole table in every forward pass, and its gradient after."""
    model = torch.nn.Embedding(20_000, 64)
    holder = torch.nn.ModuleDict({"table": model})
    handle = rt.train_rows(holder, rows=range(100))
    ids = torch.randint(20_000, (1, 256))

    def step():
        holder.table(ids).sum().backward()

    step()  # compiles
    handle.rows.grad = None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    largest = max(event.cpu_memory_usage for event in seen.events())
    assert 0 < largest < 20_000 * 64 * 4 / 10
    assert handle.rows.grad.shape == (100, 64)
    assert [tuple(p.shape) for p in holder.parameters()] == [(100, 64)]


def test_merge_unmerge_and_merge_are_exact():
    model = made("llama, tied")
    plain = copy.deepcopy(model.state_dict())
    handle = rt.train_rows(model, rows=ROWS)
    trained(model, handle)
    rows = handle.rows.detach().clone()
    once = copy.deepcopy(handle.merge().state_dict())
    handle.unmerge()
    assert torch.equal(handle.rows, rows)
    twice = handle.merge().state_dict()
    assert all(torch.equal(twice[name], value) for name, value in once.items())
    back = handle.unmerge().remove().state_dict()
    assert all(torch.equal(back[name], value) for name, value in plain.items())


def test_rows_are_ids_where_a_vocabulary_is_padded():
    """Padded tables exist: the last rows are nobody's, and a new token is not among them."""
    model = made("llama, tied")
    tokenizer = Words({f"w{i}": i for i in range(N - 20)})
    base = model.get_input_embeddings().weight.detach().clone()
    handle = rt.train_rows(model, tokens=["new"], tokenizer=tokenizer)
    assert handle.ids.tolist() == [N - 20] and model.get_input_embeddings().num_embeddings == N
    trained(model, handle)
    table = handle.merge().get_input_embeddings().weight
    moved = (table != base).any(1).nonzero().flatten()
    assert moved.tolist() == [N - 20]


def test_diffusers_507_no_other_row_moves_with_weight_decay():
    model = made("llama, tied")
    before = copy.deepcopy(model.state_dict())
    handle = rt.train_rows(model, rows=ROWS)
    trained(model, handle)
    after = handle.merge().state_dict()
    frozen = torch.ones(N, dtype=torch.bool).index_fill_(0, handle.ids, False)
    for name, value in before.items():
        same = frozen if value.shape == (N, D) else ...
        assert torch.equal(after[name][same], value[same]), name
    assert bool((after["lm_head.weight"] != before["lm_head.weight"])[handle.ids].any(1).all())


def test_transformers_26861_an_optimizer_goes_on_when_tokens_are_added():
    model, tokenizer = made("llama, tied"), Words({f"w{i}": i for i in range(N)})
    handle = rt.train_rows(model, rows=ROWS)
    optimizer = rt.optim.AdamW(handle.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        logits(model).square().mean().backward()
        optimizer.step()

    step()
    known = {key: value[:3].clone() for key, value in optimizer.state[handle.rows].items()}
    handle.grow(["new"], tokenizer)
    for key, value in optimizer.state[handle.rows].items():
        assert torch.equal(value[:3], known[key]), key
    step()
    assert handle.rows.shape == (4, D)


def test_a_tied_head_is_tied_after_saving_and_loading(tmp_path):
    model = made("llama, tied")
    handle = rt.train_rows(model, rows=ROWS)
    trained(model, handle)
    model.save_pretrained(tmp_path)
    loaded = hf.LlamaForCausalLM.from_pretrained(tmp_path).eval()
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    with torch.no_grad():
        assert near(logits(loaded), logits(model.eval()))
