"""Code of the README, for the tests of the engine that it is for."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def engine_code(engine: str, beside: str = "") -> str:
    """The one Python block that imports ``rowtune.<engine>``, and ``beside`` if it is said."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    ours = [block for block in blocks if f"import rowtune.{engine} as" in block]
    (code,) = (b for b in ours if ("from transformers" in b) == (beside == "transformers"))
    return code
