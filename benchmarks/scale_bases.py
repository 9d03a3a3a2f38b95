"""Bases in files and in fewer bits: opening 20 GB, looking 4,096 rows up, and what is lost.

Run it as ``python benchmarks/scale_bases.py``; `opening`, `lookups` and `quality` give the rows of
one table each. Files of holes take no disk; those of `lookups` take 1.8 GB for as long as it runs.

* floor of a lookup: every row that is asked for read from where it is, in the base's own bits, and
  written as float32 bits nobody computed: one compiled pass, each row asked for 8 ahead. On one
  thread and on all, of which the faster counts: torch's threads are awake, ours are woken.
* No two lookups ask for the same rows within 64 batches: what one has read would be in the cache
  for the next.
* rivals in the same rounds: torch's embedding on the float32 table; NumPy's own indexing and, where
  the base has fewer bits, widening of what came; torch's quantized embedding for int8.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from measured import machine, median, publish, spread
from torch.nn import functional

import rowtune
import rowtune.torch as rt
from rowtune import base as base_room
from rowtune.kernels.prefetch import prefetch_row
from rowtune.kernels.row_copy import copy_row
from rowtune.kernels.threads import for_each_chunk, get_num_threads

HUGE, ROWS, WIDTH, BATCH, CHOSEN, BATCHES, ROUNDS = 80_000_000, 4_000_000, 64, 4_096, 1_000, 64, 100
KINDS = ("float32", "float16", "bfloat16", "int8")
Row = list[str]


# --- opening ---------------------------------------------------------------------------------

CHILD = """
import json, sys, time
import numpy as np, torch, rowtune, rowtune.torch as rt

def memory():
    kept = ("VmHWM", "VmRSS", "RssAnon")
    lines = (line.split(":") for line in open("/proc/self/status"))
    return {name: int(rest.split()[0]) / 1000 for name, rest in lines if name in kept}

engine, *paths = sys.argv[1:]

def run(path, seconds):
    start = time.perf_counter()
    table = rowtune.open_table(path)
    seconds["open"] = time.perf_counter() - start
    rng = np.random.default_rng(0)
    chosen = np.unique(rng.integers(0, len(table), 1_000))
    ids = np.concatenate([chosen, rng.integers(0, len(table), 4_096 - len(chosen))])
    start = time.perf_counter()
    if engine == "Table":
        made = rowtune.Table(table, train=chosen, rule="adam")
        seconds["construct"] = time.perf_counter() - start
        made.lookup(ids)
        seconds["and look up"] = time.perf_counter() - start
        made.update(ids, np.ones((4_096, 64), np.float32))
    else:
        made = rt.Embedding.from_pretrained(table, train=chosen, sparse=True)
        optimizer = rt.optim.Adam(made.parameters())
        seconds["construct"] = time.perf_counter() - start
        rows = made(torch.from_numpy(ids))
        seconds["and look up"] = time.perf_counter() - start
        rows.sum().backward()
        optimizer.step()
    seconds["and step"] = time.perf_counter() - start
    return made

