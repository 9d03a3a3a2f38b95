"""Text tables as they are found in the wild."""

from pathlib import Path

import numpy as np
import pytest

from rowtune.vectors import Vectors, load, repair, text


@pytest.fixture(autouse=True, params=[1, 16], ids=["alone", "together"])
def lines_worth_parsing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad lines are found singly, or taken with their neighbours: the result is the same."""
    monkeypatch.setattr(repair, "_LINES_WORTH_PARSING", request.param)


def put(folder: Path, data: bytes, name: str = "v.txt") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def raw_words(v: Vectors) -> list[bytes]:
    return list(v.words.iter_raw())


PLAIN = b"the 0.5 -1e-05 3\nof 1 2 3\ncat -0 0.1 1e10\n"


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.bin", "v", "v.model"])
@pytest.mark.parametrize("header", [b"", b"3 3\n", b"\xef\xbb\xbf3 3\n"])
def test_the_header_is_sniffed_whatever_the_name(tmp_path: Path, name: str, header: bytes) -> None:
    v = load(put(tmp_path, header + PLAIN, name))
    assert list(v.words) == ["the", "of", "cat"]
    expected = np.array([[0.5, -1e-05, 3], [1, 2, 3], [-0.0, 0.1, 1e10]], np.float32)
    assert v.matrix.dtype == np.float32
    assert v.matrix.tobytes() == expected.tobytes()
    assert not v.matrix.flags.writeable


def test_no_newline_at_the_end_and_blank_lines_at_the_end(tmp_path: Path) -> None:
    for tail in (b"", b"\n", b"\n\n\n", b"\r\n\r\n"):
        v = load(put(tmp_path, PLAIN[:-1] + tail), cache=False)
        assert (len(v), v["cat"][2]) == (3, np.float32(1e10))


def test_words_that_mean_something_elsewhere(tmp_path: Path) -> None:
    tokens = [
        b'"', b"'", b'"a', b"nan", b"NULL", b"null", b"inf", b"#", b"\\", b",", b"5", b"-1.5",
        b"</s>", b"true", b"\t", b"\x00", b"N/A", b"", b"a\\nb",
        "a\u0085b".encode(), "\u2028".encode(), "\u00a0".encode(), "\ufeffx".encode(),
        b"\xff\xfe", b"caf\xe9", b"a\x0bb\x0c\x1c", "日本".encode(),
    ]  # fmt: skip
    for header in (b"", b"%d 2\n" % len(tokens)):
        lines = b"".join(t + b" %d 0.25\n" % i for i, t in enumerate(tokens))
        v = load(put(tmp_path, header + b"x 9 9\n" * (not header) + lines), cache=False)
        assert raw_words(v)[0 if header else 1 :] == tokens
        assert v.matrix[-len(tokens) :, 0].tolist() == list(range(len(tokens)))


def test_trailing_spaces_as_fasttext_writes_them(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"2 3\nthe 1 2 3 \nof 4 5 6 \n"))
    assert v["of"].tolist() == [4, 5, 6] and len(v) == 2


def test_trailing_spaces_on_some_lines_only(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"a 1 2 \nb 3 4 \nc 5 6\nd e 7 8 \nf 9 10  \n"))
    assert list(v.words) == ["a", "b", "c", "d e", "f"]
    assert v.matrix[:, 1].tolist() == [2, 4, 6, 8, 10]


def test_a_value_in_place_of_the_trailing_space_is_not_dropped(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"a 1 2 \nb 3 4 \nc 5 6 7\n"))
    assert list(v.words) == ["a", "b", "c 5"] and v.matrix[2].tolist() == [6, 7]


def test_tokens_with_spaces(tmp_path: Path) -> None:
    data = b"a 1 2\n. . 3 4\nat name@domain.com 5 6\n  7 8\n x 9 10\ny  11 12\nb 13 14\n"
    for header in (b"", b"7 2\n"):
        v = load(put(tmp_path, header + data), cache=False)
        assert list(v.words) == ["a", ". .", "at name@domain.com", " ", " x", "y ", "b"]
        assert v.matrix[:, 0].tolist() == [1, 3, 5, 7, 9, 11, 13]


def test_every_token_with_a_space(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"new york 1 2\nlos angeles 3 4\nsan jose 5 6\n"))
    assert v.dim == 2 and v["los angeles"].tolist() == [3, 4]


def test_several_blanks_between_values(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"a 1 2\nb 3  4\nc  d 5   6\nx 0 0\ny 0 0\n"))
    assert list(v.words) == ["a", "b", "c  d", "x", "y"] and v.matrix[2].tolist() == [5, 6]


def test_windows_line_ends(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"2 2\r\na 1 2\r\nb c 3 4\r\n"))
    assert list(v.words) == ["a", "b c"] and v.matrix.tolist() == [[1, 2], [3, 4]]


def test_carriage_returns_inside_tokens(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"a 1 2\nx\ry 3 4\n\r 5 6\nb 7 8\n"))
    assert raw_words(v) == [b"a", b"x\ry", b"\r", b"b"] and v.matrix[1].tolist() == [3, 4]


def test_a_carriage_return_never_ends_a_line(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"a 1 2\nb 3 4\rc 5 6\nd 7 8\n"))
    assert raw_words(v) == [b"a", b"b 3 4\rc", b"d"] and v.matrix[1].tolist() == [5, 6]


def test_lines_set_aside_before_tokens_with_spaces(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"a 1 2\nb 3 4 \nc +5 6\nd e 7 8\nf 9 10\ng\rh 11 12\n"))
    assert raw_words(v) == [b"a", b"b", b"c", b"d e", b"f", b"g\rh"]
    assert v.matrix[:, 0].tolist() == [1, 3, 5, 7, 9, 11]


def test_numbers_the_fast_parser_does_not_know(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"a +1 2\nb 1e60 -1e60\nc 1e-60 -1e-60\nd nan inf\ne -inf 0.1\n"))
    expected = np.array(
        [[1, 2], [np.inf, -np.inf], [0.0, -0.0], [np.nan, np.inf], [-np.inf, 0.1]], np.float32
    )
    assert v.matrix.tobytes() == expected.tobytes()


def test_duplicates_stay_and_the_first_answers(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"a 1 2\nb 3 4\na 5 6\n"))
    assert len(v) == 3 and v["a"].tolist() == [1, 2] and v.matrix[2].tolist() == [5, 6]


def test_an_empty_table_with_a_header(tmp_path: Path) -> None:
    v = load(put(tmp_path, b"0 7\n"))
    assert v.matrix.shape == (0, 7) and list(v.words) == [] and "x" not in v


def test_a_word_that_is_a_number_is_no_header(tmp_path: Path) -> None:
    assert list(load(put(tmp_path, b"5 1 2\n6 3 4\n")).words) == ["5", "6"]
    assert list(load(put(tmp_path, b"5 7\n6 3\na 4\n", "one.txt")).words) == ["5", "6", "a"]


def test_a_very_long_token_and_a_very_long_row(tmp_path: Path) -> None:
    word = b"w" * 6_000_000
    v = load(put(tmp_path, b"a 1 2\n" + word + b" 3 4\nb 5 6\n"))
    assert raw_words(v)[1] == word and v.matrix[:, 1].tolist() == [2, 4, 6]
    wide = load(put(tmp_path, b"a" + b" 1.5" * 30_000 + b"\n", "wide.txt"))
    assert wide.matrix.shape == (1, 30_000)


def test_segments_join_seamlessly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "SEGMENT_BYTES", 200)
    monkeypatch.setattr(text, "_REPAIR_BYTES", 40)
    monkeypatch.setattr(text, "_BLOCK_BYTES", 16)
    rows = [f"{'w x' if i % 7 == 0 else 'w'}{i}" for i in range(100)]
    lines = [f"{w} {i} {'+' if i % 13 == 0 else ''}{i + 0.5}\n" for i, w in enumerate(rows)]
    stages: list[tuple[str, int, int]] = []
    v = load(put(tmp_path, "".join(lines).encode()), progress=lambda *about: stages.append(about))
    assert list(v.words) == rows
    assert np.array_equal(v.matrix[:, 1], np.arange(100) + 0.5)
    assert stages[-1][1] == stages[-1][2] and len(stages) > 10 and stages[0][0] == "parsing"


def test_rounding_is_right_for_single_precision(tmp_path: Path) -> None:
    # Halfway between two floats in double precision, just above it in the decimal digits:
    # reading a double first would round to the lower one.
    digits = b"1.00000005960464477540"
    v = load(put(tmp_path, b"a " + digits + b" 0\n"))
    assert v.matrix[0, 0] == np.nextafter(np.float32(1), np.float32(2))
