"""One of several processes that train one table: ``program.py PORT PROCESS PROCESSES FOLDER``.

Each writes what it found as JSON; `test_jax_processes.py` compares.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import rowtune.jax as rj
from rowtune.errors import IdError
from rowtune.jax.bases import Codes
from rowtune.quantized import quantize

N, D, STEPS = 1003, 8, 3
PORT, PROCESS, PROCESSES, FOLDER = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


def loss(rows):
    return (jnp.sin(rows) ** 2).sum()


def tables():
    weights = np.load(Path(FOLDER, "weights.npy"))
    mapped = np.load(Path(FOLDER, "weights.npy"), mmap_mode="r")
    some = np.arange(0, N, 3)
    yield "array", rj.split(weights, some)
    yield "all rows", rj.split(weights)
    yield "memory map, columns", rj.split(mapped, some, columns=[1, 4])
    yield "int8", rj.split(quantize(weights), some)


def digest(array):
    """SHA-256 of the rows that this process has."""
    parts = sorted(array.addressable_shards, key=lambda part: part.index[0].start or 0)
    return hashlib.sha256(b"".join(np.asarray(part.data).tobytes() for part in parts)).hexdigest()


def arrays(base):
    return [] if base is None else [base.codes] if isinstance(base, Codes) else [base]


def of_table(table, mesh, optimizer):
    rng = np.random.default_rng(1)
    table = rj.shard(table, mesh, "rows")
    state, step = optimizer.init(table), rj.step(loss, optimizer)
    before = [digest(array) for array in arrays(table.base)]
    held = sum(part.data.shape[0] for part in table.block.addressable_shards)
    values, all_of_block = [], table.block.shape[0]
    for _ in range(STEPS):
        table, state, value = step(table, state, rng.integers(0, N, (7, 5)))
        values.append(float(value))
    refused = []
    for ids in ([N], [3, -1]):
        try:
            step(table, state, ids)
        except IdError as error:
            refused.append(str(error))
    try:
        rj.checked(jax.jit(rj.lookup))(table, jnp.asarray([3, N]))
    except IdError as error:
        refused.append(str(error))
    rows = jax.jit(rj.lookup, out_shardings=NamedSharding(mesh, P()))(table, np.array([0, 5, N, 6]))
    matrix = multihost_utils.process_allgather(rj.merge(table), tiled=True)
    return {
        "values": values,
        "held": held / all_of_block,
        "same base": [digest(array) for array in arrays(table.base)] == before,
        "refused": refused,
        "nan": np.isnan(np.asarray(rows)).any(axis=1).tolist(),
        "rows": np.asarray(rows)[[0, 1, 3]].tolist(),
        "matrix": np.asarray(matrix).tolist(),
        "state": sorted({tuple(x.sharding.spec) for x in jax.tree.leaves(state)}),
    }


def main():
    if PROCESSES > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            f"127.0.0.1:{PORT}", PROCESSES, PROCESS, initialization_timeout=20
        )
    assert len(jax.local_devices()) * PROCESSES == len(jax.devices()) == 2
    mesh = jax.make_mesh((2,), ("rows",))
    found = {name: of_table(table, mesh, rj.rule("adam", lr=0.1)) for name, table in tables()}
    Path(FOLDER, f"found-{PROCESSES}-{PROCESS}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
