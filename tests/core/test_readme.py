"""What the README shows is run, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from rowtune.cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def table_code():
    """The first; those of other engines are run beside the tests of these."""
    return blocks("python")[0]


@pytest.mark.glove
def test_its_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROWTUNE_CACHE_DIR", str(tmp_path / "cache"))
    names = {}
    exec(table_code(), names)
    table = names["table"]
    assert (table.steps == 100).all()
    frozen = np.setdiff1d(np.arange(400_000), names["chosen"])
    assert names["patched"][frozen].tobytes() == names["vectors"].matrix[frozen].tobytes()
    spread = table.block.std(axis=0).mean()
    assert spread < 0.5 * names["vectors"].matrix[names["chosen"]].std(axis=0).mean()


def test_its_python_is_ten_lines():
    assert len([line for line in table_code().splitlines() if line and "import" not in line]) <= 10


def large_code():
    (code,) = (block for block in blocks("python") if "from rowtune import checkpoints" in block)
    return code


def test_its_large_table_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(large_code(), names)
    table, keys = names["table"], names["keys"]
    assert keys.rows([2**63, 7, 8]).tolist() == [-1, 0, -1]
    assert len(table) == 100_001
    assert names["checkpoints"].steps("saves") == [0]


def test_the_code_of_other_engines_is_run_by_their_tests():
    for code in set(blocks("python")[1:]) - {large_code()}:
        (engine,) = re.findall(r"import rowtune\.(\w+) as", code)
        tests = [path.read_text() for path in (ROOT / "tests" / engine).glob("test_*.py")]
        assert any('engine_code("' + engine + '")' in text for text in tests), engine


def test_its_commands_exist():
    targets = re.findall(r"^([a-z-]+)(?= |:).*?:", (ROOT / "Makefile").read_text(), flags=re.M)
    verbs = {command.name or command.callback.__name__.replace("_", "-")
             for command in app.registered_commands}  # fmt: skip
    shell = "\n".join(blocks("sh"))
    named = re.findall(r"^make ([a-z-]+)", shell, flags=re.M)
    assert {"demo", "test"} <= set(named) <= set(targets)
    assert set(re.findall(r"^rowtune ([a-z-]+)", shell, flags=re.M)) == verbs


def test_its_pictures_and_links_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
