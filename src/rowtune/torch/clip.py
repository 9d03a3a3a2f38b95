"""Clip the gradients of a model, row-sparse ones included."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from rowtune.bounds import check_bound
from rowtune.torch.ops import on, sparse_rows
from rowtune.torch.parameter import RowParameter
from rowtune.torch.verbs import norms_of


@torch.no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale gradients in place so that their norm, taken over all of them, is at most ``max_norm``.

    As `torch.nn.utils.clip_grad_norm_`, which refuses row-sparse gradients. Here the duplicates of
    a row are summed first, so that it counts as it would in a dense gradient.

    Returns
    -------
    Tensor
        The norm before.

    Raises
    ------
    RuntimeError
        With ``error_if_nonfinite``, where the norm is NaN or infinite; nothing is scaled then.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    values = _gradients(parameters)
    norm: Tensor = get_total_norm(values, float(norm_type), error_if_nonfinite, foreach)
    # 1e-6 is torch's, so that the same model is clipped by the same factor.
    factor = (float(max_norm) / (norm + 1e-6)).clamp(max=1.0)
    _scale(parameters, [(value, factor.to(value.device)) for value in values])
    return norm


@torch.no_grad()
def clip_grad_row_norms_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0
) -> None:
    """Scale in place each row of the gradients whose norm is above ``max_norm`` to that norm.

    For the blocks of embeddings, and other parameters of two dimensions; those of one dimension are
    one row. Duplicates of a row are summed first.

    Raises
    ------
    RuleError
        ``max_norm`` is not a positive number.
    """
    check_bound("max_norm", max_norm)
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    scaled = []
    for value in _gradients(parameters):
        rows = value.flatten(1) if value.ndim > 1 else value.reshape(1, -1)
        norms = norms_of(rows, norm_type)
        factors = torch.where(norms > max_norm, max_norm / norms, 1.0).to(value.dtype)
        scaled.append(
            (value, factors.view(-1, *[1] * (value.ndim - 1)) if value.ndim else factors[0])
        )
    _scale(parameters, scaled)


def _scale(parameters: list[Tensor], scaled: list[tuple[Tensor, Tensor]]) -> None:
    """Multiply gradients in place; blocks keep the record of the rows that theirs are of, which a
    gradient of zeros would lose.
    """
    blocks = [p for p in parameters if isinstance(p, RowParameter)]
    touched = [None if p.grad is None or p.grad.is_sparse else p.touched() for p in blocks]
    for value, factor in scaled:
        value.mul_(factor)
    for block, marks in zip(blocks, touched, strict=True):
        if marks is not None:
            block.keep(marks)


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    """What there is to scale: dense gradients, and the values of row-sparse ones, each row once."""
    values = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            parameter.grad = summed(parameter.grad)
            values.append(parameter.grad._values())
        else:
            values.append(parameter.grad)
    # A batch without trainable ids leaves a gradient of no rows, which has no largest element.
    return [value for value in values if value.numel()]


def summed(grad: Tensor) -> Tensor:
    """A row-sparse gradient with one entry a row, in memory of its own: it may be changed in place.

    The values of a plain embedding's gradient can be those of another's, too.
    """
    if grad.is_coalesced() or grad.sparse_dim() != 1:
        return grad.coalesce().clone()
    slots, values = grad._indices()[0], grad._values()
    unique, sums = on(values.device).sum_by_row(values, slots.to(torch.int32))
    return sparse_rows(unique, sums, len(grad))
