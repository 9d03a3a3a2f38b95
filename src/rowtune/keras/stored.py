"""A layer's rows in the file of a model, and from there: only onto the table they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rowtune.errors import PatchError
from rowtune.keras import frozen
from rowtune.keras.weights import assign, on_host

_FINGERPRINT = "fingerprint"


def save(layer: Any, store: Any) -> None:
    """Write a layer's rows. See `rowtune.keras.Embedding.save_own_variables`."""
    for name, own in _chosen(layer).items():
        store[name] = own
    if layer.is_mapped:
        known = layer.expected_base if layer.base is None else layer.base.fingerprint()
        store[_FINGERPRINT] = np.frombuffer((known or "").encode(), np.uint8)
    for name, variable in _variables(layer).items():
        store[name] = on_host(variable)


def load(layer: Any, store: Any) -> None:
    """Read them. See `rowtune.keras.Embedding.load_own_variables`."""
    variables = _variables(layer)
    _check_names(layer, store, variables)
    for name, own in _chosen(layer).items():
        if not np.array_equal(np.asarray(store[name]), own):
            raise PatchError(
                f"{layer.name}: the file's block belongs to other {name} than those that "
                "train here; build the layer with the train=... and columns=... of the file"
            )
    for name, variable in variables.items():
        if tuple(store[name].shape) != tuple(variable.shape):
            raise PatchError(
                f"{layer.name}: the file's {name} has shape {tuple(store[name].shape)}; "
                f"expected {tuple(variable.shape)}"
            )
    if layer.is_mapped:
        layer.expected_base = _text(store[_FINGERPRINT]) or None
        if layer.base is not None and layer.expected_base:
            frozen.check(layer.base, layer.expected_base, layer.name)
    for name, variable in variables.items():
        assign(variable, store[name])


def _check_names(layer: Any, store: Any, variables: dict[str, Any]) -> None:
    mapped = {_FINGERPRINT} if layer.is_mapped else set()
    expected = {*_chosen(layer), *variables, *mapped}
    if set(store.keys()) != expected:
        raise PatchError(
            f"{layer.name}: the file holds {sorted(store.keys())}; expected {sorted(expected)}. "
            "Was it written by a layer of another class, with other rows that train, or over "
            "another kind of base?"
        )


def _variables(layer: Any) -> dict[str, Any]:
    """Those that a file holds, by name."""
    base = None if layer.is_mapped else layer.base
    named = {"block": layer.block, "base": base, "scales": layer.scales}
    return {name: variable for name, variable in named.items() if variable is not None}


def _chosen(layer: Any) -> dict[str, NDArray[np.int64]]:
    """The ids and the columns that train, where not all do."""
    chosen = {} if layer.rows.trains_all else {"ids": layer.rows.ids}
    return chosen if layer.columns is None else {**chosen, "columns": layer.columns}


def _text(stored: Any) -> str:
    return np.asarray(stored, np.uint8).tobytes().decode()
