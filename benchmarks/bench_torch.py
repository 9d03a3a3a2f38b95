"""The five tables of `rowtune.torch` against what people use: ``bench_torch.py [1 2 3 4 5]``.

Each table is a file of its own and runs in a process of its own, so that what one leaves in the
allocator is not there for the next; within a table all methods take turns in one process. Results
are compared before any clock runs, printed, and written to ``benchmarks/results``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

TABLES = {
    "1": "torch_forum.py",
    "2": "torch_tokens.py",
    "3": "torch_zipf.py",
    "4": "torch_pooled.py",
    "5": "torch_memory.py",
}
BUSY = "torch's threads wait for each other then and look slow; run this on a quiet machine"


def main() -> None:
    chosen = sys.argv[1:] or list(TABLES)
    unknown = [number for number in chosen if number not in TABLES]
    if unknown:
        raise SystemExit(f"no table {', '.join(unknown)}; choose from {', '.join(TABLES)}")
    if os.getloadavg()[0] > 0.5:
        print(f"other work is running (load {os.getloadavg()[0]:.1f}):", BUSY, file=sys.stderr)
    failed = []
    for number in chosen:
        started = time.perf_counter()
        file = Path(__file__).parent / TABLES[number]
        if subprocess.run([sys.executable, str(file)], check=False).returncode:
            failed.append(number)
        print(f"table {number}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    if failed:
        raise SystemExit(f"failed: table {', '.join(failed)}")


if __name__ == "__main__":
    main()
