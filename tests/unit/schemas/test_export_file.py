"""The file of an export: reading returns the written events, or an error names the line."""

import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.any_events import events
from usagepipe.schemas import UsageEvent, encode
from usagepipe.schemas.errors import ExportFileError
from usagepipe.schemas.event import EARLIEST, LATEST
from usagepipe.schemas.export_file import ExportReader, ExportWriter, place_of
from usagepipe.schemas.topics import MAX_RECORD_BYTES

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def written(*given: UsageEvent) -> bytes:
    """An export of these events, in the order of the file."""
    out = io.BytesIO()
    writer = ExportWriter(out, EARLIEST, LATEST)
    for event in given:
        writer.add(event)
    writer.finish()
    return out.getvalue()


def read(file: bytes) -> list[UsageEvent]:
    return list(ExportReader(io.BytesIO(file)))


def event(number: int) -> UsageEvent:
    return UsageEvent(
        event_id=UUID(int=number),
        occurred_at=NOON + timedelta(minutes=number // 2),
        user_id="u-1",
        total_tokens=number,
        cost=Decimal("0.000000000001"),
    )


THREE = written(event(1), event(2), event(3))


def lines_of(file: bytes = THREE) -> list[bytes]:
    return file.splitlines(keepends=True)


def wrong_line(file: bytes | Iterable[bytes]) -> tuple[int, str]:
    """The line that a reader refuses, and the reason."""
    with pytest.raises(ExportFileError) as caught:
        read(file if isinstance(file, bytes) else b"".join(file))
    return caught.value.line, caught.value.detail


@settings(deadline=None)  # a shared machine may pause
@given(st.lists(events, max_size=8, unique_by=place_of))
def test_events_come_back_as_they_were(some: list[UsageEvent]) -> None:
    """The file holds every field of the events, one line each, and a first and a last line."""
    ordered = sorted(some, key=place_of)

    file = written(*ordered)

    assert ordered == read(file)
    assert len(some) + 2 == file.count(b"\n")


def test_a_line_is_the_event_as_on_the_topic() -> None:
    """It has the bytes of `encode`, so money stays exact."""
    head, *lines, end = lines_of()

    assert [encode(event(number)) + b"\n" for number in (1, 2, 3)] == lines
    assert b'"cost":"1E-12"' in lines[0]
    assert head.startswith(b'{"usagepipe_export":1,"from":"2000-01-01T00:00:00.000Z",')
    assert end.startswith(b'{"usagepipe_export_end":1,"events":3,"sha256":"')


def test_a_file_that_was_cut_anywhere_is_refused() -> None:
    """A file that is cut at any byte is refused as a whole."""
    left = {wrong_line(THREE[:length])[1] for length in range(1, len(THREE))}

    assert {"the file ends here, without its last line: it was cut off."} == left
    assert (1, *left) == wrong_line(b"")


def test_a_byte_that_was_changed_anywhere_is_refused() -> None:
    """Only the digest shows that a token count was changed."""
    for place in range(len(THREE)):
        changed = bytearray(THREE)
        changed[place] ^= 1

        assert 1 <= wrong_line(bytes(changed))[0] <= 6


def test_lines_that_were_taken_out_or_swapped_are_refused() -> None:
    """Each event once, in the order of time and then of the id."""
    head, first, second, third, end = lines_of()

    fewer = "events: it is not what the lines before it give: the file was changed."
    belongs = "occurred_at, event_id: this event belongs before the last one."
    assert (4, fewer) == wrong_line([head, first, third, end])
    assert (3, belongs) == wrong_line([head, first, first, second, third, end])
    assert (4, belongs) == wrong_line([head, first, third, second, end])


@pytest.mark.parametrize(
    ("line", "text", "reported"),
    [
        (1, b'{"usagepipe_export":2}', "usagepipe_export: version 2 is not supported"),
        (1, b'{"usagepipe_export":"1"}', "usagepipe_export: it has no version"),
        (1, b'{"usagepipe_export":true}', "usagepipe_export: it has no version"),
        (1, b"{", "usagepipe_export: it has no version"),
        (1, encode(event(1)), "usagepipe_export: it has no version"),
        (3, b"{broken", "it is not a valid event: not_json: "),
        (3, b"", "it is not a valid event: not_json: "),
        (3, b"\xff\xfe", "it is not a valid event: not_json: "),
        (3, b"[]", "it is not a valid event: not_an_object: "),
        (3, encode(event(2)).replace(b":1,", b":2,", 1), "unknown_schema_version: schema_version"),
        (
            3,
            encode(event(2)).replace(b"1E-12", b"-1"),
            "it is not a valid event: invalid_fields: cost: ",
        ),
        (
            3,
            encode(event(2)).replace(b'"u-1"', b'""'),
            "it is not a valid event: invalid_fields: user_id: ",
        ),
        (3, encode(event(2))[:-1] + b',"region":"eu"}', "is not as this version of usagepipe"),
        (3, encode(event(2)) + b" ", "is not as this version of usagepipe"),
        (5, b'{"usagepipe_export_end":1}', "events: it is not what the lines before it give"),
        (5, b'{"usagepipe_export_end"', "usagepipe_export_end: it is not what the lines before"),
    ],
)
def test_a_wrong_line_is_named_with_its_field(line: int, text: bytes, reported: str) -> None:
    """T-37, for the file: another version and broken JSON are refused."""
    lines = lines_of()
    lines[line - 1] = text + b"\n"

    number, detail = wrong_line(lines)

    assert line == number
    assert reported in detail


def test_the_message_first_says_that_another_file_is_not_an_export() -> None:
    """A file of another program is named as such before its line."""
    with pytest.raises(ExportFileError, match=r"^this file is not an export of usagepipe\. Line"):
        ExportReader(io.BytesIO(b'{"name":"another"}\n')).check()


def test_text_after_the_last_line_is_refused() -> None:
    """Two exports in one file are not an export."""
    assert (6, "it follows the export's last line.") == wrong_line(THREE + THREE)


def test_no_error_quotes_the_file() -> None:
    """It may be any file and hold secrets."""
    reported = wrong_line(lines_of()[0] + b'{"sk-c4n4ry":"c4n4ry"}\n')

    assert "c4n4ry" not in str(reported)


class Endless:
    """A file of one endless line."""

    asked = 0

    def readline(self, limit: int = -1, /) -> bytes:
        self.asked += limit
        return b"0" * limit


def test_a_line_without_an_end_is_not_read_to_it() -> None:
    """Memory is bounded by the longest record for any file."""
    file = Endless()

    with pytest.raises(ExportFileError, match="Line 1 of the file: it is longer than the 1,048,"):
        ExportReader(file).check()

    assert MAX_RECORD_BYTES == file.asked
