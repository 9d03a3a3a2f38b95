"""The classifier of reviews_torch.py in Keras: on TensorFlow, on JAX, or on PyTorch.

    KERAS_BACKEND=jax python examples/reviews_keras.py
    python examples/reviews_keras.py --backend both       (TensorFlow, then JAX)

The same sentences, the same five splits, and the same five ways to treat words that GloVe lacks:
left out; with random rows that stay; with rows that train (ours: no other row does); with all rows
training; and no word vectors at all, but tf-idf and logistic regression.

Validation sentences pick learning rate and epoch (for tf-idf: C, and whether pairs of words count).
Test sentences are scored once, at the end, by what was picked.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

# Before Keras is imported, or TensorFlow tells a lot of what it found on this machine.
os.environ.update(TF_CPP_MIN_LOG_LEVEL="2", TF_ENABLE_ONEDNN_OPTS="0")

import keras
import numpy as np
import typer
from keras import layers, ops
from rated_sentences import read
from reviews_report import Result, judged, progress, show_data, show_learned, show_results
from reviews_split import EVERYTHING, NETWORKS, NO_WORD, OURS, Split, on_splits

import rowtune
import rowtune.keras as rk

LEARNING_RATES, BATCH = (0.003, 0.01), 128
LENGTH = 64  # of every sentence: batches of one shape need one compiled program


class AttentionPooling(layers.Layer):
    """The mean of the words' rows, weighed by what a linear layer makes of each."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.score = layers.Dense(1)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.score.build(input_shape)

    def call(self, rows: Any, mask: Any = None) -> Any:
        scores = self.score(rows)
        if mask is not None:  # the embedding's: padding weighs nothing
            scores = ops.where(mask[..., None], scores, -1e4)
        return ops.sum(ops.softmax(scores, axis=-2) * rows, axis=-2)

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """No mask for the layers behind: there are no words any more."""


class Watch(keras.callbacks.Callback):
    """Stops the run if a frozen row has changed; keeps how long epochs train."""

    def __init__(self, embedding: rk.Embedding) -> None:
        super().__init__()
        self.embedding, self.seconds = embedding, []
        self.before = hash_of_frozen_rows(embedding)

    def on_epoch_begin(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_test_begin(self, *_: Any) -> None:
        self.seconds.append(time.perf_counter() - self.start)

    def on_epoch_end(self, *_: Any) -> None:
        # Here and not after training, when the weights of the best epoch are back.
        assert hash_of_frozen_rows(self.embedding) == self.before, "a frozen row has changed"


def hash_of_frozen_rows(embedding: rk.Embedding) -> str:
    frozen = embedding.merge()[~embedding.rows.mask]
    return hashlib.sha256(frozen.tobytes()).hexdigest()


def embedding_for(method: str, split: Split) -> rk.Embedding:
    """The table of a method: all have the same ids, and what trains is one argument."""
    trains = {OURS: split.oov, EVERYTHING: slice(NO_WORD + 1, None)}.get(method, [])
    table = split.table(method)
    return rk.Embedding(*table.shape, weights=table, train=trains, mask_zero=True)


def classifier(embedding: rk.Embedding, hidden: int = 64) -> keras.Model:
    """Attention over the rows of the words, then a small MLP: light beside its table."""
    return keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            embedding,
            AttentionPooling(),
            layers.Dropout(0.3),
            layers.Dense(hidden, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(1),
        ]
    )


