"""torch's own threads for our kernels, where torch runs on GNU OpenMP.

Its threads wait busily for some milliseconds after every parallel operation of torch. Beside them a
second pool gets a core late or not at all: a step between torch's operations takes half as long
again on two cores. In one team there is nothing to compete for.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rowtune.kernels import threads

_REGION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def join() -> None:
    """Run kernels on torch's threads from now on, if they can be had."""
    library = _library_of_torch()
    if library is not None:
        threads.lend_team(_team_of(ctypes.CDLL(library)))


def _team_of(library: Any) -> threads.Team:
    start, end, level = (
        library.GOMP_parallel_start, library.GOMP_parallel_end, library.omp_get_level,
    )  # fmt: skip
    start.argtypes = [_REGION, ctypes.c_void_p, ctypes.c_uint]
    start.restype = end.restype = None

    def run(draw: Callable[[], None], help: Callable[[], None], wanted: int) -> bool:
        # As many as torch always asks for: OpenMP ends the threads that a smaller team leaves over.
        there = torch.get_num_threads()
        if there < wanted:
            return False
        outside = level()
        region = _REGION(lambda _: help())
        try:
            start(region, None, there)
            # Not in the region's function: what Ctrl-C raises there, nobody would hear of.
            draw()
        finally:
            if level() > outside:  # Ctrl-C may have come before the start
                end()
        return True

    return run


def _library_of_torch() -> str | None:
    """The file of GNU OpenMP that this process runs torch on."""
    openmp: Any = torch.backends.openmp
    if not sys.platform.startswith("linux") or not openmp.is_available():
        return None
    home = Path(torch.__file__).parent
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if "libgomp" in line}
    ours = [p for p in paths if Path(p).parent in (home / "lib", home.parent / "torch.libs")]
    return ours[0] if len(ours) == 1 else None
