"""Keys as a user gives them: integers of 64 bits, or text, and nothing that is a bit of both."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import IdError

_EXPECTED = "expected integers of 64 bits, or text (str)"
_HINTS = {
    "S": "; decode bytes: [key.decode() for key in keys]",
    "f": "; write keys.astype(numpy.int64) if they are whole numbers",
    "b": "; for the places where a mask is true write numpy.flatnonzero(mask)",
}


class Keys(NamedTuple):
    """Some keys.

    Attributes
    ----------
    values : list of str, or int64 array (n,) of the integers' bits; None where there are no keys
    shape : tuple of int
    only : "int64" or "uint64" where an integer is negative, or too large for int64; else ""
    """

    values: list[str] | NDArray[np.int64] | None
    shape: tuple[int, ...]
    only: str = ""

    @property
    def size(self) -> int:
        """How many there are."""
        return 0 if self.values is None else len(self.values)

    @property
    def kind(self) -> str:
        """What they are, for messages."""
        return "text" if isinstance(self.values, list) else "integers"


def as_keys(given: Any) -> Keys:
    """``given``, an array or list of any shape or one key, as `Keys`.

    Raises
    ------
    IdError
        Anything but integers that fit int64, or uint64, or text.
    """
    if isinstance(given, str):
        return Keys([str(given)], ())
    if isinstance(given, list | tuple) and any(isinstance(key, str) for key in given):
        return _text(list(given), (len(given),))
    try:
        array = np.asarray(given)
        if array.dtype.kind == "U" and isinstance(given, list | tuple):
            array = np.array(given, object)  # else NumPy has made text of everything
        elif array.dtype.kind == "f" and array.size and isinstance(given, list | tuple):
            array = np.array(given, object)  # or floats, of integers that no int64 holds
    except ValueError as error:  # a ragged list
        raise IdError(f"keys are not one array: {error}") from None
    if array.dtype.kind == "O":
        return _of_objects(array, given)
    if array.size == 0 and array.dtype.kind in "iufUT":
        return Keys(None, array.shape)
    if array.dtype.kind in "UT":
        return _text(array.ravel().tolist(), array.shape)
    if array.dtype.kind in "iu":
        return _integers(array)
    raise IdError(f"keys have dtype {array.dtype}; {_EXPECTED}{_HINTS.get(array.dtype.kind, '')}")


def _text(values: list[Any], shape: tuple[int, ...]) -> Keys:
    wrong = next((key for key in values if not isinstance(key, str)), None)
    if wrong is not None:
        raise IdError(f"keys hold text and also {wrong!r}; {_EXPECTED}, and not both")
    return Keys(values, shape)


def _of_objects(array: NDArray[Any], given: Any) -> Keys:
    values = array.ravel().tolist()
    if array.ndim == 0:
        raise IdError(f"keys are a {type(given).__name__}; expected an array or a list, in order")
    if any(isinstance(key, str) for key in values):
        return _text(values, array.shape)
    wrong = [key for key in values if not _is_whole(key)]
    if wrong:
        hint = _HINTS["f"] if isinstance(wrong[0], float) else ""
        raise IdError(f"keys hold {wrong[0]!r}; {_EXPECTED}{hint}")
    for dtype in (np.int64, np.uint64):
        try:
            return _integers(np.array(values, dtype).reshape(array.shape))
        except OverflowError:
            continue
    raise IdError(
        f"keys from {min(values)} to {max(values)} fit neither int64 nor uint64; hash them, or "
        "write them as text"
    )


def _is_whole(key: Any) -> bool:
    return isinstance(key, int | np.integer) and not isinstance(key, bool)


def _integers(array: NDArray[Any]) -> Keys:
    unsigned = array.dtype.kind == "u" and array.dtype.itemsize == 8
    values = array.astype(np.uint64 if unsigned else np.int64, copy=False)
    flat = np.ascontiguousarray(values).reshape(-1).view(np.int64)
    outside = flat.size and flat.min() < 0
    return Keys(flat, array.shape, ("uint64" if unsigned else "int64") if outside else "")
