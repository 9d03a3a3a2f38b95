"""Tables larger than memory, blocks larger than a machine, several processes, and saves.

``python benchmarks/bench_scale.py [PART ...]`` runs every part in turn, or those that are named,
each in a process of its own, so that none counts another's memory; ``--quick`` takes small sizes
where a part has them. A part's file says what it measures, beside what, and asserts it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = {
    "steps": "a step against the size of the table, peak memory, keys, growth",
    "bases": "opening 20 GB, lookups in fewer bits, what is lost",
    "engines": "opening 20 GB on JAX, TensorFlow, PyTensor and Keras",
    "distributed": "rows per second on 1 and 2 processes, beside TorchRec alone",
    "checkpoints": "full and incremental saves",
}
QUICK = {
    "steps": ["--quick"],
    "checkpoints": ["--rows", "400000"],
}


def main() -> int:
    about = "\n".join(f"  {name:12} {what}" for name, what in PARTS.items())
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=f"parts:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="all of them by default")
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part {unknown[0]!r}; expected some of {', '.join(PARTS)}")
    failed = []
    for name in chosen.parts or PARTS:
        print(f"--- {name}: {PARTS[name]}", flush=True)
        start = time.monotonic()
        options = QUICK.get(name, []) if chosen.quick else []
        done = subprocess.run([sys.executable, HERE / f"scale_{name}.py", *options], check=False)
        print(f"--- {name}: {time.monotonic() - start:.0f} s", flush=True)
        failed += [name] if done.returncode else []
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
