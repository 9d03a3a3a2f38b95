"""Columns out of a CSV, TSV, JSONL or Parquet file, packed or not; errors say where."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rowtune.errors import FormatError

_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}
_LINES = (".jsonl", ".ndjson")
_ENDINGS = ".csv, .tsv, .jsonl or .parquet (all but the last also packed as .gz, .bz2 or .xz)"
_BOM = b"\xef\xbb\xbf"

Column = list[Any]


def columns_of(path: Path, wanted: Sequence[str], options: Sequence[str]) -> list[Column]:
    """The ``wanted`` columns of a labelled file, all of one length.

    Parameters
    ----------
    path : Path
        The ending says what the file is.
    wanted : sequence of str
        Names of columns, which the first line of a CSV or TSV holds.
    options : sequence of str
        What to type to name each of them, for the error.

    Returns
    -------
    list of list
        Strings as they stand in a CSV or TSV; strings, numbers, bools and None elsewhere.

    Raises
    ------
    FormatError
        An ending or an encoding that is not read, a damaged file, no such column, or one that is
        there twice. Names the row or the line where there is one.
    OSError
        As `open`.
    """
    packed, kind = _endings(path)
    ask = _Asking(path, wanted, options)
    if kind == ".parquet" and not packed:
        return _parquet(path, ask)
    data = path.read_bytes()
    if packed:
        try:
            data = _UNPACK[packed](data)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise FormatError(
                f"{path}: the {packed} data is damaged or cut short ({error}); fetch the file again"
            ) from None
    data = data.removeprefix(_BOM)
    if not data.strip():
        raise FormatError(f"{path}: this file is empty; expected texts with their labels")
    _check_text(path, data)
    if kind in _LINES:
        return _json_lines(path, data, ask)
    return _table(path, data, "," if kind == ".csv" else "\t", ask)


class _Asking:
    """Whether a file has the columns that are wanted, each once."""

    def __init__(self, path: Path, wanted: Sequence[str], options: Sequence[str]) -> None:
        self.path, self.wanted, self.options = path, wanted, options

    def check(self, names: Sequence[str]) -> None:
        for name, option in zip(self.wanted, self.options, strict=True):
            count = list(names).count(name)
            if count == 1:
                continue
            shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
            if count:
                raise FormatError(
                    f"{self.path}: {count} columns are named {name!r} (of {shown}); "
                    "give each a name of its own"
                )
            raise FormatError(
                f"{self.path}: no column {name!r}; it has {shown or 'none'}. Name one with {option}"
            )


def _endings(path: Path) -> tuple[str, str]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in _UNPACK else ""
    kind = suffixes[-1] if suffixes else ""
    if kind not in (".csv", ".tsv", *_LINES) and (kind != ".parquet" or packed):
        raise FormatError(
            f"{path}: the ending {path.suffix or 'none'!r} says nothing of labelled texts; "
            f"expected {_ENDINGS}"
        )
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    return packed, kind


def _check_text(path: Path, data: bytes) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(
            f"{path}: line {line:,} (byte {error.start:,}) is no UTF-8; "
            "save the file as UTF-8 and try again"
        ) from None


def _table(path: Path, data: bytes, delimiter: str, ask: _Asking) -> list[Column]:
    """CSV and TSV; every value stays the string it is, so that a label 01 is not 1."""
    import pyarrow as pa  # noqa: PLC0415 - heavy
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    # Arrow takes the last of two columns of one name without a word, so names are read here.
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")
    ask.check(next(csv.reader(text, delimiter=delimiter), []))
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            # One thread: else an error cannot say in which row it is.
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_block(data)),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=list(ask.wanted),
                column_types={name: pa.large_string() for name in ask.wanted},
            ),
        )
    except pa.ArrowInvalid as error:
        raise FormatError(
            f"{path}: damaged ({_first_line(error)}); a text with {delimiter!r}, a quote or a line "
            'end in it stands between quotes, and a quote in it is written ""'
        ) from None
    return [table.column(name).to_pylist() for name in ask.wanted]


def _block(data: bytes) -> int:
    """A row longer than Arrow's block is an error there; so the block is the file, up to 1 GB."""
    return max(1 << 20, min(len(data) + 1, 1 << 30))


def _parquet(path: Path, ask: _Asking) -> list[Column]:
    import pyarrow as pa  # noqa: PLC0415 - heavy
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(path) as file:
            ask.check(file.schema_arrow.names)
            table = file.read(columns=list(ask.wanted))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise FormatError(f"{path}: no Parquet, or damaged ({_first_line(error)})") from None
    return [table.column(name).to_pylist() for name in ask.wanted]


def _json_lines(path: Path, data: bytes, ask: _Asking) -> list[Column]:
    """One object a line. A column that a line has not is None there, if another line has it."""
    found: list[Column] = [[] for _ in ask.wanted]
    names: dict[str, None] = {}
    for line, one in _objects(path, data):
        names.update(dict.fromkeys(one))
        for column, name in zip(found, ask.wanted, strict=True):
            value = one.get(name)
            if isinstance(value, list | dict):
                raise FormatError(
                    f"{path}: line {line:,}: {name!r} is a {type(value).__name__}; "
                    "expected a string, a number, true or false"
                )
            column.append(value)
    ask.check(list(names))
    return found


def _objects(path: Path, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            one = json.loads(line, object_pairs_hook=_once)
        except RecursionError:
            what = "brackets nested without end"
        except ValueError as error:
            what = str(error)
        else:
            if isinstance(one, dict):
                yield number, one
                continue
            what = f"it is a {type(one).__name__}"
        raise FormatError(
            f"{path}: line {number:,} is no JSON object ({what}); expected one object a line, "
            'such as {"text": "...", "label": "..."}'
        )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    one = dict(pairs)
    if len(one) < len(pairs):
        raise ValueError("it names one thing twice")
    return one


def _first_line(error: BaseException) -> str:
    line = str(error).strip().split("\n")[0]
    return line if len(line) <= 200 else line[:200] + "..."
