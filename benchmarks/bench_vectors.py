"""How well new rows are learned, and how fast skip-gram runs, beside gensim in the same run.

Run it as ``python benchmarks/bench_vectors.py [--words N] [CORPUS ...]``; it prints tables and
writes ``benchmarks/results/vectors.md``. Without arguments there are two corpora, of documentation
of installed Python packages and of the system's manual pages, each up to N words.

Quality is pretend-OOV: all methods give rows to the same known words, which were hidden. gensim's
space is trained on the same tokens and turned onto the table by orthogonal Procrustes over all
other known words that are in both. Intervals: 95 %, 1,000 resamples by word.

Speed is words of the text per second, before any thinning, with the same window, negatives and
thinning for both; rounds take turns. gensim's figure is for both sides of the model. Ours are for
the context matrix alone, for the rows alone, and for both sides in turn.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measured import RESULTS, machine, publish, spread

import bench_extend
from rowtune.kernels.threads import get_num_threads
from rowtune.learn import Extension, extend
from rowtune.learn.corpus import Corpus
from rowtune.learn.intervals import EVERY, NO_RELATIVES, part_scores
from rowtune.learn.judge import ALIGNED
from rowtune.learn.nearest import unit, usable
from rowtune.learn.pretend import compare
from rowtune.learn.skipgram import SkipGram
from rowtune.learn.space import rotated
from rowtune.learn.survey import Survey, survey
from rowtune.vectors import Vectors, load

ROUNDS, LINE = 3, 1000  # gensim cuts longer sentences itself
GENSIM = "gensim + Procrustes"
WAYS = "blend", "kernels"  # what was tried for the new rows; the winner is shown as rowtune
SHOWN = ("random", "a la carte", "spelling", "contexts only", "skip-gram", ALIGNED, GENSIM)


def manual_pages(target: Path, words: int) -> None:
    """Write the system's manual pages in English as plain text, up to so many words."""
    with target.open("w", encoding="utf-8") as file:
        for path in sorted(Path("/usr/share/man").glob("man*/*")):
            if path.is_symlink() or not path.is_file() or words <= 0:
                continue
            opened: Any = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rb") as page:
                text = _plain(page.read().decode("utf-8", "replace"))
            file.write(text + "\n\n")
            words -= len(text.split())


def _plain(page: str) -> str:
    page = re.sub(r"(?m)^[.'](?!SH|SS|BI?R?|IR?|RB|RI|IB|IP|TP|Sh|Nm|Fl|Ar|Xr|Nd).*$", "", page)
    page = re.sub(r"(?m)^[.']\w+ ?", "", page).replace("\\-", "-").replace('"', "")
    page = re.sub(r"\\f(\[\w*\]|\(..|.)", "", page)
    return re.sub(r"\\[*]?(\(..|\[[^\]]*\]|s[-+]?\d+|.)", " ", page)


def sentences(found: Survey) -> list[list[str]]:
    """The settled tokens as gensim wants them."""
    cuts = np.flatnonzero(found.stream < 0)
    names = found.types
    return [
        [names[i] for i in part[begin : begin + LINE].tolist() if i >= 0]
        for part in np.split(np.asarray(found.stream), cuts)
        for begin in range(0, len(part), LINE)
    ]


def gensim_model(dim: int, epochs: int) -> Any:
    from gensim.models import Word2Vec

    same = {"window": 5, "negative": 5, "sg": 1, "min_count": 5, "workers": get_num_threads()}
    return Word2Vec(vector_size=dim, epochs=epochs, seed=1, **same)


def with_gensim(
    vectors: Vectors, found: Survey, text: list[list[str]], ours: Extension
) -> Extension:
    """The scores of ``ours`` with those of gensim's space beside them."""
    model = gensim_model(vectors.dim, epochs=5)
    model.build_vocab(text)
    model.train(text, total_examples=model.corpus_count, epochs=model.epochs)
    table = unit(usable(vectors.matrix))
    number = {word: i for i, word in enumerate(found.types)}
    hidden = [word.word for word in ours.held_out]
    shared = [w for i in found.known if (w := found.types[i]) not in set(hidden)]
    space = np.array([model.wv[word] for word in [*shared, *hidden]])
    target = table[[found.row[number[word]] for word in shared]]
    rows = rotated(space, slice(0, len(shared)), target)[len(shared) :]
    true = np.array([found.row[number[word]] for word in hidden])
    counts = np.array([word.count for word in ours.held_out])
    scores, judged = compare(table, true, {GENSIM: rows}, hidden, counts)
    held_out = tuple(
        dataclasses.replace(
            word,
            cosine=word.cosine | other.cosine,
            rank=word.rank | other.rank,
            overlap=word.overlap | other.overlap,
        )
        for word, other in zip(ours.held_out, judged, strict=True)
    )
    return dataclasses.replace(
        ours,
        pretend_oov=ours.pretend_oov | scores,
        held_out=held_out,
        parts=part_scores(held_out, seed=0),
    )


