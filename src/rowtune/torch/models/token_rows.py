"""The rows of chosen tokens as a parameter, and the modules that read them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rowtune.errors import ShapeError
from rowtune.torch import assembled
from rowtune.torch.embedding import Embedding
from rowtune.torch.parameter import RowParameter


class TokenRows(RowParameter):
    """Trainable rows that stay trainable when an adapter library freezes a model.

    PEFT sets ``requires_grad = False`` on every parameter that is not its own. The rows would
    stop training without a word; `Handle.disable` is the way to stop them.
    """

    @property
    def requires_grad(self) -> bool:
        """As torch's, but that it is not given up."""
        return bool(torch._C.TensorBase.requires_grad.__get__(self))  # type: ignore[attr-defined]

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value:
            torch._C.TensorBase.requires_grad.__set__(self, True)  # type: ignore[attr-defined]


class TokenEmbedding(Embedding):
    """An embedding of a model, some rows of which are a parameter of their own.

    Attributes
    ----------
    block : TokenRows (k, D)
    scale : float, Tensor or None
        What the model's own class multiplies rows with.
    enabled : bool
        Whether the chosen rows are read from the block, or from the base as they were.
    """

    enabled: bool = True
    scale: Any

    @classmethod
    def over(cls, original: nn.Embedding, ids: Tensor, rows: TokenRows) -> TokenEmbedding:
        """One that reads ``rows`` for ``ids`` (k,), and ``original``'s weight elsewhere.

        Raises
        ------
        ShapeError
            The class of ``original`` does more than look rows up and scale them.
        """
        made = cls.from_pretrained(original.weight.detach(), train=ids.numpy())
        assert isinstance(made, TokenEmbedding)
        made._parameters["block"] = rows
        scale = getattr(original, "embed_scale", None)
        if isinstance(scale, Tensor):
            made.register_buffer("scale", scale, persistent=False)
        else:
            made.scale = scale
        made.train(original.training)
        made._check_reads_as(original)
        return made

    def forward(self, input: Tensor) -> Tensor:
        """Rows of ids of any shape (+ (D,)), scaled as the model's class does."""
        if self.enabled:
            rows = super().forward(input)
        else:
            assert self.base is not None
            rows = functional.embedding(input, self.base)
        if isinstance(self.scale, Tensor):
            return rows * self.scale.to(rows.dtype)
        return rows if self.scale is None else rows * self.scale

    def _check_reads_as(self, original: nn.Embedding) -> None:
        if original.weight.is_meta or original.num_embeddings == 0:
            return
        ids = torch.arange(min(16, original.num_embeddings), device=original.weight.device)
        enabled, self.enabled = self.enabled, False
        with torch.no_grad():
            alike = torch.equal(original(ids), self(ids))
        self.enabled = enabled
        if not alike:
            raise ShapeError(
                f"{type(original).__name__} does more than look rows up and scale them, and that "
                "would be lost"
            )

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        """The whole table as ``weight``, as the model's own class has it."""
        self._settle()
        whole = assembled.matrix(self)
        destination[prefix + "weight"] = whole if keep_vars else whole.detach()


class TokenHead(nn.Module):
    """A linear head, x @ W.T + bias, in which the rows of chosen tokens are a parameter.

    The base has no gradient; that of the rows costs what k rows cost.
    """

    enabled: bool = True

    def __init__(self, original: nn.Linear, ids: Tensor, rows: TokenRows) -> None:
        super().__init__()
        self.in_features, self.out_features = original.in_features, original.out_features
        self.base = original.weight.detach()
        self.block = rows
        self.bias = original.bias
        self.ids = ids.to(self.base.device)
        self.train(original.training)

    @property
    def weight(self) -> Tensor:
        """The whole matrix as it is now, differentiable, made anew at every access: for losses
        that read it themselves.
        """
        return self._whole() if self.enabled else self.base

    def _whole(self) -> Tensor:
        return self.base.index_copy(0, self.ids, self.block)

    def forward(self, input: Tensor) -> Tensor:
        """Logits, input.shape[:-1] + (N,)."""
        out = functional.linear(input, self.base, self.bias)
        if not self.enabled:
            return out
        bias = None if self.bias is None else self.bias.index_select(0, self.ids)
        rows = functional.linear(input, self.block, bias)
        return out.index_copy_(-1, self.ids, rows.to(out.dtype))

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {len(self.ids)} rows train"

    def _apply(self, fn: Any, recurse: bool = True) -> TokenHead:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # The base goes where the rows go, and into their dtype: a product takes but one.
        self.base = self.base.to(self.block.device, self.block.dtype)
        self.ids = self.ids.to(self.block.device)
        return self

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        weight = self._whole()
        destination[prefix + "weight"] = weight if keep_vars else weight.detach()
        if self.bias is not None:
            destination[prefix + "bias"] = self.bias if keep_vars else self.bias.detach()
