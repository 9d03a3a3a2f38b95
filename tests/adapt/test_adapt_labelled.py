"""Labelled files: what is read alike from every format, and what is refused, with its place."""

from __future__ import annotations

import bz2
import datetime
import gzip
import json
import lzma

import pyarrow as pa
import pytest
from pyarrow import parquet

from rowtune.adapt import Labelled, read_labelled
from rowtune.adapt.labelled import check_enough, label_ids
from rowtune.errors import CorpusError, FormatError

ROWS = [('a, b\nand "c"', "1"), ("caf\u00e9 \U0001f602", "0"), ("NA", "1")]


def write(path, columns):
    """The columns in the format of the name."""
    names, values = list(columns), list(zip(*columns.values(), strict=True))
    if path.suffix == ".parquet":
        parquet.write_table(pa.table(columns), path)
        return
    if ".jsonl" in path.suffixes:
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in values]
    else:
        mark = "," if ".csv" in path.suffixes else "\t"
        quoted = [['"' + str(v).replace('"', '""') + '"' for v in row] for row in values]
        lines = [mark.join(row) for row in [names, *quoted]]
    data = ("\n".join(lines) + "\n").encode()
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    path.write_bytes(pack.get(path.suffix, bytes)(data))


@pytest.mark.parametrize(
    "name",
    ["x.csv", "x.tsv", "x.jsonl", "x.parquet", "x.csv.gz", "x.jsonl.bz2", "x.tsv.xz", "X.CSV"],
)
def test_every_format_gives_the_same_texts(tmp_path, name):
    columns = {"other": [1, 2, 3], "label": [b for _, b in ROWS], "text": [a for a, _ in ROWS]}
    if name == "X.CSV":
        write(tmp_path / "x.csv", columns)
        (tmp_path / "x.csv").rename(tmp_path / name)
    else:
        write(tmp_path / name, columns)
    found = read_labelled(tmp_path / name)
    assert list(zip(found.texts, found.labels, strict=True)) == ROWS
    assert found.notes == []


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 2, 1], ("1", "2", "1")),
        ([1.0, 2.0, None], ("1", "2")),
        ([True, False, None], ("true", "false")),
        (["b ", " a", " "], ("b", "a")),
        ([float("nan"), 0.5, 1.5], ("0.5", "1.5")),
    ],
)
@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
def test_labels_of_any_kind_are_strings(tmp_path, name, labels, expected):
    write(tmp_path / name, {"text": ["x", "y", "z"], "label": labels})
    found = read_labelled(tmp_path / name)
    assert found.labels == expected
    assert found.without_label == 3 - len(expected)
    if found.without_label:
        assert found.notes == [f"{tmp_path / name}: 1 rows without a label were left out."]


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
def test_rows_without_text_are_counted(tmp_path, name):
    write(tmp_path / name, {"text": ["x", None, "  "], "label": ["a", "b", None]})
    found = read_labelled(tmp_path / name)
    assert (found.texts, found.without_text, found.without_label) == (("x",), 2, 0)


def test_other_columns_by_name(tmp_path):
    write(tmp_path / "x.csv", {"body": ["x"], "stars": ["5"], "text": ["no"]})
    assert read_labelled(tmp_path / "x.csv", "body", "stars").texts == ("x",)
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbftext,label\r\nx,1\r\n")
    assert read_labelled(tmp_path / "bom.csv").labels == ("1",)


def test_a_text_longer_than_a_block_is_whole(tmp_path):
    long = "word " * 500_000
    write(tmp_path / "x.csv", {"text": [long, "b"], "label": ["1", "2"]})
    assert read_labelled(tmp_path / "x.csv").texts == (long, "b")


