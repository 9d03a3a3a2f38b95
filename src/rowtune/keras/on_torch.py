"""Rows on Keras's PyTorch backend: the lookup and the step of `rowtune.torch` on its variables."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from rowtune.on_host import OnHost
from rowtune.rules import Rule
from rowtune.rules.tuned import Tuned
from rowtune.torch.ops import rows_of, sparse_rows
from rowtune.torch.optim.row_step import Options, prepare
from rowtune.torch.patches import tensor_of
from rowtune.torch.stored import rows_at
from rowtune.torch.views import array_of

_ASKED = "_rowtune_asked"


def table_of(layer: Any) -> Any:
    """See `rowtune.keras.backend`."""
    rows, columns = layer.rows, layer.columns
    maps = [
        None if array is None else torch.from_numpy(np.array(array))
        for array in (columns, rows.slot_map, rows.search_ids)
    ]
    nobody_asks = torch.empty(0, dtype=torch.int32)

    def look_up(ids: Any) -> Any:
        if isinstance(layer.base, OnHost) or layer.is_quantized:
            return _assembled(layer, ids)
        block = layer.block.value
        base = None if layer.base is None else layer.base.value
        on_device = [None if m is None else m.to(block.device) for m in maps]
        block = _AsAsked.apply(block, layer.block)  # type: ignore[no-untyped-call]
        ids = ids.to(torch.int64)
        return rows_of(block, base, None, *on_device, nobody_asks, ids, rows.num_rows, True, False)

    return look_up


def _assembled(layer: Any, ids: Any) -> Any:
    """Rows over a base that is no matrix of torch's: frozen ones are read or widened for this batch
    alone, and trained ones are put over them.
    """
    block, columns = layer.block.value, layer.columns
    flat = ids.detach().to("cpu", torch.int64).reshape(-1).numpy()
    slots = layer.rows.slots(flat)
    out = _frozen(layer, flat).to(block.device, block.dtype)
    places = torch.from_numpy(np.flatnonzero(slots >= 0)).to(block.device)
    if 0 not in block.shape:
        nobody_asks = torch.empty(0, dtype=torch.int32)
        of_block = torch.from_numpy(slots[slots >= 0].astype(np.int64)).to(block.device)
        asked = _AsAsked.apply(block, layer.block)  # type: ignore[no-untyped-call]
        nothing = [None] * 5
        count = len(layer.rows)
        trained = rows_of(asked, *nothing, nobody_asks, of_block, count, True, False)
        at: Any = (places,)
        if columns is not None:
            at = (places[:, None], torch.from_numpy(np.array(columns)).to(block.device))
        out = out.index_put(at, trained)
    return out.reshape(*ids.shape, layer.output_dim)


def _frozen(layer: Any, ids: Any) -> Any:
    """Rows (n, D) of the base of known ids (n,)."""
    if isinstance(layer.base, OnHost):
        rows = layer.base.rows(ids)
        if rows.dtype.name == "bfloat16":
            return as_tensor(rows)
        return torch.from_numpy(rows)
    codes = layer.base.value
    at = torch.from_numpy(ids).to(codes.device)
    return rows_at(codes, None if layer.scales is None else layer.scales.value, at)


class _AsAsked(torch.autograd.Function):
    """The block; its gradient stays row-sparse where our optimizer has asked for that, since no
    other one could take it.
    """

    @staticmethod
    def forward(ctx: Any, block: Any, variable: Any) -> Any:
        ctx.variable = variable
        return block.view_as(block)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        dense = gradient.is_sparse and not getattr(ctx.variable, _ASKED, False)
        return gradient.to_dense() if dense else gradient, None


def step_of(
    rule: Rule, hyper: dict[str, Any], block: Any, steps: Any, arrays: dict[str, Any]
) -> Any:
    """See `rowtune.keras.backend`."""
    wide = np.float64 if block.value.dtype == torch.float64 else np.float32
    tuned = Tuned(rule, wide, **hyper)

    def step(gradient: Any, learning_rate: Any, iterations: Any) -> None:
        lr = float(wide(float(learning_rate)))
        if tuned.hyper["lr"] != lr:
            tuned.set(lr=lr)
        state = {"step": steps.value, **{name: array.value for name, array in arrays.items()}}
        options = Options(maximize=False, check_finite=True, max_norm=None)
        with torch.no_grad():
            prepare(block.value, tuned, state, int(iterations) + 1, options, grad=gradient)()

    return step


def ask(optimizer: Any, blocks: list[Any]) -> None:
    """See `rowtune.keras.backend`. It is asked of the next backward pass."""
    for block in blocks:
        setattr(block, _ASKED, not optimizer.gradient_accumulation_steps)


def row_gradient(gradient: Any, block: Any, as_dense: bool) -> Any:
    """See `rowtune.keras.backend`."""
    setattr(
        block, _ASKED, False
    )  # of that backward pass alone: the next may be another optimizer's
    if not gradient.is_sparse:
        return gradient
    return gradient.to_dense() if as_dense else gradient.coalesce()


def values(gradient: Any) -> Any:
    """See `rowtune.keras.backend`."""
    return gradient.values() if gradient.is_sparse else gradient


def with_values(gradient: Any, new: Any) -> Any:
    """See `rowtune.keras.backend`."""
    if not gradient.is_sparse:
        return new
    return sparse_rows(gradient.indices()[0], new, len(gradient))


def in_float64() -> Any:
    """See `rowtune.keras.backend`."""
    return nullcontext()


def as_array(tensor: Any) -> Any:
    """See `rowtune.keras.backend`. Keras takes bfloat16 through float32, which changes NaN."""
    array = array_of(tensor)
    return array.view("bfloat16") if tensor.dtype == torch.bfloat16 else array


def as_tensor(array: Any) -> Any:
    """See `rowtune.keras.backend`."""
    if array.dtype.name != "bfloat16":
        return array
    return tensor_of(np.ascontiguousarray(array).view(np.uint16), torch.bfloat16)
