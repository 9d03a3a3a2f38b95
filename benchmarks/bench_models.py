"""New tokens of language models: time of table and head, peak memory, and what is saved.

``bench_models.py`` prints the tables. ``bench_models.py memory ROWS WAY tied|untied`` is a process
of its own that prints the bytes of its peak. Every way's first step is compared with the others'
before any clock runs; then the ways take turns, each built anew in its turn, since their gradients
and moments do not fit into memory side by side.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

warnings.simplefilter("ignore")  # of transformers' and PEFT's own modules

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from measured import machine, median, publish, spread  # noqa: E402
from torch import Tensor  # noqa: E402

from models_ways import (  # noqa: E402
    FULL,
    MASK,
    OURS,
    PEFT,
    WAYS,
    Size,
    Way,
    chosen,
    saved_bytes,
    tables_of,
)
from resident import count_from_here, memory, tidy  # noqa: E402
from torch_quiet import wait_for_quiet  # noqa: E402
from torch_rounds import say  # noqa: E402

VOCABULARIES = (128_256, 262_144)
WIDTH, TRAINABLE = 1_024, 64
LOOKED_UP, SAID = 2_048, 128  # ids of a batch at the table; positions at the head
ROUNDS, STEPS, OUR_STEPS = 3, 2, 8


def batch(size: Size, ids: Tensor, count: int) -> Tensor:
    """Ids, a sixteenth of which train."""
    found = torch.randint(size.rows, (1, count))
    found[0, torch.randperm(count)[: count // 16]] = ids[torch.randint(len(ids), (count // 16,))]
    return found


class Step:
    """A step of table or head, timed; both kinds are given the same batch again and again."""

    def __init__(self, size: Size, ids: Tensor) -> None:
        torch.manual_seed(2)
        self.looked_up = batch(size, ids, LOOKED_UP)
        # Multiples of 1/256: sums over duplicates are exact in whatever order they are added.
        self.upstream = torch.randn(1, LOOKED_UP, size.width).mul_(256).round_().div_(256)
        self.said = batch(size, ids, SAID)
        self.hidden = torch.randn(1, SAID, size.width)

    def table(self, way: Way) -> float:
        start = time.perf_counter()
        out = way.model.model.embed_tokens(self.looked_up)
        out.backward(self.upstream)
        del out
        return self._updated(way, start)

    def head(self, way: Way) -> float:
        hidden = self.hidden.clone().requires_grad_()
        start = time.perf_counter()
        logits = way.model.lm_head(hidden)
        F.cross_entropy(logits[0], self.said[0]).backward()
        del logits
        return self._updated(way, start)

    def both(self, way: Way) -> None:
        out = way.model(input_ids=self.said, labels=self.said)
        out.loss.backward()
        self._updated(way, 0.0)

    @staticmethod
    def _updated(way: Way, start: float) -> float:
        way.optimizer.step()
        way.optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start


def compare(size: Size, tables: list[Tensor], ids: Tensor, step: Step) -> dict[str, int]:
    """One step of the whole model by each way: the same rows, and the frozen ones as they were."""
    rows: dict[str, list[Tensor]] = {}
    saved = {}
    for name, make in WAYS.items():
        say(f"{size.rows:,} rows: first step of {name}")
        way = make(tables, ids)
        step.both(way)
        rows[name], saved[name] = [t.clone() for t in way.tables()], saved_bytes(way)
        if name == OURS:
            frozen = torch.ones(size.rows, dtype=torch.bool).index_fill_(0, ids, False)
            weights = (way.model.model.embed_tokens.weight, way.model.lm_head.weight)
            for weight, table in zip(weights, (tables * 2)[:2], strict=True):
                assert torch.equal(weight.detach()[frozen], table[frozen])
                assert not torch.equal(weight.detach()[ids], table[ids])
        del way
        tidy()
    for name, found in rows.items():
        assert len(found) == len(tables), name
        for mine, theirs in zip(rows[OURS], found, strict=True):
            # AdamW's first steps have the size of lr whatever the gradient: signs must agree.
            assert float((mine - theirs).abs().median()) < 1e-6, name
            assert float(((mine - theirs).abs() > 1e-4).float().mean()) < 1e-3, name
    return saved


def timed(size: Size, tables: list[Tensor], ids: Tensor, step: Step) -> dict[str, dict[str, list]]:
    """Seconds of the steps of table and head, by way."""
    found: dict[str, dict[str, list]] = defaultdict(lambda: {"table": [], "head": []})
    for turn in range(ROUNDS):
        for name, make in WAYS.items():
            say(f"{size.rows:,} rows, {'tied' if size.is_tied else 'untied'}: round {turn + 1} of "
                f"{ROUNDS}, {name}")  # fmt: skip
            way = make(tables, ids)
            wait_for_quiet(1.0)
            for part, run in (("table", step.table), ("head", step.head)):
                run(way)  # pages and kernels
                count = OUR_STEPS if name == OURS else STEPS
                found[name][part] += [run(way) for _ in range(count)]
            del way
            tidy()
    return found


def peak(size: Size, name: str) -> int:
    """Bytes at the peak of steps over the tables alone."""
    small = Size(2_000, size.width, size.trainable, size.is_tied)
    for of in (small, size):
        tables, ids = tables_of(of), chosen(of)
        step = Step(of, ids)
        before = count_from_here()
        way = WAYS[name](tables, ids)
        for _ in range(2):
            step.both(way)
        most = memory("VmHWM") - before
        del way
        tidy()
    return most


def peak_apart(size: Size, name: str) -> int:
    kind = "tied" if size.is_tied else "untied"
    command = [sys.executable, __file__, "memory", str(size.rows), name, kind]
    say(f"{size.rows:,} rows, {kind}: peak memory of {name}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}:\n{done.stderr}")
    return int(done.stdout.split()[-1])


def line(size: Size, name: str, parts: dict[str, list], ours: dict[str, list], peak_: int,
         saved: int) -> list[str]:  # fmt: skip
    head = "tied" if size.is_tied else "untied"
    times = []
    for part in ("table", "head"):
        times += [
            spread(parts[part], digits=1),
            f"{median(parts[part]) / median(ours[part]):.2f} x",
        ]
    return [f"{size.rows:,}", head, name, *times, f"{peak_ / 1e6:,.0f}", f"{saved / 1e3:,.0f}"]


def verdict(size: Size, parts: dict[str, dict[str, list]], saved: int) -> str:
    table, head = (
        [(median(parts[way][p]) / median(parts[OURS][p])) for way in (PEFT, MASK, FULL)]
        for p in ("table", "head")
    )
    need = size.trainable * size.width * 4 * (2 - size.is_tied)
    return (
        f"{size.rows:,} rows, {'tied' if size.is_tied else 'untied'}: PEFT takes {table[0]:.0f} x "
        f"our time on the table (at least 20 wanted) and {head[0]:.2f} x on the head (at least 1); "
        f"our file is {saved / need:.3f} x rows x width x bytes (at most 2)."
    )


def main() -> None:
    lines: list[Sequence[str]] = []
    said = []
    for rows in VOCABULARIES:
        for is_tied in (True, False):
            size = Size(rows, WIDTH, TRAINABLE, is_tied)
            with ThreadPoolExecutor(2) as pool:  # memory is counted there, not time
                peaks = dict(zip(WAYS, pool.map(partial(peak_apart, size), WAYS), strict=True))
            tables, ids = tables_of(size), chosen(size)
            step = Step(size, ids)
            saved = compare(size, tables, ids, step)
            parts = timed(size, tables, ids, step)
            lines += [
                line(size, name, parts[name], parts[OURS], peaks[name], saved[name])
                for name in WAYS
            ]
            said.append(verdict(size, parts, saved[OURS]))
            del tables
            tidy()
    say("")
    publish(
        "models",
        f"New tokens of a language model: tables of width {WIDTH:,}, {TRAINABLE} rows train",
        ["rows", "head", "way", f"table, {LOOKED_UP:,} ids: ms", "over ours",
         f"head, {SAID} positions: ms", "over ours", "peak MB over the tables", "saved kB"],
        lines,
        "\n\n".join(said)
        + f"\n\nMedian (lowest - highest) of {ROUNDS} turns. A Llama of transformers without "
        "layers; float32; a step is forward, backward (of a given gradient at the table, of the "
        "cross entropy at the head, which needs the gradient of its input too) and AdamW without "
        "decay, torch's fused one for the others. A sixteenth of the ids train. Peaks: processes "
        "of their own, steps of table and head together. The matrices of the last two ways were "
        "counted, not written. The first step of all compared before. "
        + machine("rowtune", "torch", "transformers", "peft", "numba", "numpy"),
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print(peak(Size(int(sys.argv[2]), WIDTH, TRAINABLE, sys.argv[4] == "tied"), sys.argv[3]))
    else:
        main()
