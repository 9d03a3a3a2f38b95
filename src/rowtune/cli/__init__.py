"""The command line: it parses, calls the library, and prints. One file for each verb."""

from __future__ import annotations

from rowtune.cli.app import main

__all__ = ["main"]
