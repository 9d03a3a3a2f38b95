"""A linear head of a model, some rows of which are a parameter of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rowtune.errors import ShapeError
from rowtune.torch.base import same_bits
from rowtune.torch.models.ranks import check_own, check_whole
from rowtune.torch.models.token_rows import TokenEmbedding, check_matrix, in_place, share_hooks
from rowtune.torch.parameter import RowParameter


class TokenHead(nn.Module):
    """A linear head, x @ W.T + bias, in which the rows of chosen tokens are a parameter.

    The base has no gradient; that of the rows costs what k rows cost.

    Attributes
    ----------
    base : Tensor (N, D), which nothing writes
    block : RowParameter (k, D), in the base's dtype or a wider one
    ids : int64 tensor (k,)
    bias : Parameter (N,) or None, the model's own
    enabled : bool
        Whether the chosen rows are those of the block, or the base's as they were.
    """

    enabled: bool = True

    def __init__(
        self,
        original: nn.Linear,
        ids: Tensor,
        rows: RowParameter,
        tied_to: TokenEmbedding | None = None,
    ) -> None:
        """Put ``rows`` in the places of ``ids`` (k,) in ``original``.

        Raises
        ------
        ShapeError
            The class of ``original`` does more than multiply, or its weight is packed.
        """
        super().__init__()
        check_matrix(original, (original.out_features, original.in_features))
        self.in_features, self.out_features = original.in_features, original.out_features
        # In a list, so that it is no submodule here.
        self._tied_to = [] if tied_to is None else [tied_to]
        self._own = self._seen = original.weight.detach()
        self.block = rows
        self.bias = original.bias
        self.ids = ids.to(self._own.device)
        share_hooks(original, self)
        chosen = self.base.index_select(0, self.ids)
        self._is_finite = chosen.is_meta or bool(torch.isfinite(chosen).all())
        self.train(original.training)
        _check_reads_as(original)

    def __setattr__(self, name: str, value: Any) -> None:
        """FSDP puts parameters of its own in the place of others: not of the rows."""
        if name == "block":
            check_own(value)
        super().__setattr__(name, value)

    @property
    def base(self) -> Tensor:
        """The frozen storage (N, D). A tied head's is its embedding's, wherever that has gone, in
        the model's dtype: a product takes but one.
        """
        if self._tied_to:
            table = self._tied_to[0]._base
            assert table is not None
            if table is not self._seen:
                self._seen, self._own = table, table.to(self.ids.device, self._own.dtype)
        return self._own

    @property
    def weight(self) -> Tensor:
        """The whole matrix as it is now, differentiable, made anew at every access: for losses
        that read it themselves.
        """
        return self.whole() if self.enabled else self.base

    def whole(self) -> Tensor:
        """The base with the rows in their places, (N, D), whether they are enabled or not."""
        check_whole(self.block)
        return self.base.index_copy(0, self.ids, self.block.to(self.base.dtype))

    def forward(self, input: Tensor) -> Tensor:
        """Logits, input.shape[:-1] + (N,)."""
        check_whole(self.block)
        if not self.enabled:
            return functional.linear(input, self.base, self.bias)
        base: Tensor = self.base
        bias: Tensor | None = self.bias
        if torch.is_autocast_enabled(input.device.type):
            # As autocast does for torch's own products; its backward would not know of ours.
            dtype = torch.get_autocast_dtype(input.device.type)
            input, base = input.to(dtype), base.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        block = self.block.to(base.dtype)
        product: Tensor = _Product.apply(input, base, self.ids, block, bias, self._is_finite)  # type: ignore[no-untyped-call]
        return product

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {len(self.ids)} rows train"

    def _apply(self, fn: Any, recurse: bool = True) -> TokenHead:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        probe = fn(torch.empty(0, dtype=self._own.dtype, device=self.ids.device))
        self.ids = self.ids.to(probe.device)
        self._own = (
            self._own[:0].to(probe.dtype)
            if self._tied_to
            else self._own.to(probe.device, probe.dtype)
        )
        self._seen = self._own
        return self

    def _load_from_state_dict(
        self, state: dict[str, Any], prefix: str, metadata: Any, strict: bool, missing: list[str],
        unexpected: list[str], errors: list[str],
    ) -> None:  # fmt: skip
        """From the whole matrix, as the model's own class has it."""
        key, block = prefix + "weight", prefix + "block"
        own = {name: value for name, value in state.items() if name != key}
        weight = state.get(key)
        if weight is not None and weight.shape != self.base.shape:
            errors.append(
                f"size mismatch for {key}: the checkpoint has a table of {tuple(weight.shape)}, "
                f"this module of {tuple(self.base.shape)}"
            )
            weight = None
        elif weight is None and block not in own:
            missing.append(key)
        if weight is None:
            own.setdefault(block, self.block.detach())  # has been said
        else:
            own[block] = weight.index_select(0, self.ids.to(weight.device))
        if weight is not None and not self._tied_to:
            # The chosen rows of the base stay: patches belong to them.
            kept = self.base.index_select(0, self.ids)
            base = weight.to(self.base.device, self.base.dtype).index_copy(0, self.ids, kept)
            self._own = self._own if same_bits(base, self._own) else base
        super()._load_from_state_dict(
            own, prefix, in_place(metadata), strict, missing, unexpected, errors
        )

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        shared = self._tied_to[0].saved_in(destination) if self._tied_to else None
        weight = self.whole() if shared is None else shared
        destination[prefix + "weight"] = weight if keep_vars else weight.detach()
        if self.bias is not None:
            destination[prefix + "bias"] = self.bias if keep_vars else self.bias.detach()


