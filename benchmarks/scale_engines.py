"""Opening a table of 20 GB, and looking 4,096 rows up, on the engines of frameworks.

``python benchmarks/scale_engines.py [FOLDER]`` prints one line for each engine and kind of base.
The file is sparse: it takes no place on the disk, and its pages come as quickly as they can.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measured import machine, publish

from resident import count_from_here, memory
from rowtune.quantized import Quantized, quantize

N, D, FEW = 20_000_000, 256, 1000
ENGINES = ["jax", "tensorflow", "pytensor", "keras/tensorflow", "keras/jax", "keras/torch"]
KINDS = ["float32 map", "int8 map", "int8"]
_LOOKUPS = 20
_IN_MEMORY = 1_000_000

Open = Callable[[Any, Any], Callable[[Any], Any]]


def figures(engine: str, kind: str, folder: str) -> dict[str, Any]:
    """Of one engine and kind of base, in a process of its own.

    Returns
    -------
    dict
        seconds: of opening. growth: of the resident memory in MB, by opening, and looking 4,096
        rows up for the first time. lookup: seconds of a lookup when its rows are in memory. first:
        of the first one.
    """
    backend = engine.partition("/")[2]
    quiet = {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, engine, kind, folder],
        env={**os.environ, **quiet, **({"KERAS_BACKEND": backend} if backend else {})},
        capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"engine": engine, "kind": kind, **found}


def _measured(engine: str, kind: str, folder: str) -> dict[str, float]:
    opened = _ways()[engine.partition("/")[0]]()
    path = Path(folder, f"large-{os.getpid()}.bin")
    path.touch()
    os.truncate(path, N * D * 4)
    try:
        # What is the same for every table is compiled before.
        small = np.ones((FEW * 300, D), np.float32)
        like = small if kind == "float32 map" else quantize(small)
        ids = np.random.default_rng(0).integers(0, N, 4096)
        opened(like, np.arange(FEW))(ids % len(small))
        given = _base(kind, path)
        train, ids = np.arange(FEW) * 1000, ids % len(given)
        before, start = count_from_here(), time.perf_counter()
        look = opened(given, train)
        seconds, start = time.perf_counter() - start, time.perf_counter()
        look(ids)
        first, growth = time.perf_counter() - start, memory("VmRSS") - before
        times = []
        for _ in range(_LOOKUPS):
            start = time.perf_counter()
            look(ids)
            times.append(time.perf_counter() - start)
    finally:
        path.unlink()
    return {
        "seconds": seconds,
        "first": first,
        "growth": growth / 1e6,
        "lookup": float(np.median(times)),
    }


def _base(kind: str, path: Path) -> Any:
    if kind == "float32 map":
        return np.memmap(path, np.float32, "r", shape=(N, D))
    if kind == "int8 map":
        codes = np.memmap(path, np.int8, "r", shape=(4 * N, D))
        return Quantized(codes, np.memmap(path, np.float32, "r", shape=(4 * N,)))
    codes = np.ones((_IN_MEMORY, D), np.int8)  # 256 MB
    return Quantized(codes, np.ones(len(codes), np.float32))


def _ways() -> dict[str, Callable[[], Open]]:
    return {"jax": _jax, "tensorflow": _tensorflow, "pytensor": _pytensor, "keras": _keras}


def _jax() -> Open:
    import jax

    import rowtune.jax as rj

    lookup = jax.jit(rj.lookup)

    def opened(given: Any, train: Any) -> Any:
        table = rj.split(given, train)
        return lambda ids: np.asarray(lookup(table, ids.astype(np.int32)))

    return opened


def _tensorflow() -> Open:
    import tensorflow as tf

    import rowtune.tensorflow as rtf

    def opened(given: Any, train: Any) -> Any:
        emb = rtf.Embedding(given, train)
        look = tf.function(emb)
        return lambda ids: look(tf.constant(ids)).numpy()

    return opened


def _pytensor() -> Open:
    import pytensor
    import pytensor.tensor as pt

    import rowtune.pytensor as rp

    def opened(given: Any, train: Any) -> Any:
        table, ids = rp.lookup_table(given, train), pt.lvector("ids")
        return pytensor.function([ids], table[ids])  # its compilation is in the seconds

    return opened


def _keras() -> Open:
    if os.environ["KERAS_BACKEND"] == "torch":
        import torch  # noqa: F401 - before whatever else brings an OpenMP of its own
    import keras

    import rowtune.keras as rk

    def opened(given: Any, train: Any) -> Any:
        layer = rk.Embedding(*given.shape, weights=given, train=train)
        return lambda ids: keras.ops.convert_to_numpy(layer(ids))

    return opened


COLUMNS = ("engine", "base", "opened, s", "memory, MB", "first lookup, ms", "then, ms")


def main() -> None:
    if len(sys.argv) == 4:
        print(json.dumps(_measured(*sys.argv[1:])))
        return
    lines = []
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        for engine in ENGINES:
            for kind in KINDS:
                found = figures(engine, kind, folder)
                assert found["growth"] < 100 or kind == "int8", (engine, kind, found)
                lines.append([
                    engine, kind, f"{found['seconds']:.3f}", f"{found['growth']:.0f}",
                    f"{1e3 * found['first']:.1f}", f"{1e3 * found['lookup']:.2f}",
                ])  # fmt: skip
    publish(
        "scale_engines",
        f"{N:,} x {D}: opened with {FEW:,} rows that train, 4,096 looked up",
        COLUMNS,
        lines,
        "Memory is what the process grew by, with the first lookup; what is compiled was compiled "
        f"on a small table before. int8 without a map is {_IN_MEMORY:,} rows in memory. "
        + machine("jax", "tensorflow-cpu", "keras", "pytensor", "torch"),
    )


if __name__ == "__main__":
    main()
