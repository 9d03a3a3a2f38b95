"""The study of rare rows in words: every sentence is chosen by the figures it tells."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from measured import machine, median, publish, spread
from scipy.stats import t as students

from rare_rows_data import BANDS, WIDTH, Task, band_of

OVERALL = (*BANDS, "all")
# Each method beside the one that it is held against.
AGAINST = {
    "SparseAdam, lazy": "Adam, dense",
    "Adam, lazy, per-row counts": "Adam, dense",
    "Adam, catch-up": "Adam, dense",
    "AdamW, dense": "Adam, dense",
    "AdamW, lazy, per-row counts": "AdamW, dense",
    "AdamW, catch-up": "AdamW, dense",
}
LAZY = [method for method in AGAINST if "lazy" in method]
SAME = [method for method in AGAINST if "catch-up" in method]
SCALES = {
    "movielens": "root mean square error of a test rating by its film",
    "sentences": "log loss of a test sentence by its rarest word",
}
TEST_OVER_TRAINING = 1 / 8
EPOCHS = 30  # at most
PRINTED = 5e-5  # less is 0 in the table


@dataclass(frozen=True)
class Scored:
    """One method on one split: by band and in all."""

    loss: dict[str, float]
    examples: dict[str, int]
    moved: dict[str, float]  # mean distance of a band's rows from where they started
    accuracy: float | None
    lr: float
    decay: float
    epochs: int


@dataclass(frozen=True)
class Study:
    """One task (of the first split): results by method and split, seconds of epochs."""

    task: Task
    scored: dict[str, list[Scored]]
    seconds: dict[str, list[float]]
    difference: float  # of catch-up to dense, in float64

    def losses(self, method: str, band: str) -> list[float]:
        return [result.loss[band] for result in self.scored[method]]

    def mean(self, method: str, of: Callable[[Scored], float]) -> float:
        return statistics.mean(map(of, self.scored[method]))


@dataclass
class Paired:
    """Differences split by split, less is better.

    Splits share most of their training examples. The variance of their mean is therefore taken as
    (1/n + test/training) of theirs, not 1/n (Nadeau and Bengio, Machine Learning 52, 2003).
    """

    differences: list[float]

    def __post_init__(self) -> None:
        n, self.mean = len(self.differences), statistics.mean(self.differences)
        self.sd = statistics.stdev(self.differences)
        bound = students.ppf(0.975, n - 1) * self.sd * math.sqrt(1 / n + TEST_OVER_TRAINING)
        self.bound = max(bound, PRINTED)
        clear = "better" if self.mean < 0 else "worse"
        self.verdict = clear if abs(self.mean) > self.bound else ""

    def __str__(self) -> str:
        return f"{self.mean:+.4f} ± {self.sd:.4f} {self.verdict}".rstrip()


def paired(study: Study, method: str, band: str) -> Paired:
    rivals = study.losses(method, band), study.losses(AGAINST[method], band)
    return Paired([a - b for a, b in zip(*rivals, strict=True)])


# --- the table -----------------------------------------------------------------------------------


def lines(study: Study) -> list[list[str]]:
    found = []
    for method, results in study.scored.items():
        losses = [study.losses(method, band) for band in OVERALL]
        cells = [f"{statistics.mean(x):.4f} ± {statistics.stdev(x):.4f}" for x in losses]
        seconds = spread(study.seconds[method], unit=1, digits=3)
        found.append([study.task.name, method, *cells, picked(results), seconds])
        if method in AGAINST:
            cells = [str(paired(study, method, band)) for band in OVERALL]
            found.append(["", f"minus {AGAINST[method]}", *cells, "", ""])
    return found


def picked(results: Sequence[Scored]) -> str:
    parts = [f"lr {span([r.lr for r in results])}"]
    if any(r.decay for r in results):
        parts.append(f"decay {span([r.decay for r in results])}")
    parts.append(f"{span([r.epochs for r in results])} epochs")
    if results[0].accuracy is not None:
        parts.append(f"{100 * statistics.mean(r.accuracy for r in results):.1f} % right")
    return "; ".join(parts)


def span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} - {high:g}"


# --- the sentences -------------------------------------------------------------------------------


def described(study: Study) -> str:
    """The data: bands, their rows and their test examples."""
    of_rows, parts = band_of(study.task.counts, study.task.bands), []
    for i, (low, high) in enumerate(study.task.bands):
        times = span([low, high]) if high else f"at least {low}"
        examples = study.mean("Adam, dense", lambda r, band=BANDS[i]: r.examples[band])
        rows = (of_rows == i).sum()
        parts.append(f"{BANDS[i]}, {times} times in training: {rows:,} rows, {examples:,.0f} tests")
    return (
        f"{study.task.name}: {SCALES[study.task.name]} ({'; '.join(parts)}; all: "
        f"{len(study.task.test):,} tests; means over the splits, rows in the first)."
    )


def equality(studies: Sequence[Study]) -> str:
    every = [paired(study, m, b) for study in studies for m in SAME for b in OVERALL]
    largest = max(abs(x) for pair in every for x in pair.differences)
    return (
        "Catch-up is the dense optimizer: in float64 their tables differ after an epoch by at most "
        f"{max(s.difference for s in studies):.1e} of the largest element (asserted: 1e-8). In "
        "float32, over whole trainings, no test figure of a split differs by more than "
        f"{largest:.1e}: so much is rounding."
    )


def told(study: Study, method: str) -> str:
    """In which bands it is clearly better or worse than what it is held against."""
    results = {band: paired(study, method, band) for band in OVERALL}
    clear = [band for band in OVERALL if results[band].verdict]
    unclear = [band for band in OVERALL if band not in clear]
    parts = [f"{results[b].verdict} on {b} ({results[b].mean:+.4f})" for b in clear]
    if unclear:
        most = max((results[b] for b in unclear), key=lambda result: abs(result.mean))
        largest = f"largest {most.mean:+.4f}, clear only beyond {most.bound:.4f}"
        parts.append(f"no clear difference on {', '.join(unclear)} ({largest})")
    return f"{study.task.name}: {', '.join(parts)}"


def counted(studies: Sequence[Study], bands: Sequence[str]) -> str:
    verdicts = [paired(s, m, b).verdict for s in studies for m in LAZY for b in bands]
    better, worse = verdicts.count("better"), verdicts.count("worse")
    return f"of {len(verdicts)} clearly better in {better}, clearly worse in {worse}"


def lowest(study: Study) -> str:
    best: dict[str, list[str]] = {}
    others = [method for method in study.scored if method not in SAME]
    for band in OVERALL:
        first = min(others, key=lambda m, b=band: statistics.mean(study.losses(m, b)))
        best.setdefault(first, []).append(band)
    parts = [f"{method} on {', '.join(bands)}" for method, bands in best.items()]
    return f"{study.task.name}: {'; '.join(parts)}"


def movement(study: Study) -> str:
    parts = []
    for method in [m for m in study.scored if m not in SAME]:
        means = [study.mean(method, lambda r, b=band: r.moved[b]) for band in BANDS]
        parts.append(f"{method} {' / '.join(f'{x:.2f}' for x in means)}")
    return f"{study.task.name}: {', '.join(parts)}"


def times(studies: Sequence[Study]) -> str:
    parts, over = [], []
    for study in studies:
        rows = " and ".join(f"{rows:,}" for rows in study.task.tables)
        steps = math.ceil(len(study.task.training) / study.task.batch)
        over.append(median(study.seconds["Adam, dense"]) / median(study.seconds["Adam, catch-up"]))
        parts.append(
            f"{study.task.name}: {steps} steps an epoch, tables of {rows} rows x {WIDTH}, dense "
            f"Adam takes {over[-1]:.2f} x the time of catch-up"
        )
    plainly = "dense is not expensive" if max(over) < 1.5 else "dense is expensive already"
    return f"Time. {'; '.join(parts)}. On tables this small {plainly}; large ones: rules_price.md."


def edges(study: Study) -> str:
    """Whether what was picked lies within what was tried."""
    results = [r for m, found in study.scored.items() if m not in SAME for r in found]
    tried = {
        "learning rates": (study.task.rates, [r.lr for r in results if not r.decay]),
        "decays": (study.task.decays, [r.decay for r in results if r.decay]),
        "epochs": (range(1, EPOCHS + 1), [r.epochs for r in results]),
    }
    parts = [
        f"{len(of)} {name}, {span(of)}, of {len(picks)} picks {picks.count(of[0])} the first, "
        f"{picks.count(of[-1])} the last"
        for name, (of, picks) in tried.items()
    ]
    return f"{study.task.name}, tried: {'; '.join(parts)}."


def report(studies: Sequence[Study], whole: bool) -> None:
    notes = [
        "Mean ± standard deviation over the splits, less is better; below it, split by split, the "
        "difference to the dense optimizer, called better or worse where it is clear (t test at "
        "95 %, corrected for splits that overlap).",
        f"Lazy against dense, by comparisons: on rare rows {counted(studies, ['rare'])}; on all "
        f"bands and overall {counted(studies, OVERALL)}. Chance alone makes one in 20 clear.",
        *(
            f"{method} against {dense}. {'; '.join(told(study, method) for study in studies)}."
            for method, dense in AGAINST.items()
            if method not in SAME
        ),
        f"Lowest mean (dense stands for catch-up too). {'. '.join(map(lowest, studies))}.",
        equality(studies),
        "Mean distance of rows from their start, rare / middle / frequent. "
        f"{'; '.join(map(movement, studies))}.",
        times(studies),
        "Random splits 80 / 10 / 10. Learning rate, decay (decoupled, of tables only) and epoch "
        "are picked on validation; catch-up takes the first two from its dense optimizer. With "
        "decay, two of the learning rates are tried, with every decay.",
        *map(described, studies),
        *map(edges, studies),
        machine("rowtune", "torch", "numba", "numpy"),
    ]
    table = [line for study in studies for line in lines(study)]
    title = "Rare, middle and frequent rows: dense, lazy and caught-up optimizers on real data"
    columns = ["task", "optimizer", *OVERALL, "picked", "s an epoch: median (lowest - highest)"]
    if whole:
        publish("rare_rows", title, columns, table, "\n".join(f"- {note}" for note in notes))
        return
    print(*(" | ".join(line) for line in [columns, *table]), sep="\n")
    print(*notes, "Only a part of the study: nothing is written.", sep="\n- ")
