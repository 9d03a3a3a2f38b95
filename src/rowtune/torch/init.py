"""First values of chosen rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rowtune.errors import NonFiniteError, ShapeError
from rowtune.rows import Rows
from rowtune.torch.stored import rows_at
from rowtune.torch.views import empty_rows

Init: TypeAlias = str | Tensor | Any
_PIECE = 1 << 20  # values in float64 at a time: 8 MB
_MOST_VALUES = 1 << 27  # read whole for a mean: half a second
_SAMPLE = 4096  # rows for the mean of a larger table: within a sixtieth of its spread
_BY_NAME = ("normal", "kaiming", "mean", "zeros")


def rows_like(
    init: Init, count: int, table: Tensor, among: Tensor | Rows | None = None,
    scales: Tensor | None = None, dtype: torch.dtype | None = None,
) -> Tensor:  # fmt: skip
    """New rows (count, D), on the device of ``table`` (N, D) and in its dtype, or in ``dtype``.

    Parameters
    ----------
    init : str or array of count x D
        ``"normal"``: N(0, 1), as `torch.nn.Embedding`. ``"kaiming"``: uniform within
        sqrt(6 / D) (He et al., "Delving Deep into Rectifiers", ICCV 2015, eq. 10, fan-in D).
        ``"mean"``: the mean of the other rows plus noise of a hundredth of their spread, so that no
        two new rows are the same; of a table of more than 2**27 values the mean and spread of 4,096
        rows, drawn once and for all. ``"zeros"``.
    among : bool tensor (N,), Rows or None
        With ``"mean"``: the rows to take it over, or those that train and are left out; None means
        all.
    scales : float32 tensor (N,) or None
        With a table of int8 codes.

    Raises
    ------
    ShapeError
        An unknown name, or an array of another shape.
    NonFiniteError
        NaN or infinity in an array.
    """
    width = table.shape[1]
    new = empty_rows(count, width, dtype or table.dtype, table.device)
    if not isinstance(init, str):
        return new.copy_(_checked(init, new.shape))
    if init == "normal":
        return new.normal_()
    if init == "kaiming":
        bound = math.sqrt(6.0 / max(1, table.shape[1]))
        return new.uniform_(-bound, bound)
    if init == "zeros":
        return new.zero_()
    if init == "mean":
        return _near_mean(new, table, among, 0.01, scales)
    raise ShapeError(f"init={init!r}; expected one of {', '.join(_BY_NAME)}, or an array of rows")


def rows_around_mean(count: int, table: Tensor, among: Tensor | None, spread: float) -> Tensor:
    """Rows (count, D) drawn around the mean of a table's, column by column.

    Parameters
    ----------
    among : bool tensor (N,) or None
        The rows to take mean and spread over; None means all.
    spread : float
        1 gives rows as far from the mean as those of the table.

    Raises
    ------
    ShapeError
        There is no row to take a mean of.
    """
    new = empty_rows(count, table.shape[1], table.dtype, table.device)
    return _near_mean(new, table, among, spread)


def _near_mean(
    new: Tensor, table: Tensor, among: Tensor | Rows | None, scale: float,
    scales: Tensor | None = None,
) -> Tensor:  # fmt: skip
    if table.is_meta:
        return new
    # Of values, and of squares.
    total = torch.zeros(2, table.shape[1], dtype=torch.float64, device="cpu")
    known = 0
    for ids in _pieces(table, among):
        values = rows_at(table, scales, ids.to(table.device)).cpu().to(torch.float64)
        total += torch.stack([values.sum(0), values.square().sum(0)])
        known += len(values)
    if known == 0:
        raise ShapeError('init="mean" has no other rows to take a mean of; use "normal"')
    mean, square = total / known
    spread = (square - mean.square()).clamp_(min=0).sqrt()
    noise = torch.empty(new.shape, dtype=torch.float64, device="cpu").normal_()
    return new.copy_(mean + scale * spread * noise)


def _pieces(table: Tensor, among: Tensor | Rows | None) -> Iterator[Tensor]:
    """Ids of the rows to take mean and spread over, by pieces: a half-precision or memory-mapped
    table is not to be in memory whole, in float64.
    """
    count, width = table.shape
    if table.numel() > _MOST_VALUES:
        # The same rows each time; one that is drawn twice does no harm to a mean.
        drawn = np.random.default_rng(0).integers(0, count, _SAMPLE)
        yield _kept(torch.from_numpy(np.sort(drawn)), among)
        return
    rows = max(1, _PIECE // max(1, width))
    for start in range(0, count, rows):
        yield _kept(torch.arange(start, min(start + rows, count), device="cpu"), among)


def _kept(ids: Tensor, among: Tensor | Rows | None) -> Tensor:
    if among is None:
        return ids
    if isinstance(among, Rows):
        return ids[torch.from_numpy(among.slots(ids.numpy())) < 0]
    return ids[among[ids.to(among.device)].cpu()]


def _checked(init: Any, shape: torch.Size) -> Tensor:
    try:
        given = init if isinstance(init, Tensor) else torch.from_numpy(np.array(init))
    except (TypeError, ValueError) as error:
        raise ShapeError(f"init is not an array of rows: {error}") from None
    if given.shape != shape:
        raise ShapeError(f"init has shape {tuple(given.shape)}; expected {tuple(shape)}")
    if not torch.isfinite(given).all():
        raise NonFiniteError("init holds NaN or infinity; a row that starts so never recovers")
    return given.detach()
