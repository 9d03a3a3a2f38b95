"""`rowtune eval`: how good vectors are, by what people say, by analogies, and by pretend-OOV."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rowtune.cli.inputs import refuse_to_overwrite
from rowtune.cli.output import check_folder_of, console_beside, write_json
from rowtune.cli.progress import Report, progress_bars
from rowtune.errors import FormatError
from rowtune.report.readable import readable

if TYPE_CHECKING:
    from rowtune.evaluate import AnalogyScores, Pairs, Questions, SimilarityScores
    from rowtune.learn import Extension


@dataclass
class Evaluation:
    """All that was found; the tables of a file of pairs or questions are side by side in it."""

    tables: list[str]
    pairs: list[SimilarityScores] = field(default_factory=list)
    analogies: list[AnalogyScores] = field(default_factory=list)
    pretend_oov: list[tuple[str, Extension]] = field(default_factory=list)


def eval_(
    vectors: Annotated[
        list[str], typer.Argument(help="Word vectors, one or more: files, or glove-6b-50d.")
    ],
    pairs: Annotated[
        list[str] | None,
        typer.Option(help="Pairs that people scored: a file, wordsim353 or simlex999."),
    ] = None,
    analogies: Annotated[
        list[str] | None, typer.Option(help="Questions a b c d: a file, or questions-words.")
    ] = None,
    pretend_oov: Annotated[
        list[str] | None,
        typer.Option(help="Hide known words and learn them from this text, as extend would."),
    ] = None,
    among: Annotated[
        int | None, typer.Option(min=1, help="Analogies: know the first so many rows only.")
    ] = None,
    min_count: Annotated[
        int, typer.Option(min=1, help="Pretend-OOV: as in extend, words seen so often.")
    ] = 5,
    json: Annotated[
        str | None, typer.Option("--json", help="Write the result here as JSON; - for stdout.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is drawn at random.")] = 0,
) -> None:
    """Measure vectors: against people's scores of pairs, by analogies, by words hidden from them.

    Each of --pairs, --analogies and --pretend-oov may come several times. What a table lacks is
    left out and counted. Of two tables or more each is scored on its own, and over what all know,
    with the difference from the first: did extend harm anything? Names stand for files that an
    installed gensim has. A word that is missing as written is looked up in lower case, then
    Capitalized, UPPER and Title Case.

    [bold]Examples[/bold]

        rowtune eval glove-6b-50d --pairs wordsim353 --pairs simlex999

        rowtune eval before.vec after.vec --pairs pairs.tsv --analogies questions-words.txt

        rowtune eval glove-6b-50d --analogies questions-words --among 30000 --json scores.json

        rowtune eval vectors.bin --pretend-oov notes/
    """
    from rowtune.cli.eval_tables import print_evaluation  # noqa: PLC0415 - `--help` stays fast
    from rowtune.evaluate import read_pairs, read_questions  # noqa: PLC0415

    pairs, analogies, corpus = pairs or [], analogies or [], pretend_oov or []
    _check(vectors, pairs, analogies, corpus, among)
    check_folder_of(json)
    refuse_to_overwrite([json], [*vectors, *pairs, *analogies, *corpus])
    data = [read_pairs(name) for name in pairs], [read_questions(name) for name in analogies]
    with progress_bars() as progress:
        found = _evaluate(vectors, *data, corpus, among, min_count, seed, progress)
    if json is not None:
        write_json(_as_json(found), json)
    print_evaluation(found, console_beside(json))


def _check(
    vectors: list[str], pairs: list[str], analogies: list[str], corpus: list[str], among: int | None
) -> None:
    if not pairs and not analogies and not corpus:
        raise FormatError(
            "nothing to evaluate by; add --pairs, --analogies or --pretend-oov, as in: rowtune "
            f"eval {vectors[0]} --pairs wordsim353"
        )
    if among is not None and not analogies:
        raise FormatError("--among is about --analogies, which are not there; add them or leave it")
    if corpus.count("-") > 1 or ("-" in corpus and len(vectors) > 1):
        raise FormatError("standard input can be read once; save the text to a file and name that")
    if corpus:
        from rowtune.learn.corpus import Corpus  # noqa: PLC0415

        Corpus(corpus)  # a missing file is refused now, not after the work


def _evaluate(
    names: list[str],
    pairs: list[Pairs],
    analogies: list[Questions],
    corpus: list[str],
    among: int | None,
    min_count: int,
    seed: int,
    progress: Report,
) -> Evaluation:
    """One table at a time is in memory; what it answered stays."""
    from rowtune import learn  # noqa: PLC0415
    from rowtune.evaluate import (  # noqa: PLC0415
        answer,
        compare_answers,
        compare_cosines,
        cosines_of,
    )
    from rowtune.vectors import load  # noqa: PLC0415

    found = Evaluation(names)
    cosines, answers = [], []
    for name in names:
        table = load(name, progress=progress)
        cosines.append([cosines_of(table, each, name) for each in pairs])
        answers.append(
            [answer(table, each, name, among=among, progress=progress) for each in analogies]
        )
        if corpus:
            result = learn.extend(table, corpus, min_count=min_count, seed=seed, progress=progress)
            found.pretend_oov.append((name, result))
    for i, each in enumerate(pairs):
        own = [row[i] for row in cosines]
        found.pairs.append(compare_cosines(each, own, seed, progress))
    for i, question in enumerate(analogies):
        found.analogies.append(compare_answers(question, [row[i] for row in answers], seed))
    return found


def _as_json(found: Evaluation) -> dict[str, Any]:
    whole = {
        "tables": found.tables,
        "pairs": [asdict(each) for each in found.pairs],
        "analogies": [asdict(each) for each in found.analogies],
        "pretend_oov": [
            {
                "table": name,
                "held_out": len(result.held_out),
                "scores": {method: asdict(score) for method, score in result.pretend_oov.items()},
                "parts": [asdict(part) for part in result.parts],
                "settings": result.settings,
                "notes": result.notes,
            }
            for name, result in found.pretend_oov
        ],
    }
    plain: dict[str, Any] = _plain(whole)
    return plain


def _plain(value: Any) -> Any:
    """The same in what JSON has: words as text that any file takes, no NaN, no NumPy."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int)) else readable(str(value))
