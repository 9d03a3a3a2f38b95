"""Timed steps of torch modules, taken in turns so that a noisy machine hits every method alike."""

from __future__ import annotations

import gc
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from measured import median, spread

from torch_quiet import wait_for_quiet

PATIENCE = 1.0  # seconds before each round to wait for a quiet moment


class Parts(NamedTuple):
    """Seconds of one step."""

    forward: float
    backward: float
    update: float  # the optimizer's step, and the gradient let go

    @property
    def whole(self) -> float:
        return self.forward + self.backward + self.update


class _LayerAbove(torch.autograd.Function):
    """Stands for the rest of a model: it gives a gradient that it has made, and keeps nothing."""

    @staticmethod
    def forward(ctx: Any, out: torch.Tensor, made: list[torch.Tensor]) -> torch.Tensor:
        ctx.made = made
        return out.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ARG004
        return ctx.made.pop(), None


def timed_step(
    module: Callable[..., torch.Tensor],
    inputs: Sequence[Any],
    upstream: torch.Tensor | None,
    optimizer: torch.optim.Optimizer | None,
    held: bool = True,
) -> Parts:
    """Forward, backward from a given gradient, update.

    `optimizer` is None where the backward updates by itself, `upstream` where the module returns a
    loss. Not `held`, the gradient comes from a layer above, as in a model: a copy made before the
    clock of the backward runs. Letting the output go is part of the step: its pages go back to the
    system there.
    """
    start = time.perf_counter()
    out = module(*inputs)
    forward = time.perf_counter()
    top = out
    if not held:
        top, upstream = _LayerAbove.apply(out, [upstream.clone()]), None
    between = time.perf_counter()
    top.backward(upstream)
    backward = time.perf_counter()
    if optimizer is not None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    del out, top
    return Parts(forward - start, backward - between, time.perf_counter() - backward)


def take_turns(
    label: str,
    methods: Mapping[str, Callable[[int], Any]],
    rounds: int,
    burst: Mapping[str, int] | int = 1,
    warm: int = 2,
) -> dict[str, list[Any]]:
    """What each method returned for each of its turns, the warming rounds left out.

    A method is called with the number of its turn (it picks the batch by it), `burst` times in a
    row in every round. A round begins in a quiet moment, or when patience ends. Garbage is
    collected between rounds only.
    """
    results: dict[str, list[Any]] = defaultdict(list)
    turns: dict[str, int] = defaultdict(int)
    gc.collect()
    gc.disable()
    try:
        for turn in range(-warm, rounds):
            quiet = turn < 0 or wait_for_quiet(PATIENCE)
            what = f"round {turn + 1} of {rounds}" if turn >= 0 else "warming"
            say(f"{label}: {what}" + ("" if quiet else ", beside other work"))
            for name, method in methods.items():
                for _ in range(burst if isinstance(burst, int) else burst.get(name, 1)):
                    result = method(turns[name])
                    turns[name] += 1
                    if turn >= 0:
                        results[name].append(result)
            gc.collect()
    finally:
        gc.enable()
    say("")
    return dict(results)


def say(line: str) -> None:
    """Progress, on stderr: one line that rewrites itself on a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
    elif line:
        print(line, file=sys.stderr, flush=True)


def whole(parts: Sequence[Parts]) -> list[float]:
    return [part.whole for part in parts]


def times(many: Sequence[float], few: Sequence[float], digits: int = 1) -> str:
    """How often one goes into the other, by medians; and by the fastest turns, which other work on
    the machine disturbs least."""
    by_median, by_fastest = median(many) / median(few), min(many) / min(few)
    return f"{by_median:.{digits}f} x ({by_fastest:.{digits}f} x by the fastest turns)"


def fastest(names: Sequence[str], steps: Mapping[str, Sequence[Parts]]) -> list[float]:
    """Seconds of the one among these methods whose median is lowest."""
    return min((whole(steps[name]) for name in names), key=median)


def row_of(name: str, parts: Sequence[Parts], ours: float, digits: int = 1) -> list[str]:
    """A line of a table: the whole step with its spread, its parts, and how much of ours it is."""
    pieces = [f"{median([p[i] for p in parts]) * 1e3:.{digits}f}" for i in range(3)]
    return [
        name,
        spread(whole(parts), digits=digits),
        *pieces,
        f"{median(whole(parts)) / ours:.2f} x",
    ]


STEP_COLUMNS = ["method", "ms a step: median (lowest - highest)", "forward", "backward", "update"]
