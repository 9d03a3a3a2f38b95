"""Waiting for a moment without other work on the machine, so that figures say something."""

from __future__ import annotations

import os
import time
from pathlib import Path

LOOK, MOST = 0.1, 0.15  # seconds to look; cores' worth of other work that is quiet enough


def wait_for_quiet(patience: float) -> bool:
    """Whether the machine was quiet within so many seconds; where it cannot tell, it says yes."""
    until = time.monotonic() + patience
    while True:
        before = _busy_elsewhere()
        if before is None:
            return True
        start = time.monotonic()
        time.sleep(LOOK)
        after = _busy_elsewhere()
        if after is not None and after - before < MOST * (time.monotonic() - start):
            return True
        if time.monotonic() > until:
            return False


def _busy_elsewhere() -> float | None:
    """Seconds of all cores' work so far, without this process's own."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, fields)
    ticks = user + nice + system + irq + softirq + stolen
    own = os.times()
    return ticks / os.sysconf("SC_CLK_TCK") - own.user - own.system