def train(method: str, split: Split, epochs: int, lr: float) -> tuple[float, keras.Model, float]:
    """Validation accuracy of the best epoch, the model as it was then, and seconds per epoch."""
    keras.utils.set_random_seed(split.seed)
    model = classifier(embedding := embedding_for(method, split))
    model.compile(
        rk.optimizers.Adam(lr),  # chosen rows get the row step, all else Keras's own Adam
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
    )
    watch = Watch(embedding)
    best = keras.callbacks.EarlyStopping("val_accuracy", patience=3, restore_best_weights=True)
    ids, labels, validation = split.padded(method, LENGTH), split.labels, split.validation
    # A short last batch would be one more program to compile: some sentences fill it up.
    training = np.resize(split.training, -(-len(split.training) // BATCH) * BATCH)
    history = model.fit(
        ids[training],
        labels[training],
        batch_size=BATCH,
        epochs=epochs,
        validation_data=(ids[validation], labels[validation]),
        validation_batch_size=len(validation),
        callbacks=[watch, best],
        verbose=0,
    )
    # The median, since the first epoch compiles.
    return max(history.history["val_accuracy"]), model, float(np.median(watch.seconds))


def network(
    method: str, split: Split, epochs: int, tick: Callable[[], None]
) -> tuple[Result, keras.Model]:
    """The epoch and learning rate that validation picks, scored on test."""
    runs = []
    for lr in LEARNING_RATES:
        runs.append(train(method, split, epochs, lr))
        tick()
    (_, model, _), test = max(runs, key=lambda run: run[0]), split.test
    right = (logits_of(model, split.padded(method, LENGTH)[test]) > 0) == split.labels[test]
    rows, seconds = len(model.layers[0].rows), float(np.mean([run[2] for run in runs]))
    return Result(method, rows, right, split.has_oov[test], seconds), model


def logits_of(model: keras.Model, ids: np.ndarray) -> np.ndarray:
    return ops.convert_to_numpy(model(ids, training=False))[:, 0]


def in_short(results: Sequence[Sequence[Result]]) -> str:
    """Which methods ours beats and which beat it, in a line each."""
    if len(results) == 1:
        return "In short: one split decides nothing; take more with --seeds."
    columns = zip(*results, strict=True)
    accuracy = {runs[0].method: np.array([r.accuracy for r in runs]) for runs in columns}
    ours, groups = accuracy.pop(OURS), {}
    for name, theirs in accuracy.items():
        verb = "beats" if (gap := ours - theirs).mean() > 0 else "loses to"
        verb = "cannot be told from" if judged(gap) == "within the spread" else verb
        groups.setdefault(verb, []).append(name)
    verdicts = [f"{verb} {'; '.join(names)}" for verb, names in groups.items()]
    return "\n".join(f"In short: ours {verdict}" for verdict in verdicts)


def compare(data_set: str, seeds: int, epochs: int) -> None:
    """Train everything, print what came out."""
    sentences, vectors = read(data_set), rowtune.load("glove-6b-50d")
    with progress(data_set, seeds * (len(NETWORKS) * len(LEARNING_RATES) + 1)) as tick:

        def run(method: str, split: Split) -> tuple[Result, keras.Model]:
            return network(method, split, epochs, tick)

        splits = (Split(sentences, vectors, seed) for seed in range(seeds))
        results, first, ours = on_splits(splits, sentences, run, tick)
    show_data(data_set, sentences, first)
    if longer := sum(len(ids) > LENGTH for ids in first.ids):
        print(f"Of {longer} longer sentences the networks see the first {LENGTH} words.")
    show_results(results, OURS)
    print(in_short(results))
    print("Frozen rows: the same SHA-256 before training and after every epoch.")  # see Watch
    words = np.full((len(oov := first.frequent_oov(sentences)), LENGTH), NO_WORD)
    words[:, 0] = oov
    rows = ours.layers[0].merge()[oov]
    show_learned(rows, logits_of(ours, words), first, sentences, vectors)


def main(
    seeds: Annotated[int, typer.Option(min=1, help="How many random splits.")] = 5,
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes over the training sentences, at most.")
    ] = 6,
    data: Annotated[
        Literal["both", "reviews", "tweets"], typer.Option(help="Which sentences.")
    ] = "both",
    backend: Annotated[
        Literal["tensorflow", "jax", "torch", "both"] | None,
        typer.Option(help="What Keras runs on; both: TensorFlow, then JAX."),
    ] = None,
) -> None:
    """Train only the rows of words that GloVe lacks, and see what it is worth.

    Compares five ways to treat such words in a Keras classifier of rated
    sentences, prints how many test sentences each gets right, how long
    an epoch takes, and which way wins. Without --backend it runs on what
    KERAS_BACKEND says. All of it takes some five minutes on a backend;
    to try it out: --data tweets --seeds 1
    """
    if backend in (None, keras.backend.backend()):
        print(f"Keras {keras.__version__} on {keras.backend.backend()}")
        for data_set in ("reviews", "tweets") if data == "both" else (data,):
            compare(data_set, seeds, epochs)
        return
    # A process has one backend, and keras is imported: another backend is another process.
    command = [sys.executable, __file__, f"--seeds={seeds}", f"--epochs={epochs}", f"--data={data}"]
    for other in ("tensorflow", "jax") if backend == "both" else (backend,):
        done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": other}, check=False)
        if done.returncode:
            raise typer.Exit(done.returncode)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as programs:
        if keras.backend.backend() == "jax":
            import jax

            # The models of both learning rates are alike: JAX shall compile for the first alone.
            jax.config.update("jax_compilation_cache_dir", programs)
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        typer.run(main)
