"""The rules compiled for the CPU by numba: grouping, sums, and one fused pass over touched rows."""
