"""Code of the README, for the tests of the engine that it is for."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def engine_code(engine: str) -> str:
    """The one Python block that imports ``rowtune.<engine>``."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (code,) = (block for block in blocks if f"import rowtune.{engine} as" in block)
    return code
