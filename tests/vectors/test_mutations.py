"""Damaged bytes of any format: a table or one line of refusal, never a crash or much memory."""

from __future__ import annotations

import tempfile
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowtune.errors import RowtuneError
from rowtune.vectors import load
from vectors.reader_seeds import ROWS, SPACED, WORDS, Files, lay, seeds

SEEDS = seeds()
EDGES = [
    *(b"\0", b"\xff", b"\n", b"\t", b" ", b"[", b'"', b"-", b"nan", b"1e999", b"9" * 18),
    *(b"\xff\xff\xff\x7f", b"\xff" * 8, b"\0\0\0\0\0\0\0\x40", b"\xdf\xff\xff\xff\xff"),
]
MULTIPLE, BESIDES = 100, 1 << 24  # of the files' bytes; what an unpacker of xz takes at any size


def read(files: Files) -> object:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # spaCy's words without a string
        try:
            v = load(lay(Path(folder), files), cache=False)
        except RowtuneError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
            assert folder in str(error)
            return error
        assert v.matrix.shape == (len(list(v.words)), v.dim) and v.dim > 0
        return v.matrix.tobytes()


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_are_whole(tmp_path: Path, name: str) -> None:
    v = load(lay(tmp_path, SEEDS[name]), cache=False)
    assert list(v.words) == (SPACED if "spaces" in name else WORDS) and v.dim == 3
    if not name.startswith(("fastText", "spaCy", "model2vec mapped")):
        assert np.array_equal(v.matrix, ROWS)


@st.composite
def damaged(draw: st.DrawFn, files: Files) -> Files:
    """Some bytes changed, put in, taken out, repeated, or the rest cut off, in one of the files."""
    name = draw(st.sampled_from([n for n in files if n]))
    data = files[name]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        width = draw(st.sampled_from([0, 1, 2, 4, 8, 20]))
        new = draw(st.sampled_from(EDGES) | st.binary(max_size=8))
        kind = draw(st.sampled_from(["put", "over", "out", "twice", "cut"]))
        data = {
            "put": data[:at] + new + data[at:],
            "over": data[:at] + new + data[at + len(new) :],
            "out": data[:at] + data[at + width :],
            "twice": data[: at + width] + data[at:],
            "cut": data[:at],
        }[kind]
    return {**files, name: data}


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damage_is_refused_or_read(name: str, data: st.DataObject) -> None:
    read(data.draw(damaged(SEEDS[name])))


@pytest.mark.parametrize("name", SEEDS)
def test_every_cut_is_refused_or_read(name: str) -> None:
    for file, whole in SEEDS[name].items():
        for length in range(0, len(whole), 1 + len(whole) // 40):
            read({**SEEDS[name], file: whole[:length]})


@pytest.mark.parametrize("name", SEEDS)
def test_what_a_header_claims_is_not_allocated(name: str) -> None:
    """Every run of four and eight bytes in turn becomes a huge number."""
    read(SEEDS[name])  # imports are no part of the count
    files = {file: data for file, data in SEEDS[name].items() if file}
    size = sum(map(len, files.values()))
    for file, whole in files.items():
        for huge in (b"\xff\xff\xff\x3f", b"\x00\x10\xa5\xd4\xe8\0\0\0", b"9" * 12):
            for at in range(0, min(len(whole), 240), 7):
                changed = {**SEEDS[name], file: whole[:at] + huge + whole[at + len(huge) :]}
                tracemalloc.start()
                read(changed)
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                assert peak < MULTIPLE * size + BESIDES
