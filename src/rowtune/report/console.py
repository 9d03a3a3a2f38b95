"""The outcome of an extension for a terminal: the verdict first, then what it rests on."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rowtune.learn.result import Extension, NewWord, PartScore
from rowtune.report.readable import method_name, plural, rank_text, readable
from rowtune.report.verdict import OURS, best_methods, ranked_words, scores_sentence, why

EVERY, FORM, CONTEXTS = "all", "spelling", "contexts only"


def print_extension(extension: Extension, console: Console, *, examples: int = 10) -> None:
    """Print verdict, scores, coverage and the most frequent truly new words.

    Parameters
    ----------
    extension : Extension
        What `rowtune.learn.extend` returned.
    console : rich.console.Console
        Where to print; it decides on colour and width.
    examples : int
        New words to show.
    """
    _verdict(extension, console)
    if extension.pretend_oov:
        console.print(Padding(scores_sentence(extension), (1, 0, 0, 0)), highlight=False)
        console.print(score_table(extension))
        if extension.parts:
            console.print(Padding(part_table(extension), (1, 0, 0, 0)))
    console.print(Padding(_coverage(extension), (1, 0)))
    if extension.new_words:
        console.print(_examples(extension, examples))
    for note in extension.notes:
        console.print(Text(f"Note: {readable(note)}", style="yellow"))


def _verdict(extension: Extension, console: Console) -> None:
    proof = extension.frozen
    console.print(Text(f"{plural(len(extension.new_words), 'new word')} learned.", style="bold"))
    if proof.identical:
        console.print(
            Text(
                f"All {plural(proof.rows, 'old row')} are the same, bit for bit.",
                style="bold green",
            )
        )
        console.print(
            Text(f"SHA-256 before and after: {proof.sha256_before}", style="dim"), soft_wrap=True
        )
    else:
        console.print(
            Text(f"THE {proof.rows:,} OLD ROWS CHANGED: do not use this result.", style="bold red")
        )
        console.print(Text(f"SHA-256 before: {proof.sha256_before}", style="red"), soft_wrap=True)
        console.print(Text(f"SHA-256 after:  {proof.sha256_after}", style="red"), soft_wrap=True)


def score_table(extension: Extension) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("method")
    for head in ("cosine", "median rank", "overlap at 10"):
        table.add_column(head, justify="right")
    spread = {part.method: part for part in extension.parts if part.part == EVERY}
    if spread:
        table.add_column("95 % of resamples: cosine, median rank", style="dim")
    best = best_methods(extension)
    for method, score in sorted(extension.pretend_oov.items(), key=lambda pair: -pair[1].cosine):
        cells = (f"{score.cosine:.3f}", rank_text(score.median_rank), f"{score.overlap10:.1%}")
        marked = [
            Text(cell, style="bold" if method in best[measure] else "")
            for cell, measure in zip(cells, best, strict=True)
        ]
        name = Text(method_name(method), style="bold cyan" if method == OURS else "")
        table.add_row(name, *marked, *([_range(spread[method])] if method in spread else []))
    return table


def _range(part: PartScore) -> str:
    low, high = part.rank_interval
    ranks = f"{rank_text(low)} to {rank_text(high)}"
    return "{:.3f} to {:.3f}, ".format(*part.cosine_interval) + ranks


def part_table(extension: Extension) -> Table:
    """Cosine and median rank by part of the hidden words: from form, from contexts, from both."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("hidden words")
    table.add_column("number", justify="right")
    shown = [name for name in (FORM, CONTEXTS, OURS) if name in extension.pretend_oov]
    for method in shown:
        table.add_column(f"{method_name(method)} (95 %)", justify="right")
    at = {(part.part, part.method): part for part in extension.parts}
    for name in dict.fromkeys(part.part for part in extension.parts):
        cells = [_cell(at[name, method]) for method in shown]
        table.add_row(name, f"{at[name, shown[0]].words:,}", *cells)
    return table


def _cell(part: PartScore) -> str:
    low, high = part.cosine_interval
    rank = rank_text(part.score.median_rank)
    return f"{part.score.cosine:.3f} ({low:.3f} to {high:.3f}), {rank}"


def _coverage(extension: Extension) -> Table:
    cover = extension.coverage
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("coverage")
    for head in ("before", "after", "of"):
        table.add_column(head, justify="right")
    for name, before, after, whole in (
        ("occurrences", cover.tokens_before, cover.tokens_after, cover.tokens),
        ("distinct words", cover.types_before, cover.types_after, cover.types),
    ):
        share = [f"{part / max(whole, 1):.1%}" for part in (before, after)]
        table.add_row(name, *share, f"{whole:,}")
    return table


def _examples(extension: Extension, most: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("new word", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("seen", justify="right")
    table.add_column("why it was lacking", no_wrap=True)
    table.add_column("nearest known words")
    for word in (extension.new_words[i] for i in ranked_words(extension)[:most]):
        table.add_row(
            Text(readable(word.word), style="bold"), f"{word.count:,}", Text(why(word)), _near(word)
        )
    return table


def _near(word: NewWord) -> Text:
    near = Text(overflow="fold")
    for i, (name, cosine) in enumerate(word.neighbours[:4]):
        near.append(", " if i else "")
        near.append(readable(name))
        near.append(f" {cosine:.2f}", style="dim")
    return near
