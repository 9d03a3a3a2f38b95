"""Writing the page: old files survive errors, and progress is told."""

from __future__ import annotations

import os

import numpy as np
import pytest

from rowtune.report.page import write_report
from rowtune.vectors.vectors import Vectors


def test_a_failing_disk_leaves_the_old_page(small, tmp_path, monkeypatch):
    index = write_report(small.extension, small.vectors, tmp_path)
    index.write_bytes(b"the old page")
    real = os.replace

    def full(source, target):
        if str(target).endswith("index.html"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(small.extension, small.vectors, tmp_path)
    assert index.read_bytes() == b"the old page"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "index.html",
        "map.png",
        "pretend_oov.png",
    ]


def test_another_table_is_refused_before_anything_is_written(case, tmp_path):
    (tmp_path / "map.png").write_bytes(b"old")
    other = Vectors(["elsewhere"], np.ones((1, 12), np.float32))
    with pytest.raises(KeyError, match="old"):
        write_report(case.extension, other, tmp_path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("map.png", b"old")]


def test_progress_is_told_to_the_end(small, tmp_path):
    seen = []
    write_report(small.extension, small.vectors, tmp_path, progress=lambda *at: seen.append(at))
    assert {stage for stage, _, _ in seen} == {"map", "page"}
    assert seen[-1] == ("page", 3, 3)