def quality(name: str, result: Extension) -> Iterator[list[str]]:
    at = {(part.part, part.method): part for part in result.parts}
    methods = [m for m in result.pretend_oov if m in SHOWN or m.startswith(WAYS)]
    for method in [*methods, "rowtune"]:
        cells = [name, f"rowtune ({result.settings['inputs']})" if method == "rowtune" else method]
        for part in (EVERY, NO_RELATIVES):
            found = at.get((part, method))
            cells += ["-", "-"] if found is None else [
                "{:.3f} ({:.3f} - {:.3f})".format(found.score.cosine, *found.cosine_interval),
                "{:,.0f} ({:,.0f} - {:,.0f})".format(found.score.median_rank, *found.rank_interval),
            ]  # fmt: skip
        yield cells


def speed(vectors: Vectors, found: Survey, text: list[list[str]]) -> list[list[str]]:
    words = int(found.counts.sum())
    table = unit(usable(vectors.matrix[found.row[found.known]]))
    model = SkipGram(found.stream, found.counts)
    rival = gensim_model(vectors.dim, epochs=1)
    rival.build_vocab(text)
    contexts = model.fit_contexts(found.known, table)  # compiles; the next lines do as well
    small = SkipGram(found.stream[:5000], found.counts)
    small.train(found.known, vectors.dim, 1)
    ways = {
        "gensim Word2Vec, both sides": lambda: rival.train(
            text, total_examples=rival.corpus_count, epochs=1
        ),
        "rowtune, contexts (rows frozen)": lambda: model.fit_contexts(found.known, table),
        "rowtune, rows (contexts frozen)": lambda: model.fit_rows(
            contexts, found.known, vectors.dim
        ),
        "rowtune, both sides in turn": lambda: model.train(found.known, vectors.dim, 1),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, run in ways.items():
            begin = time.perf_counter()
            run()
            seconds[way].append(time.perf_counter() - begin)
    rival_seconds = np.median(seconds["gensim Word2Vec, both sides"])
    return [
        [way, spread(taken, 1, 2), f"{words / np.median(taken):,.0f}",
         f"{rival_seconds / np.median(taken):.2f}"]
        for way, taken in seconds.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how new rows are learned for GloVe 50d.")
    parser.add_argument("corpus", nargs="*", help="files, folders, globs or python-docs")
    parser.add_argument("--words", type=int, default=6_000_000, help="of each corpus made here")
    given = parser.parse_args()
    vectors, rows, notes = load("glove-6b-50d"), [], []
    with tempfile.TemporaryDirectory() as folder:
        corpora = {name: name for name in given.corpus}
        if not corpora:
            corpora = {n: str(Path(folder, f"{n}.txt")) for n in ("packages", "manuals")}
            bench_extend.WORDS = given.words
            bench_extend.installed_documentation(Path(corpora["packages"]))
            manual_pages(Path(corpora["manuals"]), given.words)
        for name, source in corpora.items():
            begin = time.perf_counter()
            result = extend(vectors, [source])
            taken = time.perf_counter() - begin
            found = survey(vectors, Corpus([source]).documents(), 5, None)
            text = sentences(found)
            rows += list(quality(name, with_gensim(vectors, found, text, result)))
            notes.append(
                f"{name}: {result.coverage.tokens:,} words, {len(result.held_out):,} hidden words, "
                f"{taken:.0f} s, of them skip-gram {result.seconds['skip-gram']:.0f}."
            )
        speeds = speed(vectors, found, text)
    wanted = "cosine", f"median rank of {len(vectors):,}"
    heads = ["corpus", "method", *wanted, *(f"{head}, no close relative" for head in wanted)]
    publish("vectors", "Known words hidden and learned again", heads, rows, " ".join(notes))
    quality_page = (RESULTS / "vectors.md").read_text()
    publish(
        "vectors", "Skip-gram: words of the text per second",
        ["way", f"seconds, {ROUNDS} rounds", "words/s", "times gensim"], speeds,
        f"50 columns, window 5, 5 negatives, {get_num_threads()} threads, corpus {name}. "
        + machine("rowtune", "numpy", "numba", "gensim"),
    )  # fmt: skip
    speed_page = (RESULTS / "vectors.md").read_text()
    (RESULTS / "vectors.md").write_text(f"{quality_page}\n#{speed_page}")


if __name__ == "__main__":
    main()
