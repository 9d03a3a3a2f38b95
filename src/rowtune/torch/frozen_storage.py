"""The part of a row module that holds its frozen rows, and what users see of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rowtune.quantized import Quantized
from rowtune.tables.mapped_pages import refuse_pickle
from rowtune.torch.stored import guarded


class FrozenStorage:
    """Tensors for those who read them at every lookup, and guarded views for everybody else."""

    _base: Tensor | None
    _scales: Tensor | None
    _fingerprint: str | None
    _mapped: Any

    def _hold(self, base: Tensor | None, scales: Tensor | None = None, mapped: Any = None) -> None:
        """Take tensors as the frozen storage, and make the views of them that users get; ``mapped``
        is what they came as, if that is a file.
        """
        self._base, self._scales = base, scales
        self._shown = None if base is None else guarded(base)
        self._shown_scales = None if scales is None else guarded(scales)
        self._fingerprint, self._mapped = None, mapped

    @property
    def base(self) -> Tensor | None:
        """The frozen storage (N, D), of any float dtype, or int8 codes: a view that refuses writes,
        since a frozen row never changes. None where every row trains.
        """
        return self._base if torch.compiler.is_compiling() else self._shown

    @property
    def base_scales(self) -> Tensor | None:
        """The scale (N,) of each row of int8 codes; None where the base holds floats."""
        return self._scales if torch.compiler.is_compiling() else self._shown_scales

    def __getstate__(self) -> dict[str, Any]:
        """For pickles, in which a guarded tensor would be a plain one."""
        if self._mapped is not None and not isinstance(self._mapped, Tensor):
            file = self._mapped
            refuse_pickle(file.codes if isinstance(file, Quantized) else file)
        return {**self.__dict__, "_shown": None, "_shown_scales": None, "_mapped": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        self._hold(self._base, self._scales)


def moved(frozen: Tensor | None, device: torch.device) -> Any:
    """On another device; what was made on "meta" gets its bytes later, from a checkpoint."""
    if frozen is None or not frozen.is_meta:
        return None if frozen is None else frozen.to(device)
    return torch.empty_like(frozen, device=device)
