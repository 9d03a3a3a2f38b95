"""Tables whose rows are spread over devices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rowtune.jax.table import RowTable
from rowtune.jax.tree import is_table


def shard(tree: Any, mesh: Mesh, axis: str) -> Any:
    """Spread the rows of tables, and of optimizers' states, over an axis of a mesh of devices.

    Base, block, slot map and state are split by rows; scalars are on every device. Where the
    rows cannot be split evenly, rows that no id has are put behind the last.

    Parameters
    ----------
    tree : RowTable, a state of theirs, or a pytree of both
    mesh : Mesh
        Its axes are made automatic: XLA decides what each device computes.
    axis : str
        The name of the mesh's axis.
    """
    auto = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * mesh.devices.ndim)
    everywhere = NamedSharding(auto, PartitionSpec())
    by_row = NamedSharding(auto, PartitionSpec(axis))
    parts = mesh.shape[axis]

    def spread(array: Any, fill: int = 0) -> Any:
        if array is None or array.ndim == 0:
            return array if array is None else jax.device_put(array, everywhere)
        padding = [(0, -array.shape[0] % parts)] + [(0, 0)] * (array.ndim - 1)
        if padding[0][1]:
            array = jnp.pad(array, padding, constant_values=fill)
        return jax.device_put(array, by_row)

    def on_leaf(leaf: Any) -> Any:
        if not isinstance(leaf, RowTable):
            return spread(leaf)
        columns = None if leaf.columns is None else jax.device_put(leaf.columns, everywhere)
        return leaf.replace(
            base=spread(leaf.base),
            block=spread(leaf.block),
            slots=spread(leaf.slots, fill=-1),
            columns=columns,
        )

    return jax.tree.map(on_leaf, tree, is_leaf=is_table)


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