class _Product(torch.autograd.Function):
    """x @ W.T + bias, where W is ``base`` (N, D) with ``block`` (k, D) in the rows ``ids``.

    torch's own operations would copy the gradient of all logits, to blank k columns of it.
    """

    @staticmethod
    def forward(x: Tensor, base: Tensor, ids: Tensor, block: Tensor, bias: Tensor | None,
                is_finite: bool) -> Tensor:  # fmt: skip  # noqa: ARG004
        out = functional.linear(x, base, bias)
        of_rows = None if bias is None else bias.index_select(0, ids)
        return out.index_copy_(-1, ids, functional.linear(x, block, of_rows))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004
        x, base, ids, block, bias, ctx.is_finite = inputs
        ctx.save_for_backward(x, base, ids, block)
        ctx.has_bias = bias is not None

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, base, ids, block = ctx.saved_tensors
        grad = grads[0]
        of_rows = grad.index_select(-1, ids)
        to_x = to_block = to_bias = None
        if ctx.needs_input_grad[0]:
            if ctx.is_finite:
                # All rows as the base has them, and how far the chosen ones are from there.
                to_x = grad @ base + of_rows @ (block - base.index_select(0, ids))
            else:
                to_x = grad.index_fill(-1, ids, 0) @ base.index_fill(0, ids, 0) + of_rows @ block
        if ctx.needs_input_grad[3]:
            to_block = of_rows.reshape(-1, len(ids)).T @ x.reshape(-1, x.shape[-1])
        if ctx.has_bias and ctx.needs_input_grad[4]:
            to_bias = grad.reshape(-1, grad.shape[-1]).sum(0)
        return to_x, None, None, to_block, to_bias, None


def _check_reads_as(original: nn.Linear) -> None:
    """A class of its own, or a forward put on the instance, may do more than multiply."""
    if type(original).forward is nn.Linear.forward and "forward" not in vars(original):
        return
    probe = torch.linspace(-1, 1, original.in_features, device=original.weight.device)
    probe = probe.to(original.weight.dtype)[None]
    with torch.no_grad():
        plain = functional.linear(probe, original.weight, original.bias)
        if not torch.equal(original.forward(probe), plain):
            raise ShapeError(
                f"{type(original).__name__} does more than multiply, and that would be lost; "
                "head=False leaves a head that has a table of its own"
            )
