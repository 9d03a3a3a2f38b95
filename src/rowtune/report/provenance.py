"""Where a result comes from: versions, hashes and the command, for the page and for `--json`."""

from __future__ import annotations

import datetime
import platform
from importlib import metadata

from rowtune.learn.result import Extension

LIBRARIES = {"NumPy": "numpy", "numba": "numba"}  # those whose version can change a number


def versions() -> dict[str, str]:
    """Return name -> version of what made the numbers, and the kind of machine."""
    return {
        "rowtune": _version("rowtune"),
        "Python": platform.python_version(),
        **{name: _version(package) for name, package in LIBRARIES.items()},
        "machine": f"{platform.system()} {platform.machine()}",
    }


def hashes(extension: Extension) -> dict[str, str]:
    """Return what went in and what the old rows are now, as SHA-256; no corpus hash, no entry."""
    proof = extension.frozen
    corpus = {"corpus": extension.corpus_sha256} if extension.corpus_sha256 else {}
    return {
        **corpus,
        "old rows before": proof.sha256_before,
        "old rows after": proof.sha256_after,
    }


def written_now() -> str:
    """Return this minute in UTC, as a reader writes it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "not installed"
