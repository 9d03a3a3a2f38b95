"""A coverage-guided fuzzer for every reader: `python fuzz/fuzz_readers.py [options of libFuzzer]`.

Needs ``pip install atheris`` (Linux, Python 3.11 or newer). The corpus is made here: one input for
each file of each seed, whole, and nothing is kept of what is found but inputs that fail. An input
is the number of a seed, the number of one of its files, and the bytes that take that file's place.
Whatever they are, these hold:

- loading gives a table, or a `RowtuneError` of one line that names the file;
- it takes no more memory than `MULTIPLE` times the files and `BESIDES` bytes (what an unpacker
  takes at any size), and four times what it unpacks: what Python and NumPy ask for, touched or not;
  Arrow's pool; and by how much the process itself grows, which is what unpackers in C take;
- it ends, within the seconds of ``-timeout``.

    python fuzz/fuzz_readers.py --only npy -max_total_time=600 -rss_limit_mb=1024 -timeout=10

`ten_minutes_each.py` runs one reader after the other and writes the table `RESULTS.md`.
"""

from __future__ import annotations

import importlib
import pkgutil
import resource
import shutil
import sys
import tempfile
import tracemalloc
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import atheris

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

with atheris.instrument_imports(include=["rowtune", "zipfile", "json", "gzip", "bz2", "lzma"]):
    import rowtune.vectors
    from rowtune import patch_file
    from rowtune.errors import RowtuneError
    from rowtune.vectors import load, unpacking

    # What is imported within functions would come too late to be instrumented.
    for _module in pkgutil.iter_modules(rowtune.vectors.__path__):
        importlib.import_module(f"rowtune.vectors.{_module.name}")

import pyarrow as pa  # noqa: E402

from vectors.reader_seeds import Files, lay, patches, readers  # noqa: E402

MULTIPLE, BESIDES = 100, 1 << 24
PIECE = 64 << 20  # what an allocator takes from the system at a time, seen: 32 MB
LONGEST = 2000  # bytes of an input; the seeds have up to 1,500
PATCH, OF_WHAT_IS_UNPACKED = "patch", 4
FOLDER = Path(tempfile.mkdtemp(prefix="rowtune-fuzz."))


def all_seeds() -> dict[str, list[Files]]:
    """The seeds of each reader, that of patches too."""
    return {**readers(), PATCH: patches()}


class Target:
    """What libFuzzer calls, for some of the readers."""

    def __init__(self, seeds: dict[str, list[Files]]) -> None:
        self.seeds = [(name, files) for name, each in seeds.items() for files in each]
        self.unpacked = 0  # bytes, in this call
        unpacking._read_all = self._counted(unpacking._read_all)

    def __call__(self, data: bytes) -> None:
        """Read a seed with one of its files replaced, and look at what comes and what it took."""
        if len(data) < 2:
            return
        name, files = self.seeds[data[0] % len(self.seeds)]
        names = [file for file in files if file]
        changed = names[data[1] % len(names)]
        now = {**files, changed: data[2:]}
        shutil.rmtree(FOLDER)
        FOLDER.mkdir()
        path = lay(FOLDER, now)
        self.unpacked = 0
        allowed = MULTIPLE * sum(map(len, now.values())) + BESIDES
        process = _peak_of_process()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        read(name, path)
        took = {
            "Python and NumPy": tracemalloc.get_traced_memory()[1] - before,
            "Arrow": pa.default_memory_pool().max_memory(),  # of any input so far
            "the process": _peak_of_process() - process,
        }
        allowed += OF_WHAT_IS_UNPACKED * self.unpacked
        for what, size in took.items():
            # The process grows by whole pieces that its allocators take from the system.
            allowed += PIECE if what == "the process" else 0
            assert size <= allowed, f"{what} took {size:,} bytes; allowed are {allowed:,}"

    def _counted(self, read_all: Callable[..., Any]) -> Callable[..., Any]:
        def counted(source: Any, file: Any) -> Any:
            return read_all(source, _Counting(file, self))

        return counted


class _Counting:
    """A file that is being unpacked, and how much has come out of it."""

    def __init__(self, file: Any, target: Target) -> None:
        self._file, self._target = file, target

    def read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        self._target.unpacked += len(data)
        return data


def read(name: str, path: Path) -> None:
    """A table that is whole, or one line that names the file."""
    try:
        if name == PATCH:
            for patch in patch_file.read_patches(path).values():
                assert len(patch.rows) == len(patch.ids)
            return
        v = load(path, cache=False)
    except RowtuneError as error:
        assert "\n" not in str(error) and str(FOLDER) in str(error), error
        return
    assert v.matrix.shape == (len(list(v.words)), v.dim)
    v.matrix.tobytes()


def _peak_of_process() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def write_corpus(folder: Path, target: Target) -> None:
    """One input for each file of each seed."""
    for i, (_, files) in enumerate(target.seeds):
        for j, name in enumerate(name for name in files if name):
            (folder / f"{i:02}-{j}").write_bytes(bytes([i, j]) + files[name])


def _checksum_that_agrees(facts: Mapping[str, str], _tensors: object) -> str:
    return facts["checksum"]


def main() -> None:
    arguments = sys.argv[1:]
    seeds = all_seeds()
    if arguments[:1] == ["--only"]:
        if arguments[1:2] == [] or arguments[1] not in seeds:
            sys.exit(f"--only takes the name of a reader: {', '.join(seeds)}")
        seeds, arguments = {arguments[1]: seeds[arguments[1]]}, arguments[2:]
    # A fuzzer finds no SHA-256, and what is checked below it must hold all the same.
    patch_file._checksum = _checksum_that_agrees
    target = Target(seeds)
    for name, files in target.seeds:  # what the first call of each imports is no part of the count
        shutil.rmtree(FOLDER)
        FOLDER.mkdir()
        read(name, lay(FOLDER, files))
    corpus = Path(tempfile.mkdtemp(prefix="rowtune-corpus."))
    write_corpus(corpus, target)
    warnings.simplefilter("ignore")
    tracemalloc.start()
    # Whole files stay to be damaged, though short ones beside the others of a seed reach as much.
    own = [f"-max_len={LONGEST}", "-keep_seed=1", str(corpus)]
    atheris.Setup([sys.argv[0], *arguments, *own], target)
    atheris.Fuzz()  # ends the process


if __name__ == "__main__":
    main()
