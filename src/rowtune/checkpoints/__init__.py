"""Saves of blocks and states: incremental, sharded, whole or not there at all.

from rowtune import checkpoints

saver = checkpoints.Saver("saves", keep=2, full_every=10)
saver.save({"items": table}, step=100, extra={"epoch": 3})
checkpoints.load("saves", {"items": table}).step
"""

from __future__ import annotations

from rowtune.checkpoints.chain import verify
from rowtune.checkpoints.layout import steps
from rowtune.checkpoints.loading import load
from rowtune.checkpoints.part import Part
from rowtune.checkpoints.plan import Loaded
from rowtune.checkpoints.saver import Saver
from rowtune.checkpoints.team import Alone, Team

__all__ = ["Alone", "Loaded", "Part", "Saver", "Team", "load", "steps", "verify"]
