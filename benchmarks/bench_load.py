"""Loading 400,000 x 50 vectors as GloVe text: Rowtune's first and second load against gensim.

Run it as ``python benchmarks/bench_load.py``; it prints a table and writes
``benchmarks/results/load.md``. It needs the ``glove`` extra and gensim.

First load: nothing in the cache; the file is parsed and the cache entry written. Second load: the
entry is mapped and one word looked up. Both also in a fresh process, where the first includes
importing pyarrow; importing NumPy and Rowtune themselves is in no figure. All readers find the file
in the page cache of the operating system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measured import machine, median, publish, spread
from rich.console import Console

from rowtune.vectors import load, save

REPEATS, GENSIM_REPEATS = 5, 2
CHILD = """
import sys, time
from rowtune.vectors import load
start = time.perf_counter()
row = load(sys.argv[1])["the"]
print(time.perf_counter() - start)
"""


def timed(run: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def in_fresh_process(path: Path) -> float:
    command = [sys.executable, "-c", CHILD, str(path)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def load_with_gensim(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from gensim.models import KeyedVectors

    seconds, vectors = timed(
        lambda: KeyedVectors.load_word2vec_format(path, binary=False, no_header=True)
    )
    return seconds, vectors.vectors, vectors.index_to_key


def measure(path: Path, cache: Path, console: Console) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        seconds.setdefault(name, []).append(value)
        console.print(f"  {name}: {value:.4f} s")

    path.read_bytes()
    for _ in range(REPEATS):
        shutil.rmtree(cache, ignore_errors=True)
        note("first load, fresh process", in_fresh_process(path))
        note("second load + lookup, fresh process", in_fresh_process(path))
    for _ in range(REPEATS):
        shutil.rmtree(cache, ignore_errors=True)
        note("first load", timed(lambda: load(path))[0])
        note("second load + lookup", timed(lambda: load(path)["the"])[0])
    ours = load(path)
    for _ in range(GENSIM_REPEATS):
        took, matrix, words = load_with_gensim(path)
        note("gensim load_word2vec_format", took)
        assert np.array_equal(matrix.view(np.uint32), ours.matrix.view(np.uint32))
        assert words == list(ours.words)
    return seconds


def report(seconds: dict[str, list[float]], size: int) -> None:
    rival = median(seconds["gensim load_word2vec_format"])
    rows = [
        [name, spread(values, 1.0, 4), f"{rival / median(values):,.1f} x"]
        for name, values in seconds.items()
    ]
    publish(
        "load",
        f"GloVe 400,000 x 50 as text, {size / 1e6:.0f} MB",
        ["load", "s: median (lowest - highest)", "times faster than gensim"],
        rows,
        f"{REPEATS} runs of each, {GENSIM_REPEATS} of gensim; words and bits of all rows equal "
        "(at least 15 x wanted for the first load, under 0.05 s for the second). "
        + machine("rowtune", "numpy", "pyarrow", "gensim"),
    )


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        cache, path = Path(folder, "cache"), Path(folder, "glove.txt")
        os.environ["ROWTUNE_CACHE_DIR"] = str(cache)
        save(load("glove-6b-50d", cache=False), path)
        report(measure(path, cache, console), path.stat().st_size)


if __name__ == "__main__":
    main()
