"""Kill every command that writes, at random moments and at every write boundary.

    python torture/kills.py [--kills 200] [--interrupts 50] [--seed 0] [COMMAND ...]

`adapt`, a run of which takes seconds, has a fifth of the random ones and 10 boundaries. Half of the
random moments fall anywhere in the command's time, half in the time in which it writes.
After each kill the final name holds the old bytes, or has no file where there was none, or holds
the complete new file; never a part. A table whose words lie in a second file (.npy, .tsv) may also
be found as rows without words, which no reader takes. Ctrl-C (SIGINT) must say so in one line and
end with 130. After every new kind of remains the command is run again, undisturbed, in the folder
as it was left, and must leave the right files. "left" counts folders with hidden files beside the
final name: a kill cannot tidy up, and a Ctrl-C only leaves some if it hits the tidying itself.

The answer is 1 if anything was found that should not be.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # no thread may run where a process forks
os.environ["COLUMNS"] = "200"

import argparse
import importlib
import json
import pkgutil
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE)]

from forked import Boundaries, start, wait, warm_up  # noqa: E402
from victims import HALF, NEW, OLD, REFUSED, VICTIMS, Outcome, Victim, lay_inputs  # noqa: E402

INTERRUPTED = 130
LEFT = "left"
SLOW, SLOW_SHARE, SLOW_BOUNDARIES = {"adapt"}, 5, 10


@dataclass
class Tally:
    """What became of one command under one signal."""

    name: str
    signal: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Torture:
    """One command, undisturbed once, and then killed again and again."""

    def __init__(self, victim: Victim, home: Path) -> None:
        self.victim, self.home = victim, home
        self.out, self.said = home / "out", home / "said"
        self.boundaries = Boundaries()
        self._seen: set[str] = set()
        self.out.mkdir()
        warm_up(victim.arguments, home)
        self.lasts = self._undisturbed()
        self.total, self.writes = self.boundaries.passed, self.boundaries.span
        made = home / "made"
        self.out.rename(made)
        self.outcome = Outcome(victim, made, home / "old")

    def _undisturbed(self) -> float:
        began = time.monotonic()
        code = wait(start(self.victim.arguments, self.boundaries, self.home, self.said))
        if code:
            raise SystemExit(f"{self.victim.name} fails by itself: {self.said.read_text()}")
        return time.monotonic() - began

    def at_boundary(self, tally: Tally, number: int, by: signal.Signals, with_old: bool) -> None:
        self.said.unlink(missing_ok=True)
        self.outcome.lay(self.out, with_old)
        self.boundaries.kill_at, self.boundaries.signal = number, by
        child = start(self.victim.arguments, self.boundaries, self.home, self.said)
        self._judge(tally, wait(child), by, with_old, f"boundary {number}")

    def at_moment(self, tally: Tally, after: float, by: signal.Signals, with_old: bool) -> None:
        self.said.unlink(missing_ok=True)
        self.outcome.lay(self.out, with_old)
        self.boundaries.kill_at = 0
        child = start(self.victim.arguments, self.boundaries, self.home, self.said)
        time.sleep(after)
        os.kill(child, by)  # not waited for yet, so the id is still its own
        self._judge(tally, wait(child), by, with_old, f"{after:.3f} s")

    def _judge(
        self, tally: Tally, code: int, by: signal.Signals, with_old: bool, when: str
    ) -> None:
        passed = self.boundaries.passed
        # A child that was killed at once has not begun its file.
        said = self.said.read_text(errors="replace") if self.said.exists() else ""
        state = self.outcome.state(self.out, with_old)
        left = [path.name for path in self.out.iterdir() if path.name not in self.victim.out]
        before = "before" if passed == 0 else "after" if passed >= self.total else "during"
        tally.counts.update(["kills", before, state, *[LEFT][: len(left)]])
        what = f"{when}{', old files there' if with_old else ''}"
        if state == HALF:
            tally.faults.append(f"half a file: {what}")
        if by is signal.SIGINT:
            fault = _fault_of_interrupt(code, said, state)
            tally.faults += [f"{fault}: {what}"] if fault else []
        elif code not in (0, -by):
            tally.faults.append(f"exit code {code} ({said.strip()[-200:]}): {what}")
        kind = f"{by} {state} {sorted(re.sub('[0-9a-f]{16}|_?[0-9a-z_]{8}', '*', n) for n in left)}"
        if kind not in self._seen:
            self._seen.add(kind)
            self._again(tally, what)

    def _again(self, tally: Tally, what: str) -> None:
        """An undisturbed run among what a kill left."""
        self.boundaries.kill_at = 0
        code = wait(start(self.victim.arguments, self.boundaries, self.home, self.said))
        tally.counts["run again"] += 1
        if code or self.outcome.state(self.out, False) != NEW:
            tally.faults.append(f"the next run ends with {code} and other files: {what}")


def _fault_of_interrupt(code: int, said: str, state: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    if code == 0 and state == NEW:
        return ""  # it came too late
    if code != INTERRUPTED:
        return f"Ctrl-C ends with {code} ({said.strip()[-300:]})"
    stopped = [line for line in lines if "stopped" in line]
    if len(stopped) != 1 or "Traceback" in said or (state == OLD and len(lines) != 1):
        return f"Ctrl-C says {said.strip()[-300:]!r}"
    return f"Ctrl-C leaves {state} files" if state not in (OLD, NEW) else ""


def torture(
    victim: Victim, chosen: argparse.Namespace, kills: int, interrupts: int, bars: Progress
) -> list[Tally]:
    """Every boundary and random moments, by both signals."""
    rng = random.Random(f"{chosen.seed} {victim.name}")
    bar = bars.add_task(victim.name, total=None)
    tallies = []
    with tempfile.TemporaryDirectory(prefix="rowtune-kills.") as folder:
        home = Path(folder)
        os.environ["ROWTUNE_CACHE_DIR"] = str(home / "cache")
        os.environ["TMPDIR"] = folder
        lay_inputs(home / "in")
        case = Torture(victim, home)
        most = min(chosen.boundaries, SLOW_BOUNDARIES if victim.verb in SLOW else chosen.boundaries)
        places = spread(case.total, most)
        bars.update(bar, total=2 * 2 * len(places) + kills + interrupts)
        for by, moments in ((signal.SIGKILL, kills), (signal.SIGINT, interrupts)):
            tally = Tally(victim.name, by.name)
            for number in places:
                for with_old in (False, True):
                    case.at_boundary(tally, number, by, with_old)
                    bars.advance(bar)
            for i in range(moments):
                anywhere = rng.uniform(0, 1.02 * case.lasts)
                after = anywhere if i % 2 else rng.uniform(*case.writes)
                case.at_moment(tally, after, by, with_old=i % 4 < 2)
                bars.advance(bar)
            if tally.counts["kills"]:
                tallies.append(tally)
    return tallies


def spread(total: int, count: int) -> list[int]:
    """Boundaries to kill at: the last ones, where files get their names, and some before them."""
    last = min(total, -(-count // 2))
    before = total - last
    step = max(1, -(-before // max(1, count - last)))
    some = range(1, before + 1, step)[: count - last]
    return [*some, *range(before + 1, total + 1)]


COLUMNS = "kills", "before", "during", "after", OLD, NEW, REFUSED, HALF, LEFT, "run again"


def shown(tallies: list[Tally]) -> Table:
    table = Table("command", "signal", *COLUMNS, "faults")
    for tally in tallies:
        numbers = (str(tally.counts[column]) for column in COLUMNS)
        table.add_row(tally.name, tally.signal, *numbers, str(len(tally.faults)))
    return table


def import_all() -> None:
    """Once, before any fork; nothing is called, so that no pool of threads starts."""
    for package in [f"rowtune.{name}" for name in ("vectors", "learn", "adapt", "cli", "report")]:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{module.name}")
    importlib.import_module("pyarrow.csv")


def main() -> int:
    names = list(dict.fromkeys(name for v in VICTIMS for name in (v.verb, v.name)))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(names))
    parser.add_argument("--kills", type=int, default=200, help="random ones, of each verb")
    parser.add_argument("--interrupts", type=int, default=50, help="random Ctrl-Cs, of each verb")
    parser.add_argument(
        "--boundaries", type=int, default=1000, help="at most so many, of each command and format"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the counts here")
    chosen = parser.parse_args()
    if unknown := set(chosen.commands) - set(names):
        parser.error(f"no command {', '.join(unknown)}; expected {', '.join(names)}")
    print(f"seed {chosen.seed}")
    import_all()
    asked = set(chosen.commands) or set(names)
    victims = [victim for victim in VICTIMS if {victim.verb, victim.name} & asked]
    several = Counter(victim.verb for victim in victims)
    console, tallies = Console(stderr=True), []
    with Progress(console=console, disable=not console.is_terminal) as bars:
        for victim in victims:
            among = several[victim.verb] * (SLOW_SHARE if victim.verb in SLOW else 1)
            share = [-(-n // among) for n in (chosen.kills, chosen.interrupts)]
            tallies += torture(victim, chosen, *share, bars)
    Console().print(shown(tallies))
    faults = [f"{t.name}, {t.signal}: {fault}" for t in tallies for fault in t.faults]
    for fault in faults[:40]:
        print(fault)
    if chosen.json:
        facts = [{"command": t.name, "signal": t.signal, **t.counts, "faults": t.faults}
                 for t in tallies]  # fmt: skip
        chosen.json.write_text(json.dumps(facts, indent=1))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
