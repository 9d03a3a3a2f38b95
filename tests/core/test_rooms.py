"""The house: imports run one way, frameworks stay in their rooms, `import rowtune` is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rowtune

ROOT = Path(rowtune.__file__).parent

# From the bottom up. A room may import itself and the rooms above it in this list, never below.
ROOMS = [
    ["errors"],
    ["places", "signals"],
    ["atomic", "checksum", "keys", "row_memory", "rows", "rules", "finite", "bounds", "quantized"],
    ["tables"],
    ["step", "base", "ledger", "state_folder"],
    ["kernels", "patch", "on_host"],
    ["key_maps", "patch_file", "vocabulary_file"],
    ["vocabulary"],
    ["apply", "numpy_verbs", "checks", "assemble", "subset", "checkpoints"],
    ["numpy_engine"],
    ["catch_up"],
    ["block"],
    ["table_files", "table_checkpoint", "table_growth", "table_hyper", "table_writes"],
    ["table"],
    ["vectors"],
    ["six_items", "learn"],
    ["adapt"],
    ["evaluate"],
    ["torch", "jax", "pytensor", "tensorflow"],
    ["keras"],
    ["engines"],
    ["report"],
    ["cli"],
    ["__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
# Each framework, and the only room that may name it; of Keras's backends, one file each as well.
FRAMEWORKS = {
    "torch": {"torch", "keras/on_torch"},
    "tensorflow": {"tensorflow", "keras/on_tensorflow"},
    "keras": {"keras"},
    "jax": {"jax", "keras/on_jax", "keras/left"},
    "optax": {"jax"},
    "flax": {"jax"},
    "equinox": {"jax"},
    "pytensor": {"pytensor"},
    "transformers": {"torch"},
    "torchrec": {"torch/torchrec_block"},
    "fbgemm_gpu": {"torch/torchrec_block"},
}
# Rooms of engines of which Keras has one at a time: only its file for that backend may open them.
APART = {"torch", "jax", "tensorflow"}
# What is heavy, and the only rooms that may name it.
HEAVY = {
    "numba": {"kernels", "learn", "evaluate", "pytensor"},
    "llvmlite": {"kernels"},
    "pyarrow": {"adapt", "vectors"},
    "matplotlib": {"report"},
    "mpl_toolkits": {"report"},
    "jinja2": {"report"},
    "typer": {"cli"},
    "rich": {"cli", "report"},
    "platformdirs": {"vectors"},
    "plotly": {"report"},
    "safetensors": {"patch_file", "vectors", "learn", "torch", "vocabulary_file"},
}


def room_of(path):
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imports_of(source):
    """Every module that a source names in an import, at any depth of the code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where an arrow goes"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def faults(room, source, file=""):
    """What is wrong with the imports of a file of this room, as sentences."""
    here = {room, f"{room}/{file}"}
    for name in imports_of(source):
        top, *rest = name.split(".")
        if top in FRAMEWORKS and not here & FRAMEWORKS[top]:
            yield f"{room} names the framework {top}"
        elif room == "keras" and top == "rowtune" and rest and rest[0] in APART:
            if not here & FRAMEWORKS[rest[0]]:
                yield f"{room} opens the room {rest[0]} outside of its backend's file"
        elif top in HEAVY and room not in HEAVY[top]:
            yield f"{room} names {top}, which lives in {sorted(HEAVY[top])}"
        elif top == "rowtune" and rest and rest[0] in LEVEL:
            other = rest[0]
            if other != room and LEVEL[other] >= LEVEL[room]:
                yield f"{room} imports {other}, which is not below it"


def files():
    return [p for p in sorted(ROOT.rglob("*.py")) if p != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    assert room_of(path) in LEVEL, "a new room needs its place in ROOMS"
    assert list(faults(room_of(path), path.read_text(), path.stem)) == []


@pytest.mark.parametrize(
    ("room", "source", "fault"),
    [
        ("rules", "from rowtune.table import Table", "rules imports table"),
        ("kernels", "def f():\n    import rowtune.cli.app", "kernels imports cli"),
        ("rows", "from rowtune import rules", "rows imports rules"),
        ("table", "import torch.nn", "table names the framework torch"),
        ("torch", "import jax.numpy", "torch names the framework jax"),
        ("keras", "import tensorflow", "keras names the framework tensorflow"),
        ("keras", "from rowtune.torch import optim", "keras opens the room torch"),
        ("six_items", "from rowtune.torch import Embedding", "six_items imports torch"),
        ("table", "import numba", "table names numba"),
        ("vectors", "from matplotlib import pyplot", "vectors names matplotlib"),
    ],
)
def test_the_room_test_sees_a_fault(room, source, fault):
    assert [f for f in faults(room, source) if f.startswith(fault)]


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_holds_one_idea(path):
    source = path.read_text()
    assert ast.get_docstring(ast.parse(source)), "its first line says what it holds"
    assert len(source.splitlines()) <= 330
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}


def modules_after(statement):
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_rowtune_imports_nothing_heavy():
    loaded = modules_after("import rowtune")
    assert "rowtune" in loaded
    assert not loaded & {*FRAMEWORKS, *HEAVY, "numpy"}


@pytest.mark.parametrize(
    "statement", ["import rowtune; rowtune.Table, rowtune.load", "import rowtune.cli.app"]
)
def test_no_verb_imports_a_framework(statement):
    loaded = modules_after(statement)
    assert not loaded & {*FRAMEWORKS, "matplotlib", "pyarrow"}


def test_the_import_test_sees_a_fault():
    assert "torch" in modules_after("import rowtune, torch")
