"""The docstrings of the running interpreter's standard library, without importing what is unsafe.

Modules written in Python are parsed, not imported: importing some of them opens a browser, prints,
or changes the process. Compiled-in modules have no source, but are plain to import.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Not prose about Python: tests, demonstrations, an editor, what pip put there, and two jokes.
_LEFT_OUT = {
    *("test", "tests", "idlelib", "turtledemo", "lib2to3", "site-packages", "dist-packages"),
    *("__pycache__", "__phello__", "this.py", "antigravity.py"),
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(notes: list[str]) -> Iterator[str]:
    """Each module's docstrings as one text, in sorted order; what cannot be read adds a note."""
    folder = Path(sysconfig.get_path("stdlib"))
    unread = 0
    for path in _sources(folder):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old escapes in other people's strings
                tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            unread += 1
            continue
        nodes = [node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)]
        yield "\n\n".join(text for node in nodes if (text := ast.get_docstring(node)))
    for name in sorted(sys.builtin_module_names):
        try:
            module = importlib.import_module(name)
        except Exception:  # whatever a module of some build may raise; a note counts them
            unread += 1
            continue
        yield "\n\n".join(_compiled(module))
    if unread:
        notes.append(f"{unread:,} modules of the standard library could not be read.")


def _sources(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name not in _LEFT_OUT and not name.startswith("config-")
        )
        for name in sorted(files):
            if name.endswith(".py") and name not in _LEFT_OUT:
                yield Path(parent, name)


def _compiled(module: Any) -> Iterator[str]:
    """Docstrings of a compiled module, its functions and classes, and their own methods."""
    yield from _doc(module)
    for _, value in sorted(vars(module).items()):
        if inspect.isclass(value) and value.__module__ == module.__name__:
            yield from _doc(value)
            for _, member in sorted(vars(value).items()):
                if callable(member) or inspect.isdatadescriptor(member):
                    yield from _doc(member)
        elif inspect.isbuiltin(value):
            yield from _doc(value)


def _doc(thing: Any) -> Iterator[str]:
    text = getattr(thing, "__doc__", None)
    if isinstance(text, str) and text:
        yield inspect.cleandoc(text)
