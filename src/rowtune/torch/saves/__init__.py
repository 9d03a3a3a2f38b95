"""Saves of a whole training: blocks, what an optimizer remembers of them, and all that is dense.

from rowtune.torch import saves

saver = saves.Saver("saves")
saver.save(model, optimizer, step=1000, extra={"epoch": 3})
saves.load("saves", model, optimizer).extra
"""

from __future__ import annotations

from rowtune.torch.saves.ranks import Ranks
from rowtune.torch.saves.training import Saver, load

__all__ = ["Ranks", "Saver", "load"]
