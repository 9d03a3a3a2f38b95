"""Keras: Adam on whole tables and row by row, on three backends; masks over tables.

``bench_keras.py`` starts `keras_steps.py` once for each backend and `keras_masked.py` once for each
way, one process after the other, and writes two tables.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from measured import machine, median, publish, spread

from keras_masked import MASK, ROWS, TRAINABLE
from keras_masked import OURS as LAYER
from keras_masked import WIDTH as DIM
from keras_steps import IDS, KERAS, LARGE, OURS, SMALL, TAPE, WIDTH

BACKENDS = ("tensorflow", "jax", "torch")
WANTED = {("tensorflow", SMALL): 10, ("tensorflow", LARGE): 200, ("jax", SMALL): 20}
FLAT = 1.5


def run(program: str, argument: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / program, argument],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def steps() -> None:
    table, said = [], []
    for backend in BACKENDS:
        seconds = run("keras_steps.py", backend)["seconds"]
        for rows in (SMALL, LARGE):
            for name, times in seconds[str(rows)].items():
                ratio = median(seconds[str(rows)][KERAS]) / median(times)
                flat = median(times) / median(seconds[str(SMALL)][name])
                table.append(
                    [backend, f"{rows:,}", name, spread(times), f"{ratio:.1f} x", f"{flat:.2f} x"]
                )
        said.append(_verdict(backend, seconds))
    publish(
        "keras_steps",
        f"Adam in Keras: a whole training step, {WIDTH} columns, {IDS} ids, float32, CPU",
        [
            "backend",
            "rows",
            "way",
            "ms: median (lowest - highest)",
            "Keras over it",
            "over 200,000",
        ],
        table,
        "; ".join(said)
        + ". All rows train; ids drawn evenly; after each step of Keras's many of each of the "
        "others in a row, all of them timed. " + machine("keras", "tensorflow-cpu", "jax", "torch"),
    )


def _verdict(backend: str, seconds: dict[str, dict[str, list[float]]]) -> str:
    parts = []
    for rows in (SMALL, LARGE):
        of = seconds[str(rows)]
        ratio, want = median(of[KERAS]) / median(of[OURS]), WANTED.get((backend, rows))
        reached = "" if want is None else f" (at least {want} wanted: {_word(ratio >= want)})"
        parts.append(f"{ratio:.1f} x at {rows:,} rows{reached}")
    flat = median(seconds[str(LARGE)][OURS]) / median(seconds[str(SMALL)][OURS])
    parts.append(f"{flat:.2f} x its own time there (at most {FLAT} wanted: {_word(flat <= FLAT)})")
    if backend == "tensorflow":
        tape = median(seconds[str(SMALL)][TAPE]) * 1e3
        parts.append(f"by tape {tape:.2f} ms (below 1 wanted: {_word(tape < 1)})")
    return f"{backend}: " + ", ".join(parts)


def _word(reached: bool) -> str:
    return "reached" if reached else "missed"


def masked() -> None:
    found = {way: run("keras_masked.py", way) for way in (MASK, LAYER)}
    times, peaks = ({w: f[key] for w, f in found.items()} for key in ("seconds", "bytes"))
    publish(
        "keras_masked",
        f"A part of a table, Keras on TensorFlow: {ROWS:,} x {DIM}, {TRAINABLE:,} rows train, Adam",
        ["way", "ms a step: median (lowest - highest)", "s to make it", "MB at the peak"],
        [
            [w, spread(f["seconds"]), f"{f['made']:.2f}", f"{f['bytes'] / 1e6:,.0f}"]
            for w, f in found.items()
        ],
        f"The mask takes {median(times[MASK]) / median(times[LAYER]):.1f} x as long as the layer "
        f"that knows its rows, and {peaks[MASK] / max(peaks[LAYER], 1):.1f} x its memory. The "
        "matrix that both are given is taken off, and so is TensorFlow itself. "
        + machine("keras", "tensorflow-cpu"),
    )


if __name__ == "__main__":
    masked()
    steps()
