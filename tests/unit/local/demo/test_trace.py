"""A trace file is input from strangers: an error names line and column."""

from pathlib import Path

import pytest

from usagepipe.local.demo.trace import MAX_LINE_BYTES, TraceRow, read_trace
from usagepipe.schemas.errors import TraceError

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
LINE = "2023-11-16 18:15:46.6805900,374,44\n"
ROW = TraceRow(0.0, 374, 44)


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "trace.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def problem(path: Path) -> TraceError:
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    return caught.value


def test_rows_are_read_in_the_order_of_their_time(tmp_path: Path) -> None:
    """Rows come sorted by time, and the first of them is at second 0."""
    later = "2023-11-16 18:15:48.1805900,396,109\n"

    rows = read_trace(written(tmp_path, HEADER + later + LINE))

    assert [ROW, TraceRow(1.5, 396, 109)] == rows


@pytest.mark.parametrize(
    "content",
    [
        HEADER + LINE,
        HEADER + LINE.strip(),
        (HEADER + LINE).replace("\n", "\r\n"),
        "\N{BYTE ORDER MARK}" + HEADER + LINE,
        HEADER + "\n" + LINE + "\n\n",
        'GeneratedTokens,"TIMESTAMP",Other,ContextTokens\n44,"2023-11-16 18:15:46.68059",x,374\n',
        "TIMESTAMP , ContextTokens, GeneratedTokens\n2023-11-16T18:15:46Z, 374, 44\n",
    ],
    ids=["plain", "no last line end", "CRLF", "BOM", "empty lines", "other order", "spaces"],
)
def test_every_spelling_of_csv_is_read(tmp_path: Path, content: str) -> None:
    """Line ends, a byte order mark, quotes, spaces and the order of columns do not matter."""
    rows = read_trace(written(tmp_path, content))

    assert [ROW] == rows


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    """What stands below the limit is not even looked at."""
    rows = read_trace(written(tmp_path, HEADER + LINE + LINE + "rubbish,x,y\n"), 2)

    assert [ROW, ROW] == rows


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("", 0, "is empty: its first line must name TIMESTAMP, ContextTokens, GeneratedTokens"),
        (HEADER, 0, "has a header and no request below it"),
        ("TIMESTAMP,ContextTokens\n", 1, "column GeneratedTokens is missing"),
        (HEADER.replace(",", ";"), 1, "column TIMESTAMP is missing: the header is 'TIMESTAMP;Cont"),
        ("ContextTokens," + HEADER, 1, "column ContextTokens occurs twice"),
        (HEADER + LINE + "2023-11-16,-1,4\n", 3, "column ContextTokens is '-1': a whole number"),
        (HEADER + "2023-11-16,1,4.5\n", 2, "column GeneratedTokens is '4.5'"),
        (HEADER + "2023-11-16,many,4\n", 2, "column ContextTokens is 'many'"),
        (HEADER + "2023-11-16,,4\n", 2, "column ContextTokens is ''"),
        (HEADER + "2023-11-16,\N{ARABIC-INDIC DIGIT TWO},4\n", 2, "column ContextTokens is"),
        (HEADER + "2023-11-16,1000000000001,4\n", 2, "from 0 to 1000000000000 is needed"),
        (HEADER + f"2023-11-16,{'9' * 9_000},4\n", 2, "column ContextTokens is '9999999999"),
        (HEADER + "yesterday,1,4\n", 2, "column TIMESTAMP is 'yesterday': write it as"),
        (HEADER + "2023-11-16,1\n", 2, "has 2 columns where the header has 3"),
        (HEADER + "2023-11-16,1,4,5\n", 2, "has 4 columns where the header has 3"),
        (HEADER + '2023-11-16,"1"x,4\n', 2, "is not CSV"),
        (HEADER + '"2023-11-16,1,4\n', 2, "is not CSV"),
        (HEADER + "x" * (MAX_LINE_BYTES + 1), 2, "is longer than 65536 bytes"),
        (HEADER.encode() + b"\xff\xfe,1,4\n", 2, "is not UTF-8 text"),
        ((HEADER + LINE).encode("utf-16"), 1, "is not UTF-8 text"),
        (b"\x00\x01\x02\x03", 1, "column TIMESTAMP is missing"),
    ],
)
def test_a_wrong_file_is_reported_by_line_and_column(
    tmp_path: Path, content: str | bytes, line: int, words: str
) -> None:
    """The message names the file, the line, the column and the value."""
    path = written(tmp_path, content)

    error = problem(path)

    assert line == error.line
    assert words in error.problem
    assert str(error).startswith(f"{path}, line {line}: " if line else f"{path}: ")
    assert len(error.problem) < 200
    assert 2 == error.exit_status


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error for a missing file or a folder has the system's own words."""
    missing = problem(tmp_path / "no.csv")
    folder = problem(tmp_path)

    assert "cannot be read: No such file or directory" == missing.problem
    assert "cannot be read: Is a directory" == folder.problem
