"""What text may not begin with: it would be taken for another kind of file when it is read."""

from __future__ import annotations

from rowtune.errors import FormatError
from rowtune.tables.npy_file import MAGIC
from rowtune.tables.pickles import is_pickle
from rowtune.vectors.fasttext_file import is_fasttext
from rowtune.vectors.unpacking import MAGICS


def refuse_misread(name: str, head: bytes) -> None:
    """`FormatError` for text that would be taken for another kind of file by its first bytes."""
    if head.startswith((MAGIC, *MAGICS)) or is_pickle(head) or is_fasttext(head):
        raise FormatError(
            f"{name}: the first word, {head.split(b' ')[0][:40]!r}, begins as a packed file or a "
            "pickle does; save as .safetensors, which holds any word"
        )
