"""Fuzz one reader after the other: `python fuzz/ten_minutes_each.py [--seconds 600] [READER ...]`.

After each reader its line in `RESULTS.md` is written, so that a run that is stopped keeps what it
has; readers that are not named keep the lines they had. The seconds are those that the processor
worked on it, so that a busy machine takes longer and does no less. Inputs that fail go to
`--found`, a folder for each reader. The answer is 1 if there were any.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
# Atheris keeps the arrays that instrumented code compares: gigabytes in an hour. `fuzz_readers`
# watches what one input takes; this only ends what has gone astray.
RSS_LIMIT_MB, TIMEOUT_SECONDS = 4096, 10
sys.path[:0] = [str(HERE.parent / "src"), str(HERE.parent / "tests")]

COLUMNS = (
    "reader", "seconds of CPU", "inputs", "coverage (edges)", "features", "corpus", "failures",
    "slowest input (s)", "peak of the process (MB)",
)  # fmt: skip
EXPLAINED = f"""\
# Fuzzing, reader by reader

Written by `fuzz/ten_minutes_each.py`. An input is a whole small table in which one file has other
bytes. It fails if reading it ends in anything but a table or an error of one line that names the
file, if it takes longer than {TIMEOUT_SECONDS} seconds, or if it takes more memory than 100 times
the bytes of the files, 16 MB, and four times what it unpacks (and 64 MB more for the process as a
whole, whose peak is for the most part arrays that the fuzzer itself keeps: ten thousand reads
without it add 0.1 MB). The corpus is what the fuzzer thought worth keeping of its inputs, which
have up to 2,000 bytes; it begins with the seeds of `tests/vectors/reader_seeds.py`. Packed readers
see damage to the packing for the most part: what is inside has a reader of its own.

"""


def fuzz(reader: str, seconds: int, found: Path) -> tuple[str, ...]:
    """One reader's line of the table."""
    place = found / reader
    place.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, str(HERE / "fuzz_readers.py"), "--only", reader),
        *(f"-rss_limit_mb={RSS_LIMIT_MB}", f"-timeout={TIMEOUT_SECONDS}"),
        *("-print_final_stats=1", f"-artifact_prefix={place}/"),
    ]
    memory = Path("/dev/shm")  # the files of an input are written and read thousands of times
    environment = {**os.environ, **({"TMPDIR": str(memory)} if memory.is_dir() else {})}
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        worked = 0.0
        with subprocess.Popen(command, stdout=said, stderr=said, env=environment) as process:
            while process.poll() is None:
                worked = max(worked, _cpu_seconds(process.pid))
                if worked >= seconds:
                    process.send_signal(signal.SIGUSR1)  # libFuzzer ends at its next input
                time.sleep(1)
        said.seek(0)
        text = said.read()
    inputs, edges, features, corpus = _last_line(text)
    failures = len(list(place.iterdir())) or int(process.returncode != 0)
    if failures:
        (place / "said.log").write_text(text[-100_000:])
    else:
        place.rmdir()
    slowest, peak = (_statistic(text, name) for name in ("slowest_unit_time_sec", "peak_rss_mb"))
    numbers = f"{worked:.0f}", inputs, edges, features, corpus, str(failures), slowest, peak
    return (reader, *numbers)


def _cpu_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _last_line(text: str) -> tuple[str, str, str, str]:
    """Inputs, edges, features and corpus of the last line that has them."""
    found = re.findall(r"^#(\d+)\s.*?cov: (\d+) ft: (\d+) corp: (\d+/\w+)", text, re.MULTILINE)
    if not found:
        return ("0", "-", "-", "-")
    inputs, edges, features, corpus = found[-1]
    count, size = corpus.split("/")
    return f"{int(inputs):,}", edges, features, f"{count} of {size.replace('b', ' B')}"


def _statistic(text: str, name: str) -> str:
    found = re.findall(rf"stat::{name}:\s+(\d+)", text)
    return found[-1] if found else "-"


def read_table() -> dict[str, str]:
    """The lines of readers that `RESULTS.md` has."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| reader")]
    return {line.split("|")[1].strip(): line for line in rows}


def write_table(lines: dict[str, str], order: list[str], where: str) -> None:
    head = "| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS) + "\n"
    body = "".join(lines[name] + "\n" for name in order if name in lines)
    lacking = [name for name in order if name not in lines]
    missing = f"\nNot run yet: {', '.join(lacking)}.\n" if lacking else ""
    RESULTS.write_text(EXPLAINED + head + body + missing + f"\n{where}\n")


def machine() -> str:
    packages = ("atheris", "numpy", "pyarrow", "safetensors")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores that other work "
        f"shared, {gigabytes:.0f} GB; Python {platform.python_version()}, {versions}."
    )


def main() -> int:
    from vectors.reader_seeds import readers  # noqa: PLC0415 - found by the path set above

    order = [*readers(), "patch"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(order))
    parser.add_argument("--seconds", type=int, default=600, help="for each reader")
    parser.add_argument("--at-once", type=int, default=1, choices=(1, 2), help="readers at a time")
    parser.add_argument("--found", type=Path, default=Path(tempfile.gettempdir(), "rowtune-found"))
    asked = parser.parse_args()
    unknown = set(asked.readers) - set(order)
    if unknown:
        parser.error(f"no reader {', '.join(sorted(unknown))}; expected {', '.join(order)}")
    chosen = asked.readers or order
    lines, lock = read_table(), threading.Lock()
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("fuzzing", total=len(chosen))

        def run(reader: str) -> bool:
            row = fuzz(reader, asked.seconds, asked.found)
            with lock:
                lines[reader] = "| " + " | ".join(row) + " |"
                write_table(lines, order, machine())
                console.print(" | ".join(row), highlight=False)
                bars.advance(bar)
            return row[6] != "0"

        failed = sum(_all(run, chosen, asked.at_once))
    if failed:
        console.print(f"{failed} readers failed; what failed lies in {asked.found}")
    return int(failed > 0)


def _all(run: Callable[[str], bool], readers: list[str], at_once: int) -> list[bool]:
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(run, readers))


if __name__ == "__main__":
    sys.exit(main())
