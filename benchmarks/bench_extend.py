"""How well, how fast and in how much memory `rowtune.learn.extend` learns new rows for GloVe.

Run it as ``python benchmarks/bench_extend.py [CORPUS ...]``; it prints a table and writes
``benchmarks/results/extend.md``. Without arguments the corpus is the documentation strings and
comments of packages that are installed beside Rowtune, up to about six million words.

All methods are scored in the same run over the same known words, which were hidden and learned
again (pretend-OOV): cosine with the row the word really has, median rank of that row among all rows
of the table, and the share of its 10 nearest neighbours that the learned row has too. Time and peak
memory are of the whole process: loading, reading, choosing, scoring, the final fit, neighbours and
the freeze proof.
"""

from __future__ import annotations

import argparse
import io
import resource
import sys
import sysconfig
import tempfile
import time
import tokenize
from collections.abc import Iterator
from pathlib import Path

from measured import machine, publish

from rowtune.learn import Extension, extend
from rowtune.vectors import load

WORDS = 6_000_000


def comments_and_docstrings(path: Path) -> Iterator[str]:
    """Text of a Python file: its comments, and its strings that run over several lines."""
    try:
        source = path.read_text("utf-8")
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token.string.lstrip("#! ")
            elif token.type == tokenize.STRING and "\n" in token.string:
                yield token.string.strip("\"'rRbBuUfF")
    except (OSError, ValueError, SyntaxError, tokenize.TokenError):
        return


def installed_documentation(target: Path) -> None:
    """Write the corpus; packages in alphabetical order, their tests left out."""
    left = WORDS
    with target.open("w", encoding="utf-8") as file:
        for path in sorted(Path(sysconfig.get_path("purelib")).rglob("*.py")):
            if "test" in str(path).lower():
                continue
            text = "\n".join(comments_and_docstrings(path))
            file.write(text + "\n\n")
            left -= len(text.split())
            if left <= 0:
                return


def scores(result: Extension) -> Iterator[tuple[str, str, str, str]]:
    for method, score in result.pretend_oov.items():
        yield (
            method,
            f"{score.cosine:.3f}",
            f"{score.median_rank:,.0f}",
            f"{score.overlap10:.3f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure rowtune.learn.extend on GloVe 6B 50d.")
    parser.add_argument("corpus", nargs="*", help="files, folders, globs or python-docs")
    given = parser.parse_args().corpus
    with tempfile.TemporaryDirectory() as folder:
        if not given:
            print("collecting the documentation of installed packages ...", file=sys.stderr)
            installed_documentation(Path(folder, "installed.txt"))
        begin = time.perf_counter()
        vectors = load("glove-6b-50d")
        result = extend(vectors, given or [str(Path(folder, "installed.txt"))])
        seconds = time.perf_counter() - begin
    # The collecting is part of the peak too, but needs far less than the learning.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

    low, high = result.settings["held-out counts"]
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in result.seconds.items())
    where = "the installed packages' documentation" if not given else "the corpus given"
    publish(
        "extend",
        "Pretend-OOV: known words hidden and learned again",
        ["method", "cosine", f"median rank of {len(vectors):,}", "overlap at 10"],
        [list(row) for row in scores(result)],
        f"{where}: {result.coverage.tokens:,} words, {len(result.new_words):,} rows learned; "
        f"{result.settings['held-out words']:,} known words hidden, seen {low} to {high} times. "
        f"Frozen rows identical: {result.frozen.identical}. "
        f"{seconds:.1f} s with loading ({stages}), peak memory {peak:.2f} GB (at most 180 s and "
        "3 GB wanted). " + machine("rowtune", "numpy", "numba"),
    )


if __name__ == "__main__":
    main()
