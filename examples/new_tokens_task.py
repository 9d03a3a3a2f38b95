"""A model before and after it gets new tokens: its sentences, training, what must not move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import new_tokens_data as data
import numpy as np
import torch
from new_tokens_models import BATCH, Encoder
from torch import Tensor

import rowtune.torch as rt

SUM = "sum"


class Score(NamedTuple):
    """Of the test sentences of one split: all of them means but ``low``, a quantile."""

    cosine: float
    low: float
    same_nearest: float


class Task:
    """The sentences as a model reads them before and after it gets new tokens.

    Attributes
    ----------
    words : dict from word to the ids of its pieces
    changed : texts with a new token; ``before`` and ``after`` are their ids
    wanted : (sentences, D), the teacher's embeddings of them
    kept : texts without one
    """

    def __init__(self, kind: type[Encoder], texts: Sequence[str], most: int, least: int) -> None:
        self.kind, self.teacher = kind, kind()
        self.words = data.shattered_words(texts, self.teacher.tokenizer, least, most)
        student, handle = self.student("mean", seed=0)
        new = set(handle.ids.tolist())
        ids = student.ids(texts)
        has_new = [not new.isdisjoint(sentence) for sentence in ids]
        self.changed = [t for t, new in zip(texts, has_new, strict=True) if new]
        self.kept = [t for t, new in zip(texts, has_new, strict=True) if not new]
        self.after = [i for i, new in zip(ids, has_new, strict=True) if new]
        self.before = self.teacher.ids(self.changed)
        self.wanted = self.teacher.embed(self.before)

    def student(self, init: str, seed: int) -> tuple[Encoder, rt.Handle]:
        """The model as the package ships it, with new tokens whose rows begin so."""
        torch.manual_seed(seed)
        encoder = self.kind()
        handle = rt.train_rows(
            encoder.model,
            tokens=[encoder.token(word) for word in self.words],
            tokenizer=encoder.tokenizer,
            init=self.sums() if init == SUM else init,
        )
        return encoder, handle

    def sums(self) -> Tensor:
        """The sum of the rows of each word's pieces, (words, D)."""
        table = next(self.teacher.model.parameters()).detach()
        return torch.stack([table[pieces].sum(0) for pieces in self.words.values()])

    def score(self, embeddings: Tensor, test: np.ndarray) -> Score:
        cosines = (embeddings * self.wanted[test]).sum(-1)
        return Score(
            float(cosines.mean()),
            float(cosines.quantile(0.05)),
            float((self.nearest(embeddings, test) == self.nearest(self.wanted[test], test))
                  .float().mean()),
        )  # fmt: skip

    def nearest(self, queries: Tensor, test: np.ndarray) -> Tensor:
        """Which of all sentences the teacher puts nearest to each query, but for itself."""
        near = queries @ self.wanted.T
        near[torch.arange(len(test)), torch.from_numpy(test)] = -torch.inf
        return near.argmax(1)


def learn(
    task: Task, encoder: Encoder, handle: rt.Handle, training: np.ndarray, epochs: int, lr: float
) -> Iterator[float]:
    """Train the rows of the new tokens, and no other; yields the mean loss after each epoch."""
    optimizer = rt.optim.Adam(handle.parameters(), lr=lr)
    # Sentences of one length share a batch, so little is padded; the batches come in random order.
    shuffled = training[torch.randperm(len(training)).numpy()]
    by_length = sorted(shuffled.tolist(), key=lambda i: len(task.after[i]))
    batches = [by_length[start : start + BATCH] for start in range(0, len(by_length), BATCH)]
    for _ in range(epochs):
        losses = []
        for i in torch.randperm(len(batches)).tolist():
            embeddings = encoder.forward([task.after[j] for j in batches[i]])
            loss = 1 - (embeddings * task.wanted[batches[i]]).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        yield float(np.mean(losses))


def assert_rest_is_as_shipped(task: Task, student: Encoder) -> None:
    """Every row of old tokens and every other parameter has the bits that the package has."""
    now = student.model.state_dict()
    for name, shipped in task.teacher.model.state_dict().items():
        assert bits(now[name][: len(shipped)]) == bits(shipped), f"{name} has changed"


def assert_keeps(task: Task, student: Encoder, count: int) -> int:
    """Sentences without a new token: all have the ids they had, ``count`` of them are embedded.

    Returns how many are.
    """
    before = task.teacher.ids(task.kept)
    assert student.ids(task.kept) == before, "a sentence without a new token is cut otherwise"
    chosen = np.random.default_rng(0).permutation(len(before))[:count].tolist()
    ids = [before[i] for i in chosen]
    same = bits(student.embed(ids)) == bits(task.teacher.embed(ids))
    assert same, "a sentence without a new token has another embedding"
    return len(ids)


def assert_comes_back(task: Task, student: Encoder, path: Path, test: np.ndarray) -> None:
    """A model that never had the tokens embeds as the student does once it has read its file."""
    fresh = task.kind()
    # The file has the words; where they match is the tokenizer's affair, as when it is saved.
    fresh.tokenizer.add_tokens([fresh.token(word) for word in task.words])
    rt.load_rows(fresh.model, path, tokenizer=fresh.tokenizer)
    texts = [task.changed[i] for i in test]
    ids = fresh.ids(texts)
    assert ids == student.ids(texts), "the file's tokens have other ids"
    same = bits(fresh.embed(ids)) == bits(student.embed(ids))
    assert same, "the file's rows are not those that were saved"


def bits(values: Tensor) -> bytes:
    """For comparisons that tell -0.0 from 0.0."""
    return values.detach().contiguous().numpy().tobytes()
