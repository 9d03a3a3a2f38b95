"""A coverage-guided fuzzer for every reader: `python fuzz/fuzz_readers.py [options of libFuzzer]`.

Needs ``pip install atheris`` (Linux, Python 3.11 or newer). The corpus is made here: one input per
format, whole. An input is the number of a seed, the number of one of its files, and the bytes that
take that file's place; whatever they are, loading gives a table or a `RowtuneError` of one line.

    python fuzz/fuzz_readers.py -max_total_time=600 -rss_limit_mb=2048 -timeout=10
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

with atheris.instrument_imports(include=["rowtune", "zipfile", "json"]):
    from rowtune.errors import RowtuneError
    from rowtune.vectors import load

from vectors.reader_seeds import seeds  # noqa: E402

SEEDS = list(seeds().values())
FOLDER = Path(tempfile.mkdtemp(prefix="rowtune-fuzz."))
warnings.simplefilter("ignore")


def one_input(data: bytes) -> None:
    """Load a seed with one of its files replaced."""
    if len(data) < 2:
        return
    files = SEEDS[data[0] % len(SEEDS)]
    names = [name for name in files if name]
    changed = names[data[1] % len(names)]
    for path in FOLDER.iterdir():
        path.unlink()
    for name in names:
        (FOLDER / name).write_bytes(data[2:] if name == changed else files[name])
    try:
        v = load(FOLDER / next(iter(files)), cache=False)
    except RowtuneError as error:
        assert "\n" not in str(error), error
        return
    assert v.matrix.shape == (len(list(v.words)), v.dim)
    v.matrix.tobytes()


def write_corpus(folder: Path) -> None:
    """One input for each file of each seed."""
    for i, files in enumerate(SEEDS):
        for j, name in enumerate(name for name in files if name):
            (folder / f"{i:02}-{j}").write_bytes(bytes([i, j]) + files[name])


def main() -> None:
    corpus = Path(tempfile.mkdtemp(prefix="rowtune-corpus."))
    write_corpus(corpus)
    try:
        atheris.Setup([*sys.argv, "-max_len=2000", str(corpus)], one_input)
        atheris.Fuzz()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    main()