run(paths[0], {})  # numba compiles what is first used
open("/proc/self/clear_refs", "w").write("5")
before, seconds = memory(), {}
made = run(paths[1], seconds)
after = memory()
seconds["peak"], seconds["anonymous"] = (
    after["VmHWM"] - before["VmRSS"], after["RssAnon"] - before["RssAnon"]
)
print(json.dumps(seconds))
"""


def file_of_holes(path: Path, rows: int, kind: str) -> Path:
    """A table of zeros that takes no disk."""
    code, itemsize = {"float32": ("F32", 4), "int8": ("I8", 1)}[kind]
    size = rows * WIDTH * itemsize
    if path.suffix == ".npy":
        about = {"descr": "<f4", "fortran_order": False, "shape": (rows, WIDTH)}
        raw = (repr(about) + "\n").encode().rjust(118)
        head = b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw
    else:
        header: dict[str, Any] = {
            "w": {"dtype": code, "shape": [rows, WIDTH], "data_offsets": [0, size]}
        }
        if kind == "int8":
            end = size + 4 * rows
            header["w.scales"] = {"dtype": "F32", "shape": [rows], "data_offsets": [size, end]}
            size = end
        raw = json.dumps(header).encode().ljust(248)
        head = len(raw).to_bytes(8, "little") + raw
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    return path


def opening() -> list[Row]:
    """Seconds and megabytes of a process that opens 20 GB, looks rows up and takes a step."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for ending, kind, count in (
            ("npy", "float32", HUGE), ("safetensors", "float32", HUGE),
            ("safetensors", "int8", 4 * HUGE),
        ):  # fmt: skip
            small = file_of_holes(Path(folder, f"small.{ending}"), 5_000_000, kind)
            large = file_of_holes(Path(folder, f"large.{ending}"), count, kind)
            size = f"{large.stat().st_size / 1e9:.1f} GB .{ending}, {kind}"
            for engine in ("Table", "torch Embedding"):
                done = subprocess.run(
                    [sys.executable, "-c", CHILD, engine, str(small), str(large)],
                    capture_output=True, text=True, check=True, timeout=300,
                )  # fmt: skip
                found = json.loads(done.stdout)
                times = (found[k] for k in ("open", "construct", "and look up", "and step"))
                rows.append(
                    [size, engine, *(f"{1e3 * t:.1f}" for t in times), f"{found['peak']:.0f}",
                     f"{found['anonymous']:.0f}"]
                )  # fmt: skip
    return rows


OPENING = [
    "file", "engine", "ms: open", "construct", "+ look up", "+ step", "peak MB", "anonymous MB",
]  # fmt: skip


# --- lookups ---------------------------------------------------------------------------------


@numba.njit(nogil=True)
def _copy(codes, ids, copied, rest, begin, end):
    for i in range(begin, end):
        if i + 8 < end:
            prefetch_row(codes, ids[i + 8])
        copy_row(codes, ids[i], copied, i)
        for j in range(rest.shape[1]):
            rest[i, j] = 0


def floor(
    codes: np.ndarray, ids: np.ndarray, copied: np.ndarray, rest: np.ndarray, parts: int
) -> None:
    """Rows as 32-bit words from where they are, and as many zeros as float32 has more, by as many
    threads: no id is checked, none is looked for in the block, and what is written to is there.
    """
    edges = np.linspace(0, len(ids), parts + 1).astype(int)
    for_each_chunk(lambda c: _copy(codes, ids, copied, rest, edges[c], edges[c + 1]), parts)


def bases(folder: Path) -> Iterator[tuple[str, str, Any]]:
    """A table in every kind, in memory and from a file."""
    table = np.random.default_rng(0).standard_normal((ROWS, WIDTH), dtype=np.float32)
    for kind in KINDS:
        own = table if kind == "float32" else rowtune.quantize(table, kind)
        path = folder / f"{kind}.safetensors"
        rowtune.save_table(path, own)
        yield kind, "memory", own
        mapped = rowtune.open_table(path)
        base_room.fingerprint(mapped)  # reads it, so that it is in the system's cache
        yield kind, "file", mapped
        path.unlink()


def ways(kind: str, base: Any) -> dict[str, Callable[[np.ndarray], Any]]:
    """What looks rows up in this base."""
    table = rowtune.Table(base, train=np.arange(CHOSEN))
    module = rt.Embedding.from_pretrained(base, train=np.arange(CHOSEN))
    codes = base if kind == "float32" else base.codes
    words = codes.view(np.uint32)
    copied = np.empty((BATCH, words.shape[1]), np.uint32)
    rest = np.empty((BATCH, WIDTH - words.shape[1]), np.uint32)
    with torch.no_grad():
        module(torch.arange(3))
    found: dict[str, Callable[[np.ndarray], Any]] = {
        "floor, one thread": lambda ids: floor(words, ids, copied, rest, 1),
        "floor, all threads": lambda ids: floor(words, ids, copied, rest, get_num_threads()),
        "Table.lookup": table.lookup,
        "torch Embedding (ours)": lambda ids: module(torch.from_numpy(ids)),
        "NumPy by hand": (lambda ids: base[ids]) if kind == "float32" else base.rows,
    }
    if kind == "float32":
        plain = module._base
        found["torch F.embedding"] = lambda ids: functional.embedding(torch.from_numpy(ids), plain)
    if kind == "int8":
        found |= torch_quantized(base)
    return found


