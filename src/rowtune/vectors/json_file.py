"""JSON from files that somebody else wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rowtune.errors import FormatError


def read_json(path: Path) -> Any:
    """What a JSON file holds; `FormatError` if it is damaged."""
    try:
        return json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except RecursionError:
        what = "brackets nested without end"
    except ValueError as error:
        what = str(error)
    raise FormatError(f"{path}: no JSON, or a damaged one ({what}): fetch the file again")
