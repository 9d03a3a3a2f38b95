"""Kill saves at random points on any rank, flip bits, fill disks: what loads is old or new.

    python torture/checkpoint_kills.py [--points 200] [--flips 300] [--seed 0] [kills flips disk]

kills  A save by 1, 2 and 3 processes, one of which is killed: half of the times at a boundary (just
       before a file is opened, written to, half way through a write, before an fsync, a rename, a
       removal), half at any moment. What then loads, in 1 to 3 parts, is the old or the new state
       bit for bit; no rank hangs; the next save is made and tidies up.
flips  One bit of one file, a truncation, a byte more, or a file that is gone: found by `load` and
       `verify`, which name it; the newest save that does not need it loads.
disk   No space at every boundary of every rank; a small disk that fills up; folders that cannot be
       written to: a clear error in every rank, and the old state loads.

The answer is 1 if anything was found that should not be.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # no thread may run where a process forks
os.environ["NUMBA_NUM_THREADS"] = "1"

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE)]

from checkpoint_disk import disks  # noqa: E402
from checkpoint_flips import flips  # noqa: E402
from checkpoint_teams import KINDS, OLD, Saves  # noqa: E402

PARTS = ("kills", "flips", "disk")


@dataclass
class Tally:
    """What became of one kind of disturbance."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, fault: str, **counts: int) -> None:
        self.counts.update({"points": 1, **counts})
        self.faults += [fault] if fault else []


def kills(home: Path, points: int, seed: int) -> list[Tally]:
    """``points`` kills in all, over 1 to 3 processes and every kind of save. A moment may come too
    late: then there is one more.
    """
    cases = [(world, kind) for world in (1, 2, 3) for kind in KINDS]
    tallies = []
    for number, (world, kind) in enumerate(cases):
        tally = Tally(f"kill -9, {world} ranks, {kind}")
        share = points // len(cases) + (number < points % len(cases))
        saves = Saves(home / f"{world}{kind}", world, kind, seed)
        tries = 0
        while tally.counts["killed"] < share and tries < 10 * share:
            tries += 1
            rank = saves.rng.randrange(world)
            if tries % 2:
                moment = saves.rng.uniform(*saves.spans[rank])
                ended, when = saves.run(rank, moment=moment), f"{moment:.4f} s"
            else:
                at = saves.rng.randint(1, saves.totals[rank])
                ended, when = saves.run(rank, kill=at), f"boundary {at} of {saves.totals[rank]}"
            fault = saves.fault(ended, {0, 3, -9}, rank)
            old = ended.state in (OLD, "nothing")
            where = f"{tally.name}, rank {rank} at {when}: {fault}" if fault else ""
            tally.add(where, old=old, new=ended.state == "new", killed=-9 in ended.codes,
                      left=ended.left > 0)  # fmt: skip
        tallies.append(tally)
    return tallies


COLUMNS = ("points", "killed", "old", "new", "left", "found", "offered", "clear")


def shown(tallies: list[Tally]) -> Table:
    table = Table("disturbance", *COLUMNS, "faults")
    for tally in tallies:
        numbers = (str(tally.counts[c]) if c in tally.counts else "" for c in COLUMNS)
        table.add_row(tally.name, *numbers, str(len(tally.faults)))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--points", type=int, default=200, help="kills")
    parser.add_argument("--flips", type=int, default=300)
    parser.add_argument("--boundaries", type=int, default=30, help="at most, of each full disk")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the counts here")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}; expected {', '.join(PARTS)}")
    print(f"seed {chosen.seed}")
    began, tallies, asked = time.monotonic(), [], chosen.parts or PARTS
    # A kill is no power cut: memory will do, and has no slow fsync.
    memory = next((d for d in ("/dev/shm",) if os.access(d, os.W_OK)), None)
    with tempfile.TemporaryDirectory(prefix="rowtune-saves.", dir=memory) as folder:
        home = Path(folder)
        home.chmod(0o755)  # somebody else than root looks into it, too
        if "kills" in asked:
            tallies += kills(home / "kills", chosen.points, chosen.seed)
        if "flips" in asked:
            rng = random.Random(chosen.seed)
            tallies += flips(home / "flips", chosen.flips, rng, Tally)
        if "disk" in asked:
            tallies += disks(home / "disk", chosen.boundaries, chosen.seed, Tally)
    Console(width=120).print(shown(tallies))
    print(f"{time.monotonic() - began:.0f} seconds")
    faults = [fault for tally in tallies for fault in tally.faults]
    for fault in faults[:40]:
        print(fault)
    if chosen.json:
        facts = [{"name": t.name, **t.counts, "faults": t.faults} for t in tallies]
        chosen.json.write_text(json.dumps(facts, indent=1))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
