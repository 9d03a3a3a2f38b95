"""Token rows in files: of ours, and of PEFT's TrainableTokens."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch

import rowtune.torch as rt
from rowtune.errors import PatchError
from rowtune.patch_file import read_patches
from token_models import MODELS, ROWS, D, N, Words, logits, made, move, near

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own modules
    import peft

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(params=MODELS)
def model(request):
    return made(request.param)


def test_a_file_of_rows(model, tmp_path):
    twin = copy.deepcopy(model)
    handle = rt.train_rows(model, rows=ROWS, head=True)
    move(handle)
    handle.save(tmp_path / "rows.safetensors")
    other = rt.train_rows(twin, rows=ROWS, head=True)
    other.load(tmp_path / "rows.safetensors")
    with torch.no_grad():
        assert torch.equal(logits(twin), logits(model))
    least = sum(rows.numel() * 4 for rows in handle.parameters())
    assert (tmp_path / "rows.safetensors").stat().st_size < least + 1_500

    third = rt.train_rows(other.remove(), rows=[5, 7, 41], head=True)
    with pytest.raises(PatchError, match="other tokens"):
        third.load(tmp_path / "rows.safetensors")
    with torch.no_grad():
        third.remove().get_input_embeddings().weight[0, 0] += 1
    with pytest.raises(PatchError, match="another base"):
        rt.train_rows(twin, rows=ROWS, head=True).load(tmp_path / "rows.safetensors")


# PEFT says so of every tied model.
_TIED = pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True")


@_TIED
@pytest.mark.parametrize("kind", ["llama, untied", "llama, tied", "gpt2, tied"])
def test_peft_reads_what_is_written_for_it(kind, tmp_path):
    model = MODELS[kind]().eval()
    plain = copy.deepcopy(model)
    handle = rt.train_rows(model, rows=ROWS, head=True)
    move(handle)
    handle.save_peft(tmp_path)
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path).eval()
    with torch.no_grad():
        assert near(logits(theirs), logits(model))


@_TIED
@pytest.mark.parametrize("tied", [True, False])
def test_what_peft_writes_is_read(tied, tmp_path):
    model = MODELS["llama, tied" if tied else "llama, untied"]().eval()
    plain = copy.deepcopy(model)
    names = ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    theirs = peft.get_peft_model(
        plain, peft.TrainableTokensConfig(token_indices=ROWS, target_modules=names)
    ).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "trainable_tokens_delta" in name:
                parameter.normal_()
        expected = logits(theirs)
    theirs.save_pretrained(tmp_path)
    handle = rt.train_rows(model, rows=ROWS, head=True)
    handle.load_peft(tmp_path)
    with torch.no_grad():
        assert near(logits(model), expected)

    other = rt.train_rows(handle.remove(), rows=[1, 2, 3], head=True)
    before = other.rows.detach().clone()
    with pytest.raises(PatchError, match="other ids"):
        other.load_peft(tmp_path)
    assert torch.equal(other.rows, before)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(PatchError, match="LORA"):
        handle.load_peft(tmp_path)


@pytest.mark.parametrize("how", ["in place", "loaded"])
def test_a_base_that_changed_is_hashed_again(how, tmp_path):
    """Nobody should, and a state dict may."""
    model = made("llama, tied")
    handle = rt.train_rows(model, rows=ROWS)
    handle.save(tmp_path / "first.safetensors")
    handle.save(tmp_path / "again.safetensors")
    if how == "in place":
        model.get_input_embeddings()._base[0, 0] += 1
    else:
        other = made("llama, tied").state_dict()
        other["model.embed_tokens.weight"][0, 0] += 1
        model.load_state_dict(other)
    handle.save(tmp_path / "second.safetensors")
    found = [
        read_patches(tmp_path / f"{name}.safetensors")["embedding"]
        for name in ("first", "again", "second")
    ]
    assert found[0].fingerprint == found[1].fingerprint != found[2].fingerprint
    assert found[0].frozen == found[1].frozen != found[2].frozen
    with pytest.raises(PatchError, match="another base"):
        handle.load(tmp_path / "first.safetensors")
    handle.load(tmp_path / "second.safetensors")


@pytest.mark.parametrize("kind", ["llama, untied", "llama, tied"])
def test_files_of_rows_in_a_model_that_never_had_them(kind, tmp_path):
    torch.manual_seed(1)
    plain = MODELS[kind]().eval()
    words = {f"w{i}": i for i in range(N)}

    def trained(model, tokens, name):
        handle = rt.train_rows(model, tokens=tokens, tokenizer=Words(words), head=True)
        move(handle)
        handle.save(tmp_path / name)
        return handle

    model = copy.deepcopy(plain)
    handle = trained(model, ["new", "w7"], "rows.safetensors")
    fresh, tokenizer = copy.deepcopy(plain), Words(words)
    loaded = rt.load_rows(fresh, tmp_path / "rows.safetensors", tokenizer=tokenizer)
    assert loaded.tokens == ["w7", "new"] and tokenizer.ids["new"] == N
    with torch.no_grad():
        assert torch.equal(logits(fresh), logits(model))

    apart = [copy.deepcopy(plain), copy.deepcopy(plain)]
    one = trained(apart[0], ["w3"], "one.safetensors")
    two = trained(apart[1], ["w9", "w4"], "two.safetensors")
    both = rt.load_rows(copy.deepcopy(plain), tmp_path / "one.safetensors",
                        tmp_path / "two.safetensors")  # fmt: skip
    assert both.ids.tolist() == [3, 4, 9] and both.tokens == ["w3", "w4", "w9"]
    assert torch.equal(both.rows, torch.cat([one.rows, two.rows]))
    with pytest.raises(PatchError, match="both hold row 3"):
        rt.load_rows(copy.deepcopy(plain), *[tmp_path / "one.safetensors"] * 2)
    other = copy.deepcopy(plain)
    with torch.no_grad():
        other.get_input_embeddings().weight[0] += 1
    with pytest.raises(PatchError, match="another base"):
        rt.load_rows(other, tmp_path / "one.safetensors")
    assert type(other.get_input_embeddings()) is torch.nn.Embedding, "as it was"
    with pytest.raises(PatchError, match="id 50"):
        rt.load_rows(copy.deepcopy(plain), tmp_path / "one.safetensors",
                     tokenizer=Words({f"v{i}": i for i in range(N)}))  # fmt: skip
    assert handle.rows.shape == (2, D)
