"""What the guide shows is run, as one process that is a group of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

GUIDE = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text()


def test_its_python_runs_and_says_what_it_shows(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    shown = code + (
        "import numpy, rowtune\n"
        "patched = rowtune.apply_patch(table.numpy(), 'rows.safetensors')\n"
        "assert (patched[:900] == table[:900].numpy()).all()\n"
        "assert (patched[900:] != table[900:].numpy()).any()\n"
    )
    # What torchrun sets, with a store that asks for a free port.
    alone = {"RANK": "0", "WORLD_SIZE": "1"}
    meeting = f'"gloo", init_method="file://{tmp_path}/meeting", rank=0, world_size=1'
    shown = shown.replace('init_process_group("gloo")', f"init_process_group({meeting})")
    done = subprocess.run(
        [sys.executable, "-c", shown], cwd=tmp_path, env={**os.environ, **alone},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{'0': 'ddp'} {'0': 'block, state and gradient take 7.2 kB")


def test_every_name_that_it_shows_is_there():
    from rowtune.torch import distributed

    for name in re.findall(r"`(LazyEmbedding|distribute|Placed|Shard)\b", GUIDE):
        assert hasattr(distributed, name)
