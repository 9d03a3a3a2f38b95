"""Ask for a row before it is needed: the touched rows of a large table lie far apart in memory.

numba has no word for this, so the one LLVM instruction is written out here. It changes no result.
Measured on a 4,000,000 x 64 table: about a tenth of the time of an update.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_CACHE_LINE = 64
_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def prefetch_row(typing_context: Any, array: Any, row: Any) -> Any:  # noqa: ARG001
    """``prefetch_row(array, row)``: ask for every cache line of ``array[row]``, without waiting.

    ``array`` is C-contiguous with at least one dimension, ``row`` an int64 that is in range.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        fields = context.make_array(signature.args[0])(context, builder, arguments[0])
        row_bytes = builder.extract_value(fields.strides, 0)
        memory = builder.bitcast(fields.data, ir.IntType(8).as_pointer())
        first = builder.gep(memory, [builder.mul(arguments[1], row_bytes)])
        kind = ir.FunctionType(ir.VoidType(), [first.type, _INT32, _INT32, _INT32])
        instruction = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        zero, step = ir.Constant(_INT64, 0), ir.Constant(_INT64, _CACHE_LINE)
        with cgutils.for_range_slice(builder, zero, row_bytes, step) as (offset, _):
            line = builder.gep(first, [offset])
            # Last three: for reading, to be kept in every level of cache, data.
            builder.call(
                instruction,
                [line, ir.Constant(_INT32, 0), ir.Constant(_INT32, 3), ir.Constant(_INT32, 1)],
            )
        return context.get_dummy_value()

    return types.void(array, types.int64), generate
