from __future__ import annotations

import pytest

from rowtune.learn.missing import reason


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("python", {"Python"}, ("case", "Python")),
        ("NASA", {"nasa"}, ("case", "nasa")),
        ("e-mail", {"email"}, ("punctuation", "email")),
        ("file_name", {"file-name"}, ("punctuation", "file-name")),
        ("__init__", {"init"}, ("punctuation", "init")),
        ("python3", {"python"}, ("number", "python")),
        ("1990s", {"####s"}, ("number", "####s")),
        ("dataclasses", {"dataclass"}, ("number", "dataclass")),
        ("coroutine", {"coroutines"}, ("number", "coroutines")),
        ("queries", {"query"}, ("number", "query")),
        ("kwargs", {"args"}, ("new", None)),
        ("x", {"x"}, ("new", None)),
    ],
)
def test_reasons(word, known, expected):
    assert reason(word, known.__contains__) == expected
