"""Skip-gram with an Equinox scorer: new words learn their rows, old words keep theirs.

    python examples/jax_equinox.py

Words of one topic stand beside each other. Ten words of each topic are new and start at zero; they
are to end among their own. Two lookups of one table, and one gradient of it: ids may be a tuple.
"""

from __future__ import annotations

import hashlib

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import rowtune.jax as rj

TOPICS, PER_TOPIC, NEW, WIDTH, BATCH, STEPS = 20, 100, 10, 24, 256, 600


class Scorer(eqx.Module):
    """How well two words go together: their product in a learned metric."""

    metric: Array
    bias: Array

    def __call__(self, a: Array, b: Array) -> Array:
        return jnp.einsum("nd,de,ne->n", a, self.metric, b) + self.bias


def main() -> None:
    rng = np.random.default_rng(0)
    topic = np.arange(TOPICS * PER_TOPIC) % TOPICS
    centres = rng.standard_normal((TOPICS, WIDTH))
    vectors = centres[topic] + 0.5 * rng.standard_normal((len(topic), WIDTH))
    vectors = (vectors / np.sqrt(WIDTH)).astype(np.float32)
    new = rng.permutation(len(topic))[: NEW * TOPICS]
    vectors[new] = 0.0
    frozen = np.setdiff1d(np.arange(len(topic)), new)
    before = hashlib.sha256(vectors[frozen].tobytes()).hexdigest()

    scorer = Scorer(jnp.eye(WIDTH), jnp.zeros(()))
    table = rj.split(vectors, train=new)
    optimizer, dense = rj.rowwise(optax.adam(0.02)), optax.adam(0.01)

    def loss(rows: tuple[Array, Array], scorer: Scorer, labels: Array) -> Array:
        return optax.sigmoid_binary_cross_entropy(scorer(*rows), labels).mean()

    step = rj.step(
        loss, optimizer, dense=dense, clip=lambda grads: rj.clip_by_global_norm(grads, 1.0)
    )
    both, states, losses = (table, scorer), (optimizer.init(table), dense.init(scorer)), []
    for _ in range(STEPS):
        a = rng.integers(0, len(topic), BATCH)
        same = a + TOPICS * rng.integers(0, PER_TOPIC, BATCH)
        other = rng.integers(0, len(topic), BATCH)
        b = np.where(rng.random(BATCH) < 0.5, same % len(topic), other)
        labels = jnp.asarray(topic[a] == topic[b], jnp.float32)
        ids = jnp.asarray(a), jnp.asarray(b)
        both, states, value = step(both, states, ids, labels)
        losses.append(float(value))
    table, scorer = both
    matrix = np.asarray(rj.merge(table))
    after = hashlib.sha256(matrix[frozen].tobytes()).hexdigest()
    nearest = frozen[(matrix[new] @ np.asarray(scorer.metric) @ matrix[frozen].T).argmax(axis=1)]
    print(f"loss {np.mean(losses[:50]):.3f} at first, {np.mean(losses[-50:]):.3f} at last")
    print(f"new words beside one of their topic: {(topic[nearest] == topic[new]).mean():.0%}")
    print(f"frozen rows' SHA-256 is the same: {before == after}")


if __name__ == "__main__":
    main()
