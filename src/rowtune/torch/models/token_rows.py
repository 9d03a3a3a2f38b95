"""The rows of chosen tokens as a parameter, and the embedding that reads them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rowtune.errors import FrozenRowError, ShapeError
from rowtune.torch import assembled
from rowtune.torch.base import same_bits
from rowtune.torch.embedding import Embedding
from rowtune.torch.models.ranks import check_own, check_whole
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
    reads_as : torch.dtype
        The model's own: rows are rounded to it as they are read, where the block is wider.
    enabled : bool
        Whether the chosen rows are read from the block, or from the base as they were.
    """

    enabled: bool = True
    scale: Any
    _saved_as: str = ""
    reads_as: torch.dtype

    @classmethod
    def over(cls, original: nn.Embedding, ids: Tensor, rows: RowParameter) -> TokenEmbedding:
        """One that reads ``rows`` for ``ids`` (k,), and ``original``'s weight elsewhere.

        Raises
        ------
        ShapeError
            The class of ``original`` does more than look rows up and scale them, or its weight is
            packed.
        """
        check_matrix(original, (original.num_embeddings, original.embedding_dim))
        made = cls.from_pretrained(original.weight.detach(), train=ids.numpy())
        assert isinstance(made, TokenEmbedding)
        made._parameters["block"] = rows
        made.reads_as = original.weight.dtype
        share_hooks(original, made)
        scale = getattr(original, "embed_scale", None)
        if isinstance(scale, Tensor):
            made.register_buffer("scale", scale, persistent=False)
        else:
            made.scale = scale
        made.train(original.training)
        made._check_reads_as(original)
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        """FSDP puts parameters of its own in the place of others: not of the rows."""
        if name == "block":
            check_own(value)
        super().__setattr__(name, value)

    def forward(self, input: Tensor) -> Tensor:
        """Rows of ids of any shape (+ (D,)), scaled as the model's class does."""
        check_whole(self.block)
        if self.enabled:
            rows = super().forward(input).to(self.reads_as)
        else:
            assert self._base is not None
            rows = functional.embedding(input, self._base).to(self.reads_as)
        if isinstance(self.scale, Tensor):
            return rows * self.scale.to(rows.dtype)
        return rows if self.scale is None else rows * self.scale

    def _check_reads_as(self, original: nn.Embedding) -> None:
        if original.weight.is_meta or original.num_embeddings == 0:
            return
        ids = torch.arange(min(16, original.num_embeddings), device=original.weight.device)
        enabled, self.enabled = self.enabled, False
        with torch.no_grad():
            alike = same_bits(original.forward(ids), self.forward(ids))
        self.enabled = enabled
        if not alike:
            raise ShapeError(
                f"{type(original).__name__} does more than look rows up and scale them, and that "
                "would be lost"
            )

    def whole(self) -> Tensor:
        """The table with the rows in their places, (N, D), in the dtype that is read."""
        assert self._base is not None
        check_whole(self.block)
        self._settle()
        ids = torch.from_numpy(self.rows.ids.copy()).to(self._base.device)
        return self._base.to(self.reads_as).index_copy(0, ids, self.block.to(self.reads_as))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """`whole`, made anew at every access and guarded against writes; the base where the rows
        are disabled.
        """
        assert self._base is not None
        return assembled.guarded(self.whole() if self.enabled else self._base.to(self.reads_as))

    def grow(self, rows_or_count: Any, init: Any = "normal") -> Tensor:  # noqa: ARG002
        """Refused: a head that shares the rows would not know of it."""
        raise FrozenRowError("rows of a model grow by handle.grow(tokens, tokenizer)")

    def _apply(self, fn: Any, recurse: bool = True) -> TokenEmbedding:
        super()._apply(fn, recurse)
        self.reads_as = fn(torch.empty(0, dtype=self.reads_as)).dtype
        return self

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        """The whole table as ``weight``, as the model's own class has it."""
        whole = self.whole()
        destination[prefix + "weight"] = whole if keep_vars else whole.detach()
        self._saved_as = prefix + "weight"

    def saved_in(self, state: dict[str, Any]) -> Tensor | None:
        """What has been put into this ``state``, for a tied head: one in memory is one in files."""
        return state.get(self._saved_as)

    def _load_from_state_dict(
        self, state: dict[str, Any], prefix: str, metadata: Any, strict: bool, missing: list[str],
        unexpected: list[str], errors: list[str],
    ) -> None:  # fmt: skip
        super()._load_from_state_dict(
            state, prefix, in_place(metadata), strict, missing, unexpected, errors
        )


def in_place(metadata: Any) -> dict[str, Any]:
    """As torch's, without ``assign=True``: the rows are the handle's and other modules' too."""
    return {**metadata, "assign_to_params_buffers": False}


_HOOKS = ("forward_hooks", "forward_hooks_with_kwargs", "forward_hooks_always_called",
          "forward_pre_hooks", "forward_pre_hooks_with_kwargs", "backward_hooks",
          "backward_pre_hooks", "is_full_backward_hook")  # fmt: skip


def share_hooks(original: nn.Module, made: nn.Module) -> None:
    """Let ``made`` call what was hung on ``original``, and let its owners take it off there."""
    for name in _HOOKS:
        setattr(made, f"_{name}", getattr(original, f"_{name}"))


def check_matrix(original: Any, shape: tuple[int, int]) -> None:
    """Refuse a weight that is not a matrix of numbers: quantized classes pack theirs.

    Raises
    ------
    ShapeError
    """
    weight = original.weight
    if not weight.dtype.is_floating_point or tuple(weight.shape) != shape or weight.is_sparse:
        raise ShapeError(
            f"{type(original).__name__} keeps its weight as {weight.dtype} {tuple(weight.shape)}; "
            f"expected floating point {shape}: load the model without quantizing this module"
        )
