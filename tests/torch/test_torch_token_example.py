"""The example on new tokens does what it says of itself, with the models that packages ship."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # as `python examples/new_tokens_minilm.py` has it

import new_tokens_data  # noqa: E402
import new_tokens_minilm  # noqa: E402
import new_tokens_models  # noqa: E402
import new_tokens_task  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

# Enough for two words, and quickly read: in the example the whole of Python's documentation.
TEXTS = [
    f"{start} the {word} {rest}"
    for word in ("coroutine", "asyncio")
    for start in ("Return", "This closes", "You may call", "Nothing but", "Wait for")
    for rest in ("object.", "when it is done.", "of another thread.", "(see below), or raise.")
] + [f"A {thing} has no new word in it." for thing in ("file", "turtle", "server", "list")]


@pytest.fixture(scope="module")
def tasks():
    made = {}

    def task(name):
        if name not in made:
            kind = new_tokens_minilm.KINDS[name]
            made[name] = new_tokens_task.Task(kind, TEXTS, most=2, least=10)
        return made[name]

    return task


@pytest.fixture(params=new_tokens_minilm.KINDS)
def task(request, tasks):
    return tasks(request.param)


def test_the_command_prints_its_table_and_writes_the_rows(tmp_path):
    command = [sys.executable, str(EXAMPLES / "new_tokens_minilm.py"), "--model", "wordllama"]
    command += ["--seeds", "1", "--words", "5", "--epochs", "5", "--keep", "50"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    cosines = {}
    for method in new_tokens_minilm.METHODS:
        (row,) = re.findall(rf"^ *{re.escape(method)} +(0\.\d+) ", done.stdout, re.M)
        cosines[method] = float(row)
    assert cosines["learned, from subwords"] > cosines["subwords"] + 0.01
    (highest,) = re.findall(r"^Highest cosine: (.*)\. learned", done.stdout, re.M)
    assert cosines[highest] == max(cosines.values())
    size = (tmp_path / "wordllama.safetensors").stat().st_size
    assert 5 * 256 * 4 < size < 2 * 5 * 256 * 4
    assert f"has {size:,} bytes" in done.stdout


def test_learned_rows_beat_the_subwords_on_sentences_not_learned_from(task, tmp_path):
    assert sorted(task.words) == ["asyncio", "coroutine"]
    assert len(task.changed) == 40
    training, test = new_tokens_data.split(40, seed=0)
    student, handle = task.student("subwords", seed=0)
    ids = [task.after[i] for i in test]
    before = task.score(student.embed(ids), test)
    losses = list(new_tokens_task.learn(task, student, handle, training, 6, 1e-2))
    after = task.score(student.embed(ids), test)
    assert losses[-1] < losses[0]
    assert 1 - after.cosine < 0.9 * (1 - before.cosine)
    new_tokens_task.assert_rest_is_as_shipped(task, student)
    assert new_tokens_task.assert_keeps(task, student, 100) == 4
    handle.save(tmp_path / "rows.safetensors")
    new_tokens_task.assert_comes_back(task, student, tmp_path / "rows.safetensors", test)
    with torch.no_grad():
        handle.rows[0, 0] += 1e-3
    with pytest.raises(AssertionError, match="not those that were saved"):
        new_tokens_task.assert_comes_back(task, student, tmp_path / "rows.safetensors", test)


def test_a_frozen_row_that_changes_stops_the_run(task):
    student, handle = task.student("mean", seed=0)
    new_tokens_task.assert_rest_is_as_shipped(task, student)
    row = task.teacher.ids(["A file"])[0][1]  # of a sentence without a new word
    base = handle.blocks()["embedding"]._base
    base[row, 0] = torch.nextafter(base[row, 0], torch.tensor(1e9))
    with pytest.raises(AssertionError, match="has changed"):
        new_tokens_task.assert_rest_is_as_shipped(task, student)
    base[row] *= 1.5
    with pytest.raises(AssertionError, match="has another embedding"):
        new_tokens_task.assert_keeps(task, student, 100)


def test_a_tokenizer_that_cuts_old_words_otherwise_stops_the_run(tasks):
    task = tasks("minilm")
    student, _ = task.student("mean", seed=0)
    student.tokenizer.add_tokens(["new word"])
    with pytest.raises(AssertionError, match="cut otherwise"):
        new_tokens_task.assert_keeps(task, student, 100)


def test_new_tokens_of_the_transformer_are_whole_words():
    plain, encoder = new_tokens_models.MiniLM(), new_tokens_models.MiniLM()
    encoder.tokenizer.add_tokens([encoder.token("asyncio")])
    longer, whole = encoder.ids(["asyncios unasyncio"]), encoder.ids(["(Asyncio)"])
    assert longer == plain.ids(["asyncios unasyncio"])
    assert len(whole[0]) == len(plain.ids(["(Asyncio)"])[0]) - 2


def test_the_sum_of_subwords_is_the_tables_own_answer(tasks):
    """In a mean of rows, one row with the pieces' sum is the same direction."""
    task = tasks("wordllama")
    student, _ = task.student(new_tokens_task.SUM, seed=0)
    everything = np.arange(len(task.changed))
    assert task.score(student.embed(task.after), everything).low > 0.9999
    mean, _ = task.student("subwords", seed=0)
    assert task.score(mean.embed(task.after), everything).cosine < 0.99


def test_the_score_leaves_the_sentence_itself_out(tasks):
    task = tasks("wordllama")
    everything = np.arange(len(task.changed))
    near = task.nearest(task.wanted, everything)
    assert not (near == torch.from_numpy(everything)).any()
    assert task.score(task.wanted, everything).same_nearest == 1
    assert task.score(-task.wanted, everything).same_nearest < 0.5


def test_words_and_sentences_are_chosen_by_the_rule(tasks):
    class Letters:
        def __call__(self, text, add_special_tokens):
            return {"input_ids": [ord(letter) for letter in text if letter in "aeiou"]}

    texts = ["the iterator and self.iterator"] * 2 + ["Iterator, vane_e vane"] * 3 + ["iguana"]
    words = new_tokens_data.shattered_words(texts, Letters(), at_least=2, at_most=9)
    assert list(words) == ["iterator"]  # "vane" has two, "iguana" one sentence
    assert new_tokens_data.is_whole_word_in(["vane"], "(Vane)")
    assert not new_tokens_data.is_whole_word_in(["vane"], "vanes")
    training, test = new_tokens_data.split(10, seed=3)
    assert sorted([*training, *test]) == list(range(10))
    assert len(training) == 7


def test_sentences_that_begin_alike_are_one(monkeypatch):
    document = "One two three four five six. Seven is here, and so are you!\n\nOne two\n  three four five six, but more of it. Short."  # fmt: skip  # noqa: E501

    class Documents:
        def __init__(self, sources):
            pass

        def documents(self):
            return [[document[:20], document[20:]]]

    monkeypatch.setattr(new_tokens_data, "Corpus", Documents)
    assert new_tokens_data.sentences() == [
        "One two three four five six.",
        "Seven is here, and so are you!",
    ]
