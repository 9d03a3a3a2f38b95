"""The library that draws in the browser, packed so that the page can carry it."""

from __future__ import annotations

import base64
import gzip
from functools import cache


@cache
def packed_plotly() -> str:
    """Return plotly.js as base64 of gzip: 2 MB instead of 4.8 MB in every page.

    Browsers unpack it themselves (DecompressionStream, in all of them since 2023), which also lets
    the words be read and searched before the library is there.
    """
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - only a page needs it

    # No time inside: the same data gives the same page.
    return base64.b64encode(gzip.compress(get_plotlyjs().encode("utf-8"), mtime=0)).decode("ascii")
