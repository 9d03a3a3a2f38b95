"""`rowtune tokens`: new tokens for a model in a folder, and files of their rows."""

from __future__ import annotations

import json
import os
import warnings

import pytest
import torch
from typer.testing import CliRunner

from rowtune.cli.app import app
from rowtune.errors import FormatError, PatchError

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of transformers' own modules
    import tokenizers
    import transformers as hf

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

LETTERS = {"[UNK]": 0, **{c: i + 1 for i, c in enumerate("abcdefgh")}}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    model = hf.LlamaForCausalLM(
        hf.LlamaConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, vocab_size=len(LETTERS), bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    letters = tokenizers.Tokenizer(tokenizers.models.WordLevel(LETTERS, unk_token="[UNK]"))
    letters.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    model.save_pretrained(tmp_path / "model")
    hf.PreTrainedTokenizerFast(tokenizer_object=letters, unk_token="[UNK]").save_pretrained(
        tmp_path / "model"
    )
    (tmp_path / "model" / "pooling").mkdir()
    (tmp_path / "model" / "pooling" / "config.json").write_text("{}")
    (tmp_path / "model" / "old.bin").write_bytes(b"a pickle, perhaps")
    return tmp_path / "model"


def run(*arguments):
    result = CliRunner().invoke(app, ["tokens", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def load(folder):
    return hf.LlamaForCausalLM.from_pretrained(folder, use_safetensors=True)


def test_added_shown_and_merged(folder, tmp_path):
    out, again = tmp_path / "out", tmp_path / "again"
    told = json.loads(run("add", folder, "cab", "abba", "-o", out, "--json", "-"))
    assert told == {"folder": str(out), "ids": [9, 10], "tokens": ["cab", "abba"]}
    old, new = load(folder), load(out)
    for before, after in zip(old.state_dict().items(), new.state_dict().items(), strict=True):
        assert before[0] == after[0]
        assert torch.equal(after[1][: len(before[1])], before[1]), before[0]
    table, heads = new.get_input_embeddings().weight, new.get_output_embeddings().weight
    assert table.shape == heads.shape == (11, 16)
    torch.testing.assert_close(table[9], table[[3, 1, 2]].mean(0))
    torch.testing.assert_close(heads[10], heads[[1, 2, 2, 1]].mean(0))
    tokenizer = hf.AutoTokenizer.from_pretrained(out)
    assert tokenizer("cab")["input_ids"] == [9]
    assert (out / "pooling" / "config.json").read_text() == "{}"
    assert not (out / "old.bin").exists()

    shown = json.loads(run("info", out / "rows.safetensors", "--json", "-"))["tables"]
    assert shown["embedding"]["tokens"] == ["cab", "abba"] and shown["head"]["ids"] == [9, 10]
    assert "cab" in run("info", out / "rows.safetensors")

    run("merge", folder, out / "rows.safetensors", "-o", again)
    weights = "model.safetensors"
    assert (again / weights).read_bytes() == (out / weights).read_bytes()
    assert hf.AutoTokenizer.from_pretrained(again)("abba")["input_ids"] == [10]


def test_what_they_refuse(folder, tmp_path):
    run("add", folder, "cab", "-o", tmp_path / "out")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(FormatError, match="there already"):
        run("add", folder, "abba", "-o", tmp_path / "out")
    with pytest.raises(FormatError, match="has the token 'a'"):
        run("add", folder, "a", "-o", tmp_path / "new")
    with pytest.raises(FormatError, match=r"config\.json"):
        run("add", tmp_path, "abba", "-o", tmp_path / "new")
    other = load(folder)
    with torch.no_grad():
        other.get_input_embeddings().weight[0] += 1
    other.save_pretrained(folder)
    with pytest.raises(PatchError, match="another base"):
        run("merge", folder, tmp_path / "out" / "rows.safetensors", "-o", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "nothing is left behind"
    forced = ("--force", "-o", tmp_path / "new")
    run("merge", folder, tmp_path / "out" / "rows.safetensors", *forced)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FormatError, match="cannot be read as a model"):
        run("add", folder, "abba", "-o", tmp_path / "third")
