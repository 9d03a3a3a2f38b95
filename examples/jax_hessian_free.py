"""Second-order steps on the rows that a batch uses: Theano's FAQ, tried out.

    python examples/jax_hessian_free.py

The FAQ on updating a subset of weights remarks that Hessian-Free optimization fails on a whole
lookup table: a row that no example uses gives a row and a column of zeros, and the system has no
inverse. Here 30 words of a table of 100 explain ratings of pairs; the curvature is
Gauss-Newton's, J'J. On the rows that are used Newton's method by conjugate gradients, without any
damping, converges in a few steps, and the matrix has an inverse. On the whole table it has none.
"""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg

import rowtune.jax as rj

ROWS, WIDTH, USED, PAIRS, STEPS = 100, 4, 30, 450, 6


def problem() -> tuple[Array, Array, Array]:
    """A start, pairs of words out of 30, and the ratings that some other table gives them."""
    rng = np.random.default_rng(0)
    words = rng.choice(ROWS, USED, replace=False)
    pairs = words[rng.integers(0, USED, (PAIRS, 2))]
    true = rng.standard_normal((ROWS, WIDTH))
    ratings = (np.tanh(true[pairs[:, 0]]) * true[pairs[:, 1]]).sum(axis=1)
    start = true + 0.3 * rng.standard_normal((ROWS, WIDTH))
    return jnp.asarray(start), jnp.asarray(pairs), jnp.asarray(ratings)


def residuals(rows: Array, ratings: Array) -> Array:
    """What is missing of each rating; ``rows`` are of shape (pairs, 2, width)."""
    return (jnp.tanh(rows[:, 0]) * rows[:, 1]).sum(axis=1) - ratings


def newton_step(table: rj.RowTable, pairs: Array, ratings: Array) -> tuple[rj.RowTable, Array]:
    """One Gauss-Newton step in the block; the products with J and J' are never matrices."""

    def missing(block: Array) -> Array:
        return residuals(rj.lookup(table.replace(block=block), pairs), ratings)

    left, back = jax.vjp(missing, table.block)

    def curvature(direction: Array) -> Array:
        along = jax.jvp(missing, (table.block,), (direction,))[1]
        return back(along)[0]

    step, _ = cg(curvature, back(-left)[0], tol=1e-10, maxiter=400)
    return table.replace(block=table.block + step), 0.5 * (left**2).sum()


def curvature_matrix(table: rj.RowTable, pairs: Array, ratings: Array) -> Array:
    """J'J of the block, with every entry: only to look at it."""
    flat, restore = ravel_pytree(table.block)
    jacobian = jax.jacfwd(
        lambda x: residuals(rj.lookup(table.replace(block=restore(x)), pairs), ratings)
    )(flat)
    return jacobian.T @ jacobian


def has_inverse(matrix: Array) -> bool:
    """Whether Cholesky's factorization of the matrix exists."""
    return bool(jnp.isfinite(jnp.linalg.cholesky(matrix)).all())


def main() -> None:
    start, pairs, ratings = problem()
    used = np.unique(np.asarray(pairs))
    subset, whole = rj.split(start, train=used), rj.split(start)
    frozen = np.setdiff1d(np.arange(ROWS), used)
    before = hashlib.sha256(np.asarray(start)[frozen].tobytes()).hexdigest()

    print("Gauss-Newton on the rows that are used:")
    step = jax.jit(newton_step)
    losses = []
    table = subset
    for i in range(STEPS):
        table, loss = step(table, pairs, ratings)
        losses.append(float(loss))
        print(f"  before step {i + 1}: loss {losses[-1]:.3e}")
    after = hashlib.sha256(np.asarray(rj.merge(table))[frozen].tobytes()).hexdigest()
    print(f"  frozen rows' SHA-256 is the same: {before == after}")

    for name, each in (("rows that are used", subset), ("whole table", whole)):
        matrix = curvature_matrix(each, pairs, ratings)
        values = jnp.linalg.eigvalsh(matrix)
        zeros = int((~np.asarray(matrix).any(axis=1)).sum())
        print(f"J'J of the {name}: {matrix.shape[0]} x {matrix.shape[0]}, {zeros} rows of zeros")
        print(f"  eigenvalues from {float(values[0]):.1e} to {float(values[-1]):.1e}")
        print(f"  has an inverse: {has_inverse(matrix)}")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
