"""`python -m rowtune` is the command `rowtune`."""

from __future__ import annotations

from rowtune.cli import main

main()
