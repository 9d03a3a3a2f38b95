"""Six items on PyTorch: the trajectory of the NumPy engine, and what is said without PyTorch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trajectory import assert_is_numpys
from typer.testing import CliRunner

from rowtune import engines, six_items
from rowtune.cli.app import app

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.parametrize(("dim", "seed"), [(2, 0), (2, 1), (3, 2)])
def test_the_trajectory_is_that_of_the_numpy_engine(dim, seed):
    problem = six_items.Problem.draw(dim, 2000, seed)
    assert_is_numpys(engines.run_six_items(problem, "torch"), problem, "torch")


def test_the_problem_stays_as_it_was_drawn():
    problem, twin = (six_items.Problem.draw(2, 150, seed=4) for _ in range(2))
    run = engines.run_six_items(problem, "torch")
    assert problem.start.tobytes() == twin.start.tobytes() == run.trajectory[0].tobytes()
    assert len(np.unique(run.trajectory, axis=0)) == 2, "snapshots are not one and the same memory"


def test_progress_is_told_as_the_numpy_engine_tells_it():
    def told_by(engine):
        told = []
        engines.run_six_items(six_items.Problem.draw(2, 350), engine, lambda *all: told.append(all))
        return told

    told = told_by("torch")
    assert told == told_by("numpy")
    assert [call[1:] for call in told] == [(100, 350), (200, 350), (300, 350)]


@pytest.fixture
def rowtune(tmp_path):
    """Run Python in a folder of its own; returns the finished process."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip

    return run


def test_on_the_command_line_both_engines_print_the_same_run(rowtune):
    arguments = ["six-items", "--dim", "3", "--steps", "700", "--seed", "7", "--json", "-"]
    done = rowtune("-W", "error", "-m", "rowtune", *arguments, "--engine", "torch")
    assert done.returncode == 0, done.stderr
    assert "torch, 3-D, 700 steps" in done.stderr
    ours = json.loads(done.stdout)
    reference = json.loads(CliRunner().invoke(app, [*arguments, "--engine", "numpy"]).stdout)
    assert (ours.pop("engine"), reference.pop("engine")) == ("torch", "numpy")
    assert ours.keys() == reference.keys()
    for fact, value in reference.items():
        np.testing.assert_allclose(ours[fact], value, rtol=0, atol=1e-9, err_msg=fact)
    assert (ours["steps"], ours["dim"]) == (700, 3)


WITHOUT_TORCH = """
import sys

class NoTorch:
    asked = []

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            self.asked.append(name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTorch())
"""
LIBRARY = """
from rowtune import engines, six_items
from rowtune.errors import RowtuneError
problem = six_items.Problem.draw(2, 200)
print(engines.run_six_items(problem, "numpy").engine, *engines.names())
print("asked for torch:", NoTorch.asked, "loaded:", *sys.modules)
for _ in range(2):  # a failed import leaves nothing behind that a second one would find
    try:
        engines.run_six_items(problem, "torch")
    except RowtuneError as error:
        print(error)
"""
COMMAND = "from rowtune.cli import main; sys.argv[0] = 'rowtune'; main()"


def test_without_pytorch_the_numpy_engine_runs_and_the_other_says_what_to_install(rowtune):
    done = rowtune("-c", WITHOUT_TORCH + LIBRARY)
    assert done.returncode == 0, done.stderr
    engines_line, modules, first, second = done.stdout.splitlines()
    assert engines_line.startswith("numpy numpy torch")
    assert modules.startswith("asked for torch: [] loaded: ")
    assert {"rowtune", "rowtune.table"} <= set(modules.split())
    assert not {"tensorflow", "keras", "jax", "pytensor", "rowtune.torch"} & set(modules.split())
    assert first == second
    assert re.search(r"needs PyTorch: pip install \S+", first)


def test_without_pytorch_the_command_line_says_so_in_one_line(rowtune, tmp_path):
    done = rowtune("-c", WITHOUT_TORCH + COMMAND, "six-items", "--engine", "torch", "--json", "a")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "pip install" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_what_it_says_to_install_is_there(rowtune):
    done = rowtune("-c", WITHOUT_TORCH + "import rowtune.torch")
    said = done.stderr.strip().splitlines()[-1]
    (extra,) = re.findall(r'^ImportError: rowtune.torch needs PyTorch: .*rowtune\[(\w+)\]"', said)
    extras = PROJECT.read_text().partition("[project.optional-dependencies]\n")[2]
    assert re.search(rf'^{extra} = \[\s*"torch\b', extras.partition("\n[")[0], re.MULTILINE)
