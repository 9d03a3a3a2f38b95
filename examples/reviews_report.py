"""What the review examples print: the progress bar, the tables, and who won."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rated_sentences import Sentence
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from reviews_split import Split

    import rowtune

console = Console()


@dataclass(frozen=True)
class Result:
    """One method on the test sentences of one split."""

    method: str
    trained_rows: int
    right: np.ndarray  # of every test sentence
    has_oov: np.ndarray  # the test sentences with a word that has a row but is not in GloVe
    seconds: float  # per epoch

    @property
    def accuracy(self) -> float:
        return 100 * float(self.right.mean())

    @property
    def accuracy_with_oov(self) -> float:
        return 100 * float(self.right[self.has_oov].mean())


@contextlib.contextmanager
def progress(what: str, steps: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr, where somebody looks at it; yields what to call after each step."""
    err = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        task = bars.add_task(what, total=steps)
        yield lambda: bars.advance(task)


def show_data(name: str, sentences: Sequence[Sentence], split: Split) -> None:
    positive = 100 * float(np.mean([s.positive for s in sentences]))
    console.rule(f"[bold]{name}")
    console.print(
        f"{len(sentences):,} sentences, {positive:.1f} % of them positive. In the first split, "
        f"{len(split.oov):,} of {len(split.words) - 1:,} words are not in GloVe and get a row; "
        f"{split.has_oov[split.training].sum():,} of {len(split.training):,} training sentences "
        f"have one of them, and {split.has_oov[split.test].sum():,} of {len(split.test):,} "
        "test sentences.",
        highlight=False,
    )


def show_results(results: Sequence[Sequence[Result]], ours: str) -> None:
    """One line per method, mean and standard deviation over the splits; then the verdict."""
    by_method = {runs[0].method: runs for runs in zip(*results, strict=True)}
    accuracy = {name: np.array([r.accuracy for r in runs]) for name, runs in by_method.items()}
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in (
        "rows\ntrained",
        "test\nright, %",
        "of these, with\nOOV words, %",
        "s per\nepoch",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, runs in by_method.items():
        table.add_row(
            name,
            f"{runs[0].trained_rows:,}",
            spread(accuracy[name]),
            spread([r.accuracy_with_oov for r in runs]),
            f"{np.mean([r.seconds for r in runs]):.2f}",
            style="bold" if name == ours else "",
        )
    console.print(table)
    console.print(verdict(accuracy, ours), highlight=False)


def verdict(accuracy: dict[str, np.ndarray], ours: str) -> str:
    """Who wins, and how ours differs from each of the others.

    Differences are taken within each split, so one that is hard for all methods does not blur them.
    """
    best, second = sorted(accuracy, key=lambda name: -accuracy[name].mean())[:2]
    gap = accuracy[best] - accuracy[second]
    lines = [f"Highest: {best}, {spread(gap)} points above {second} ({judged(gap)})."]
    for name, theirs in accuracy.items():
        if name != ours:
            gap = accuracy[ours] - theirs
            lines.append(f"  ours minus {name}: {spread(gap, '+.1f')} ({judged(gap)})")
    return "\n".join(lines)


def judged(gap: np.ndarray) -> str:
    """Whether a difference says anything: its mean beside its standard deviation over splits."""
    if len(gap) == 1:
        return "one split, so nothing is known of the spread"
    return "within the spread" if abs(gap.mean()) <= gap.std(ddof=1) else "beyond the spread"


def spread(values: Sequence[float] | np.ndarray, form: str = ".1f") -> str:
    mean = format(float(np.mean(values)), form)
    return f"{mean} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else mean


def show_learned(
    rows: np.ndarray,
    alone: np.ndarray,
    split: Split,
    sentences: Sequence[Sentence],
    vectors: rowtune.Vectors,
) -> None:
    """The trained rows of the most frequent words that GloVe lacks, whatever they show.

    ``rows`` (words, D) and ``alone`` (words,), the logits of sentences of one such word, are in the
    order of ``split.frequent_oov``.
    """
    unit = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True).clip(1e-9)
    console.print(
        "\nThe most frequent words that GloVe lacks, and what ours made of them (first split):"
    )
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("", "training\nsentences", "of these\npositive", "alone, read\nas positive"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    table.add_column("nearest rows of GloVe")
    for i, row, logit in zip(split.frequent_oov(sentences), rows, alone, strict=True):
        word = split.words[i]
        labels = [sentences[j].positive for j in split.training if word in sentences[j].tokens]
        near = np.argsort(-(unit @ row))[:5]
        table.add_row(
            word,
            f"{len(labels)}",
            f"{np.mean(labels):.0%}",
            f"{1 / (1 + np.exp(-logit)):.0%}",
            ", ".join(vectors.words[k] for k in near.tolist()),
        )
    console.print(table)