REFUSED = {
    "columns.csv": (b"body,stars\nx,1\n", "no column 'text'; it has 'body', 'stars'. Name one "
                    "with --text-column"),
    "label.jsonl": (b'{"text": "x", "stars": 1}\n', "no column 'label'; it has 'text', 'stars'. "
                    "Name one with --label-column"),
    "twice.csv": (b"text,text,label\na,b,1\n", "2 columns are named 'text'"),
    "twice.jsonl": (b'{"text": "a", "label": 1}\n{"text": "a", "text": "b", "label": 1}\n',
                    "line 2 is no JSON object (it names one thing twice)"),
    "latin.csv": ("text,label\nfine,1\ncaf\u00e9,2\n".encode("latin-1"),
                  "line 3 (byte 21) is no UTF-8"),
    "broken.jsonl": (b'{"text": "a", "label": 1}\n\n{"text": \n', "line 3 is no JSON object"),
    "deep.jsonl": (b"[" * 100_000 + b"\n", "line 1 is no JSON object"),
    "list.jsonl": (b'["text", "label"]\n', "line 1 is no JSON object (it is a list)"),
    "nested.jsonl": (b'{"text": ["a"], "label": 1}\n', "line 1: 'text' is a list"),
    "empty.csv": (b"", "this file is empty"),
    "blank.jsonl": (b" \n\n", "this file is empty"),
    "fields.csv": (b"text,label\na,1\nb,c,2\n", "Row #3: Expected 2 columns, got 3"),
    "quote.csv": (b'text,label\n"a,1\nb,2\n', "damaged"),
    "x.parquet": (b"PAR1 not really", "no Parquet, or damaged"),
    "x.csv.gz": (gzip.compress(b"text,label\na,1\n")[:-9], "the .gz data is damaged"),
    "x.jsonl.xz": (b"text", "the .xz data is damaged"),
    "x.xlsx": (b"PK", "the ending '.xlsx' says nothing of labelled texts"),
    "x": (b"text,label\n", "the ending 'none' says nothing"),
    "measures.csv": (b"text,label\n" + b"".join(b"x,%d.5\n" % i for i in range(30)),
                     "30 different numbers with fractions"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, name):
    data, message = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError) as error:
        read_labelled(tmp_path / name)
    assert message in str(error.value)
    assert str(tmp_path / name) in str(error.value)


def test_parquet_of_other_kinds_is_refused(tmp_path):
    day = datetime.date(2020, 1, 1)
    write(tmp_path / "x.parquet", {"text": ["a"], "label": [day]})
    with pytest.raises(FormatError, match=r"row 1: 'label' holds a date"):
        read_labelled(tmp_path / "x.parquet")
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text", "text", "label"])
    parquet.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(FormatError, match="2 columns are named 'text'"):
        read_labelled(tmp_path / "twice.parquet")


def test_a_file_that_is_not_there_and_one_column_for_both(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_labelled(tmp_path / "x.csv")
    with pytest.raises(FormatError, match="as text and as label"):
        read_labelled(tmp_path / "x.csv", "a", "a")


def of(*labels):
    return Labelled("x.csv", tuple("x" for _ in labels), labels, 0, 0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"] * 24, "48 texts with a label are too few"),
        ([], "0 texts with a label are too few"),
        (["a"] * 60, "all 60 texts have the label 'a'"),
        (["a"] * 60 + ["b"] * 4, "1 of 2 labels have fewer than 5 texts ('b' 4)"),
    ],
)
def test_too_little_is_refused_with_the_number(labels, message):
    with pytest.raises(CorpusError) as error:
        check_enough(of(*labels))
    assert message in str(error.value)


def test_the_fewest_are_enough():
    check_enough(of(*["a"] * 45, *["b"] * 5))


def test_labels_of_a_test_file_must_be_known():
    names, own, given = label_ids(of("b", "a", "b"), of("a", "b"))
    assert (names, own, given) == (["a", "b"], [1, 0, 1], [0, 1])
    with pytest.raises(CorpusError, match=r"'c' is not in x\.csv, which has 'a'"):
        label_ids(of("a"), of("c"))
    with pytest.raises(CorpusError, match="no text with a label"):
        label_ids(of("a"), of())
