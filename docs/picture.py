"""Make the picture of the README: what `rowtune extend glove-6b-50d python-docs` learns.

Run it as ``make picture``; it writes ``docs/rowtune.png``.
"""

from __future__ import annotations

from pathlib import Path

import rowtune
from rowtune.report.pictures import readme_picture


def main() -> None:
    vectors = rowtune.load("glove-6b-50d")
    extension = rowtune.extend(vectors, ["python-docs"])
    readme_picture(extension, vectors, Path(__file__).parent / "rowtune.png")


if __name__ == "__main__":
    main()
