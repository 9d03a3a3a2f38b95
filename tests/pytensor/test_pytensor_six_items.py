"""Six items on PyTensor: the trajectory of the NumPy engine, and what is said without PyTensor."""

from __future__ import annotations

import subprocess
import sys

import pytest
from trajectory import assert_is_numpys

from rowtune import six_items
from rowtune.pytensor.six_items import run


@pytest.mark.parametrize(("dim", "seed"), [(2, 0), (2, 1)])
def test_the_trajectory_is_that_of_the_numpy_engine(dim, seed):
    problem = six_items.Problem.draw(dim, 2000, seed)
    before = problem.start.tobytes()
    told = []
    ours = run(problem, lambda *all: told.append(all))
    assert_is_numpys(ours, problem, "pytensor")
    assert problem.start.tobytes() == before
    assert told[0] == ("training six items", 100, 2000) and len(told) == 20


WITHOUT = """
import sys

class NoPyTensor:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pytensor":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoPyTensor())
import rowtune, rowtune.engines
for _ in range(2):
    try:
        import rowtune.pytensor
    except ImportError as error:
        print(error)
"""


def test_without_pytensor_it_says_what_to_install():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=60
    )
    said = 'rowtune.pytensor needs PyTensor: pip install "rowtune[pytensor]"'
    assert done.stdout.splitlines() == [said] * 2
