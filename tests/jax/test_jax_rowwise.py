"""optax row by row: equal to optax where all rows are touched, refused where rows are mixed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rowtune.jax as rj
from rowtune.errors import RuleError

SCHEDULE = optax.warmup_cosine_decay_schedule(0.0, 0.1, 3, 8)


def is_matrix(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


TAKES = {
    "sgd on a schedule": optax.sgd(SCHEDULE, momentum=0.9),
    "adam": optax.adam(0.1),
    "nadam": optax.nadam(0.1),
    "adamw, masked to matrices": optax.adamw(SCHEDULE, weight_decay=0.1, mask=is_matrix),
    "amsgrad": optax.amsgrad(0.1),
    "adagrad": optax.adagrad(0.1),
    "adadelta": optax.adadelta(0.1),
    "adan": optax.adan(0.1),
    "lion": optax.lion(0.01),
    "radam": optax.radam(0.1),
    "rmsprop": optax.rmsprop(0.1, centered=True, momentum=0.9),
    "rprop": optax.rprop(0.1),
    "yogi": optax.yogi(0.1),
    "schedule-free": optax.contrib.schedule_free_adamw(0.1, warmup_steps=4),
    "ademamix": optax.contrib.ademamix(0.1),
    "centralize": optax.chain(optax.centralize(), optax.sgd(0.1)),
    "clip by value": optax.chain(optax.clip(0.5), optax.adam(0.1)),
    "injected": optax.inject_hyperparams(optax.adam)(learning_rate=SCHEDULE),
    "scheduled decay": optax.chain(optax.add_decayed_weights(SCHEDULE), optax.sgd(0.1)),
    "every third": optax.MultiSteps(optax.adam(0.1), 3).gradient_transformation(),
    "finite only": optax.apply_if_finite(optax.adam(0.1), 3),
}


@pytest.mark.parametrize("name", TAKES)
def test_touching_every_row_in_every_step_equals_optax(name):
    rng = np.random.default_rng(0)
    tx, weights = TAKES[name], rng.standard_normal((6, 4)).astype(np.float32)
    table, optimizer, matrix = rj.split(weights), rj.rowwise(tx), jnp.asarray(weights)
    state, of_dense = optimizer.init(table), tx.init(matrix)

    @jax.jit
    def both(table, state, matrix, of_dense, grads):
        rows = rj.row_grads(table, jnp.arange(6)[::-1], grads[::-1])
        change, of_dense = tx.update(grads, of_dense, matrix)
        return *optimizer.update(rows, state, table), optax.apply_updates(matrix, change), of_dense

    for _ in range(7):
        grads = rng.standard_normal((6, 4)).astype(np.float32)
        table, state, matrix, of_dense = both(table, state, matrix, of_dense, grads)
    np.testing.assert_allclose(table.block, matrix, rtol=2e-5, atol=2e-6)
    assert not np.allclose(table.block, weights, atol=1e-3)


MIXES = {
    "global norm": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)),
    "a bound that binds late": optax.clip_by_global_norm(1e5),
    "block rms": optax.clip_by_block_rms(1.0),
    "adaptive clipping": optax.adaptive_grad_clip(0.1),
    "normalized": optax.normalize_by_update_norm(),
    "adafactor": optax.adafactor(0.1),
    "muon": optax.contrib.muon(0.1),
    "lamb": optax.lamb(0.1),
    "lars": optax.lars(0.1),
    "fromage": optax.fromage(0.1),
    "novograd": optax.novograd(0.1),
    "sm3": optax.sm3(0.1),
    "noise": optax.noisy_sgd(0.1, key=0),
    "prodigy": optax.contrib.prodigy(0.1),
    "d-adaptation": optax.contrib.dadapt_adamw(0.1),
    "mechanic": optax.contrib.mechanize(optax.sgd(0.1)),
}


@pytest.mark.parametrize("name", MIXES)
def test_what_mixes_rows_is_refused(name):
    with pytest.raises(RuleError, match=r"mixes rows: .*\n?.*place it outside: on the gradients"):
        rj.rowwise(MIXES[name])


def test_what_needs_more_than_gradients_is_refused():
    with pytest.raises(RuleError, match="cannot be run row by row, on gradients, state and rows"):
        rj.rowwise(optax.lbfgs())


def test_the_trial_works_while_something_else_is_traced():
    @jax.jit
    def init(table):
        return rj.rowwise(optax.adam(0.1)).init(table)

    state = init(rj.split(np.zeros((3, 2), np.float32)))
    assert state[0].count.shape == (3,)
    with pytest.raises(RuleError, match="mixes rows"):
        jax.jit(lambda: rj.rowwise(optax.clip_by_global_norm(1.0)) and 0)()


def test_counts_are_per_row_and_schedules_are_of_the_table():
    optimizer = rj.rowwise(
        optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(lambda t: -(10.0**t)))
    )
    table = rj.split(np.zeros((5, 1), np.float32), [0, 2, 4])
    state = optimizer.init(table)
    for ids in ([0], [0, 2], [1], [0]):
        table, state = jax.jit(optimizer.update)(
            rj.row_grads(table, ids, np.ones((len(ids), 1))), state, table
        )
    adam, schedule = state
    assert adam.count.tolist() == [3, 1, 0]
    assert int(schedule.count) == 4
    np.testing.assert_allclose(table.block[:, 0], [-1011, -10, 0], rtol=1e-5)


def test_injected_hyper_parameters_are_one_for_all_rows_and_can_be_set():
    optimizer = rj.rowwise(optax.inject_hyperparams(optax.sgd)(learning_rate=0.5))
    table = rj.split(np.zeros((3, 1), np.float32))
    state = optimizer.init(table)
    for lr in (0.5, 2.0):
        state.hyperparams["learning_rate"] = jnp.asarray(lr)
        grads = rj.row_grads(table, [1], [[1.0]])
        table, state = optimizer.update(grads, state, table)
    assert table.block[:, 0].tolist() == [0.0, -2.5, 0.0]
    assert state.count.shape == ()


def test_state_is_as_long_as_the_block_and_never_narrower_than_float32():
    table = rj.split(jnp.zeros((9, 4), jnp.bfloat16), [3, 1])
    state = rj.rowwise(optax.adam(0.1)).init(table)
    assert [x.shape for x in jax.tree.leaves(state)] == [(2,), (2, 1, 4), (2, 1, 4)]
    assert state[0].mu.dtype == jnp.float32
