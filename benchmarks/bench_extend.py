"""How well, how fast and in how much memory `rowtune.learn.extend` learns new rows for GloVe.

Run it as ``python benchmarks/bench_extend.py [CORPUS ...]``; it prints two tables and writes
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
import os
import platform
import resource
import sys
import sysconfig
import tempfile
import time
import tokenize
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rowtune.learn import Extension, extend
from rowtune.vectors import load

RESULTS = Path(__file__).parent / "results" / "extend.md"
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


def table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    shown = Table(*columns, title=title)
    for row in rows:
        shown.add_row(*row)
    return shown


def markdown(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


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

    quality = ("method", "cosine", f"median rank of {len(vectors):,}", "overlap at 10")
    stages = [(stage, f"{value:.1f}") for stage, value in result.seconds.items()]
    stages += [("all, with loading", f"{seconds:.1f}"), ("peak memory", f"{peak:.2f} GB")]
    low, high = result.settings["held-out counts"]
    facts = (
        f"{result.coverage.tokens:,} words of corpus, {len(result.new_words):,} rows learned; "
        f"{result.settings['held-out words']:,} known words hidden, seen {low} to {high} times. "
        f"Frozen rows identical: {result.frozen.identical}."
    )
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"NumPy {version('numpy')}, numba {version('numba')}."
    )
    console = Console()
    console.print(table("Pretend-OOV", quality, list(scores(result))))
    console.print(table("Seconds", ("stage", "seconds"), stages))
    console.print(facts, machine, sep="\n")
    where = "the installed packages' documentation" if not given else "the corpus given"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        f"# Learning rows for new words\n\n`benchmarks/bench_extend.py`, on {where}. {facts}\n\n"
        f"{markdown(quality, list(scores(result)))}\n\n{markdown(('stage', 'seconds'), stages)}"
        f"\n\n{machine}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
