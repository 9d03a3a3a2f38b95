"""A Flax NNX classifier over word vectors of which 200 rows train; the model trains as ever.

    python examples/jax_flax.py

The table stays beside the model, not in it: whatever walks over a model's parameters (optimizers,
weight decay, checkpoints) then never sees a frozen row. Sentences are made up: a sentence is
positive where its words are so on average, and of the new words nothing is known at first.
"""

from __future__ import annotations

import hashlib

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

import rowtune.jax as rj

WORDS, WIDTH, NEW, LENGTH, BATCH, STEPS = 20_000, 32, 200, 12, 64, 400


class Classifier(nnx.Module):
    """The mean of the words, a hidden layer, one number."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(WIDTH, 32, rngs=rngs)
        self.out = nnx.Linear(32, 1, rngs=rngs)

    def __call__(self, rows: Array) -> Array:
        return self.out(nnx.relu(self.hidden(rows.mean(axis=-2))))[..., 0]


def sentences(rng: np.random.Generator, new: np.ndarray, mood: np.ndarray) -> tuple[Array, Array]:
    """Ids (batch, length), a third of them new words, and labels."""
    ids = rng.integers(0, WORDS, (BATCH, LENGTH))
    ids = np.where(rng.random(ids.shape) < 1 / 3, rng.choice(new, ids.shape), ids)
    return jnp.asarray(ids), jnp.asarray(mood[ids].mean(axis=1) > 0, jnp.float32)


def main() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((WORDS, WIDTH)).astype(np.float32)
    mood = vectors @ rng.standard_normal(WIDTH) / np.sqrt(WIDTH)  # what words mean
    new = rng.choice(WORDS, NEW, replace=False)
    vectors[new] = 0.0  # a third of the text, and the table does not know it
    frozen = np.setdiff1d(np.arange(WORDS), new)
    before = hashlib.sha256(vectors[frozen].tobytes()).hexdigest()

    table, optimizer = rj.split(vectors, train=new), rj.rule("adam", lr=0.02)
    graph, params = nnx.split(Classifier(nnx.Rngs(0)), nnx.Param)
    dense = optax.adam(1e-3)

    def loss(rows: Array, params: nnx.State, labels: Array) -> tuple[Array, Array]:
        logits = nnx.merge(graph, params)(rows)
        right = ((logits > 0) == (labels > 0.5)).mean()
        return optax.sigmoid_binary_cross_entropy(logits, labels).mean(), right

    step = rj.step(loss, optimizer, dense=dense, has_aux=True)
    both, states = (table, params), (optimizer.init(table), dense.init(params))
    shares = []
    for _ in range(STEPS):
        both, states, (_, right) = step(both, states, *sentences(rng, new, mood))
        shares.append(float(right))
    table = both[0]
    after = hashlib.sha256(np.asarray(rj.merge(table))[frozen].tobytes()).hexdigest()
    print(f"right in the first 50 steps: {np.mean(shares[:50]):.2f}")
    print(f"right in the last 50 steps:  {np.mean(shares[-50:]):.2f}")
    print(f"frozen rows' SHA-256 is the same: {before == after}")


if __name__ == "__main__":
    main()
