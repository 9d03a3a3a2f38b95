"""Tables whose rows are spread over devices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rowtune.jax.bases import Codes, Mapped, codes_of
from rowtune.jax.table import RowTable
from rowtune.jax.tree import is_table
from rowtune.quantized import Quantized


def shard(tree: Any, mesh: Mesh, axis: str) -> Any:
    """Spread the rows of tables, and of optimizers' states, over an axis of a mesh of devices.

    Base, block, slot map and state are split by rows; scalars are on every device. Where the
    rows cannot be split evenly, rows that no id has are put behind the last. A base in a memory map
    comes into the memory of the devices, each of which reads its own part.

    The devices may be those of several processes (`jax.distributed`). Each calls this with the same
    tables and states, and keeps the rows of its own devices.

    Parameters
    ----------
    tree : RowTable, a state of theirs, or a pytree of both
    mesh : Mesh
        Its axes are made automatic: XLA decides what each device computes.
    axis : str
        The name of the mesh's axis.
    """
    auto = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * mesh.devices.ndim)
    spread = _Spread(auto, axis)

    def on_leaf(leaf: Any) -> Any:
        if not isinstance(leaf, RowTable):
            return spread.by_row(leaf)
        return leaf.replace(
            base=spread.base(leaf.base),
            block=spread.by_row(leaf.block),
            slots=spread.by_row(leaf.slots, fill=-1),
            columns=spread.everywhere(leaf.columns),
            ids=spread.everywhere(leaf.ids),
        )

    return jax.tree.map(on_leaf, tree, is_leaf=is_table)


class _Spread:
    """Where arrays go on a mesh, of whose devices other processes may have some."""

    def __init__(self, mesh: Mesh, axis: str) -> None:
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._by_row = NamedSharding(mesh, PartitionSpec(axis))
        self._parts = mesh.shape[axis]
        self._of_several = mesh.is_multi_process

    def base(self, base: Any) -> Any:
        """A map is read by parts: each process reads the rows of its devices into memory."""
        if isinstance(base, Mapped):
            source = base.source.source
            if not isinstance(source, Quantized):
                return self._read(source)
            scales: Any = source.scales
            base = Codes(codes_of(source), scales, len(source))
        if isinstance(base, Codes):
            return Codes(self.by_row(base.codes), self.by_row(base.scales), base.num_rows)
        return self.by_row(base)

    def by_row(self, array: Any, fill: int = 0) -> Any:
        if array is None:
            return None
        if array.ndim == 0:
            return self.everywhere(array)
        if isinstance(array, np.ndarray) or self._is_to_leave(array):
            return self._read(array, fill)
        padding = [(0, -array.shape[0] % self._parts)] + [(0, 0)] * (array.ndim - 1)
        if padding[0][1]:
            array = jnp.pad(array, padding, constant_values=fill)
        return jax.device_put(array, self._by_row)

    def everywhere(self, array: Any) -> Any:
        if array is None or not self._is_to_leave(array):
            return array if array is None else jax.device_put(array, self._everywhere)
        here = np.asarray(array)
        return jax.make_array_from_callback(here.shape, self._everywhere, lambda at: here[at])

    def _is_to_leave(self, array: Array) -> bool:
        """Whether an array that is here goes to other processes' devices as well. Each has the same
        one, and gives its own devices what is theirs.
        """
        return self._of_several and array.is_fully_addressable

    def _read(self, array: Any, fill: int = 0) -> Array:
        here = np.asarray(array)
        count = len(here)

        def part(at: Any) -> Any:
            start, stop, _ = at[0].indices(shape[0])
            rows = here[start : min(stop, count)].astype(here.dtype.newbyteorder("="), copy=False)
            missing = [(0, stop - start - len(rows))] + [(0, 0)] * (here.ndim - 1)
            return np.pad(rows, missing, constant_values=fill) if missing[0][1] else rows

        shape = (count + -count % self._parts, *here.shape[1:])
        return jax.make_array_from_callback(shape, self._by_row, part)


def like_rows_of(block: Array, shapes: Any) -> Any:
    """Where arrays of these shapes belong: beside the rows of ``block``, scalars everywhere.

    None where the block is on one device, or XLA's own choice is as good.
    """
    placed = block.sharding
    if not isinstance(placed, NamedSharding):
        return None
    by_row = NamedSharding(placed.mesh, PartitionSpec(*placed.spec[:1]))
    everywhere = NamedSharding(placed.mesh, PartitionSpec())
    return jax.tree.map(lambda shape: by_row if shape.ndim else everywhere, shapes)
