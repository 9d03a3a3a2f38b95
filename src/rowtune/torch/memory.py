"""Memory for large outputs, used again once nobody holds the last one.

The first touch of new memory costs more than a row's copy into it: on a virtual machine several
times as much with torch's allocator, about twice as much with the huge pages that NumPy asks for.
A training loop needs the same sizes in every step, so a few pieces are kept for the next one.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_SMALLEST = 1 << 20  # bytes; below, new memory costs nothing to speak of
_MOST_PIECES = 16
_MOST_BYTES = 1 << 28  # kept while idle
_lock = threading.Lock()
_pieces: list[NDArray[np.uint8]] = []


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of undefined content. Tensors over it keep it from being given out again."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if not _SMALLEST <= size <= _MOST_BYTES:
        return np.empty(shape, kind)
    with _lock:
        piece = _free_piece(size)
        if piece is None:
            piece = np.empty(size, np.uint8)
            _keep(piece)
        return piece[:size].view(kind).reshape(shape)


def release() -> None:
    """Forget all pieces; those in use live as long as their tensors."""
    with _lock:
        _pieces.clear()


def _free_piece(size: int) -> NDArray[np.uint8] | None:
    for place in range(len(_pieces)):
        fits = size <= len(_pieces[place]) <= 2 * size
        if fits and _references(place) == _REFERENCES_WHEN_FREE:
            piece = _pieces.pop(place)
            _pieces.append(piece)  # the one unused for longest comes first
            return piece
    return None


def _references(place: int) -> int:
    piece = _pieces[place]
    return sys.getrefcount(piece)


def _references_when_free() -> int:
    """What `_references` counts where only the list holds a piece: versions of Python differ in
    whether a local variable is a reference.
    """
    _pieces.append(np.empty(1, np.uint8))
    count = _references(0)
    _pieces.clear()
    return count


_REFERENCES_WHEN_FREE = _references_when_free()


def _begin_anew() -> None:
    """A forked child may have been born while another thread held the lock."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _pieces.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def _keep(piece: NDArray[np.uint8]) -> None:
    _pieces.append(piece)
    while len(_pieces) > _MOST_PIECES or sum(map(len, _pieces)) > _MOST_BYTES:
        _pieces.pop(0)