def torch_quantized(base: Any) -> dict[str, Callable[[np.ndarray], Any]]:
    """torch's own embedding of eight bits, with a scale and an offset for each row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is on its way out of torch
        packed = torch.ops.quantized.embedding_bag_byte_prepack(
            torch.from_numpy(base.rows(slice(0, ROWS)))
        )
    offsets = torch.arange(BATCH)

    def look_up(ids: np.ndarray) -> Any:
        return torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
            packed, torch.from_numpy(ids), offsets, False, 0, False, None, None, False
        )

    return {"torch quantized::embedding_bag_byte": look_up}


def lookups() -> list[Row]:
    """Milliseconds for 4,096 random rows; ways of one base are measured in turn."""
    rng, rows = np.random.default_rng(1), []
    batches = [rng.integers(0, ROWS, BATCH) for _ in range(BATCHES)]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for kind, where, base in bases(Path(folder)):
            seconds: dict[str, list[float]] = defaultdict(list)
            found = ways(kind, base)
            following = itertools.cycle(batches)
            for turn in range(ROUNDS + 3):
                for name, look_up in found.items():
                    ids = next(following)
                    start = time.perf_counter()
                    look_up(ids)
                    if turn >= 3:
                        seconds[name].append(time.perf_counter() - start)
            least = min(median(times) for name, times in seconds.items() if "floor" in name)
            size = f"{base.nbytes / 1e6:.0f} MB"
            rows += [
                [kind, where, size, name, spread(times, digits=3), f"{median(times) / least:.2f} x"]
                for name, times in seconds.items()
            ]
    return rows


LOOKUPS = ["base", "in", "size", "what", "ms: median (lowest - highest)", "over the floor"]


# --- quality ---------------------------------------------------------------------------------


def quality() -> list[Row]:
    """What fewer bits do to GloVe 50d: cosines of rows with themselves, and the size of files."""
    matrix, rows = np.asarray(rowtune.load("glove-6b-50d").matrix, np.float32), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.safetensors")
        for kind in KINDS:
            table = matrix if kind == "float32" else rowtune.quantize(matrix, kind)
            rowtune.save_table(path, table)
            back = (table if kind == "float32" else table.rows(slice(None))).astype(np.float64)
            norms = np.linalg.norm(back, axis=1) * np.linalg.norm(matrix.astype(float), axis=1)
            cosines = (back * matrix).sum(axis=1) / norms
            off = np.abs(back - matrix).max()
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            rows.append([kind, size, f"{cosines.mean():.7f}", f"{cosines.min():.7f}", f"{off:.2g}"])
    return rows


QUALITY = ["kept as", "file", "cosine: mean", "lowest of 400,000", "largest difference"]


def main() -> None:
    about = machine("rowtune", "numpy", "numba", "torch")
    publish("bases_opening", "20 GB: open, 1,000 rows train, 4,096 looked up, one step of Adam",
            OPENING, opening(), "In a process that has compiled the same on a file of 1.3 GB; the "
            "peak counts pages of the file, which were not in memory before. " + about)  # fmt: skip
    publish("bases_lookup", f"{BATCH:,} random rows of {ROWS:,} x {WIDTH}", LOOKUPS, lookups(),
            f"{get_num_threads()} threads; files are in the system's cache. " + about)  # fmt: skip
    publish("bases_quality", "GloVe 6B 50d in fewer bits", QUALITY, quality(), about)


if __name__ == "__main__":
    main()
