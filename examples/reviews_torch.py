"""A classifier of real sentences: GloVe's rows stay as they are, rows of words it lacks train.

    python examples/reviews_torch.py

Labels are people's ratings, at least 0.5 (of 4) away from neutral. Two data sets, because they lack
different words: reviews of movies and Amazon's goods lack few, mostly names; tweets lack more, and
some of them judge: "lmao", "hahaha", ":'(". Five ways to treat such words, on the same five splits
(70 % training, 15 % validation, 15 % test):

  frozen, OOV dropped      they are left out of the sentence
  frozen, OOV random       they have random rows, which stay
  OOV trained (ours)       they have rows that train; no other row does
  everything trained       all rows train: the same code with train="all"
  tf-idf + logistic reg.   no word vectors at all

What neither GloVe nor a training sentence has is left out by all five. The network was settled on
validation sentences. So are, for every split, learning rate and epoch (for tf-idf: C, and whether
pairs of words count). Test sentences are scored once, at the end, by what was picked.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

import numpy as np
import reviews_split
import torch
import typer
from rated_sentences import Sentence, read
from reviews_report import Result, progress, show_data, show_learned, show_results
from reviews_split import DROPPED, EVERYTHING, NETWORKS, NO_WORD, OURS, RANDOM, on_splits
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import rowtune
import rowtune.torch as rt

LEARNING_RATES, BATCH = (0.003, 0.01), 128


class Split(reviews_split.Split):
    """One random split, as tensors."""

    def __init__(self, sentences: Sequence[Sentence], vectors: rowtune.Vectors, seed: int) -> None:
        super().__init__(sentences, vectors, seed)
        self.labels = torch.from_numpy(self.labels)

    def inputs(self, method: str) -> Tensor:
        """Ids of every sentence, shape (sentences, longest)."""
        return torch.from_numpy(self.padded(method))


def embedding_for(method: str, split: Split) -> rt.Embedding:
    """The table of a method: all have the same ids, and what trains is one argument."""
    embedding = partial(rt.Embedding.from_pretrained, split.table(method), padding_idx=NO_WORD)
    if method == OURS:
        return embedding(train=split.oov, init="mean")
    return embedding(train={DROPPED: [], RANDOM: [], EVERYTHING: "all"}[method])


class Classifier(nn.Module):
    """Attention over the rows of the words, then a small MLP: light beside its table."""

    def __init__(self, embedding: rt.Embedding, hidden: int = 64) -> None:
        super().__init__()
        self.embedding = embedding
        self.attention = nn.Linear(embedding.embedding_dim, 1)
        self.head = nn.Sequential(
            nn.Dropout(0.3),
            nn.Linear(embedding.embedding_dim, hidden),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(hidden, 1),
        )

    def forward(self, ids: Tensor) -> Tensor:
        rows = self.embedding(ids)
        weights = self.attention(rows).masked_fill((ids == NO_WORD)[..., None], -1e4).softmax(-2)
        return self.head((weights * rows).sum(-2)).squeeze(-1)


def train(
    method: str, split: Split, epochs: int, lr: float, tick: Callable[[], None]
) -> tuple[float, Classifier, float]:
    """Validation accuracy of the best epoch, the model as it was then, and seconds per epoch."""
    torch.manual_seed(split.seed)
    model = Classifier(embedding_for(method, split))
    # One optimizer for the whole model: chosen rows get the row step, all else torch's own Adam.
    optimizer = rt.optim.Adam(model.parameters(), lr=lr)
    before = hash_of_frozen_rows(model.embedding)
    ids, training = split.inputs(method), torch.from_numpy(split.training)
    best, kept, seconds = -1.0, model, []
    for _ in range(epochs):
        model.train()
        start = time.perf_counter()
        for batch in training[torch.randperm(len(training))].split(BATCH):
            longest = int((ids[batch] != NO_WORD).sum(1).max().clamp(min=1))
            logits = model(ids[batch, :longest])
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(logits, split.labels[batch].float()).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
        accuracy = is_right(model, ids, split, split.validation).mean()
        if accuracy > best:
            best, kept = accuracy, copy.deepcopy(model)
        tick()
    assert hash_of_frozen_rows(model.embedding) == before, "a frozen row has changed"
    return best, kept, float(np.median(seconds))  # the first epoch compiles kernels


def hash_of_frozen_rows(embedding: rt.Embedding) -> str:
    frozen = embedding.weight.detach().numpy()[~embedding.rows.mask]
    return hashlib.sha256(frozen.tobytes()).hexdigest()


@torch.no_grad()
def is_right(model: Classifier, ids: Tensor, split: Split, part: np.ndarray) -> np.ndarray:
    """Whether the model gives a sentence its label, for each sentence of ``part``."""
    model.eval()
    return ((model(ids[part]) > 0) == split.labels[part]).numpy()


def network(
    method: str, split: Split, epochs: int, tick: Callable[[], None]
) -> tuple[Result, Classifier]:
    """The epoch and learning rate that validation picks, scored on test."""
    runs = [train(method, split, epochs, lr, tick) for lr in LEARNING_RATES]
    _, model, _ = max(runs, key=lambda run: run[0])
    right = is_right(model, split.inputs(method), split, split.test)
    rows, seconds = len(model.embedding.rows), np.mean([run[2] for run in runs])
    return Result(method, rows, right, split.has_oov[split.test], float(seconds)), model


def compare(data_set: str, seeds: int, epochs: int) -> list[list[Result]]:
    """Train everything, print what came out; results by seed and method."""
    sentences, vectors = read(data_set), rowtune.load("glove-6b-50d")
    steps = seeds * (len(NETWORKS) * len(LEARNING_RATES) * epochs + 1)
    with progress(data_set, steps) as tick:

        def run(method: str, split: Split) -> tuple[Result, Classifier]:
            return network(method, split, epochs, tick)

        splits = (Split(sentences, vectors, seed) for seed in range(seeds))
        results, first, ours = on_splits(splits, sentences, run, tick)
    show_data(data_set, sentences, first)
    show_results(results, OURS)
    print("Frozen rows: the same SHA-256 before and after every training.")  # or it had stopped
    oov = torch.tensor(first.frequent_oov(sentences))
    with torch.no_grad():
        rows, alone = ours.embedding(oov).numpy(), ours.eval()(oov[:, None]).numpy()
    show_learned(rows, alone, first, sentences, vectors)
    return results


def main(
    seeds: Annotated[int, typer.Option(min=1, help="How many random splits.")] = 5,
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes over the training sentences, at most.")
    ] = 6,
    data: Annotated[
        Literal["both", "reviews", "tweets"], typer.Option(help="Which sentences.")
    ] = "both",
) -> None:
    """Train only the rows of words that GloVe lacks, and see what it is worth.

    Compares five ways to treat such words in a classifier of rated
    sentences, prints how many test sentences each gets right, how long
    an epoch takes, and which way wins. All of it takes some three minutes;
    to try it out: --data tweets --seeds 1
    """
    # Batches this small gain little from a second thread, and lose much where it is not free.
    torch.set_num_threads(1)
    rowtune.set_num_threads(1)
    for data_set in ("reviews", "tweets") if data == "both" else (data,):
        compare(data_set, seeds, epochs)


if __name__ == "__main__":
    typer.run(main)
