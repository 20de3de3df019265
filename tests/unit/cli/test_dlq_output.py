"""How bytes of dead letters are shown: as text only if a terminal shows all of it."""

import pytest

from usagepipe.cli.dlq_output import print_letter
from usagepipe.consumer.dead_letters.record import Coordinates, DeadLetter, Envelope

Output = pytest.CaptureFixture[str]


def shown(capsys: Output, value: bytes | None, max_bytes: int = 100) -> str:
    """The part of a dead letter that shows its value."""
    envelope = Envelope(
        Coordinates("id", 0, 0), "t", "not_json", "", None, "", None, None, None, None, False
    )
    print_letter(DeadLetter(envelope, [], None, value), value, copies=1, max_bytes=max_bytes)
    return capsys.readouterr().out.partition("\nvalue")[2]


@pytest.mark.parametrize("text", ["{}", "", "naïve 👍", "two\n\tlines\n"])
def test_text_is_shown_as_it_is(capsys: Output, text: str) -> None:
    """Lines and tabs are kept."""
    assert f", {len(text.encode())} bytes:\n{text}\n" == shown(capsys, text.encode())


@pytest.mark.parametrize(
    "value",
    [b"\x1b[2J", b"\x00", b"\xff\xfe", b"a\rb", "\N{RIGHT-TO-LEFT OVERRIDE}".encode(), b"\xc2\x9b"],
)
def test_what_a_terminal_would_obey_is_shown_as_digits(capsys: Output, value: bytes) -> None:
    """Terminal escapes, marks that reverse a line, and bytes that are not text."""
    text = shown(capsys, value)

    assert f"00000000  {value.hex(' ')}" in text
    assert text.replace("\n", "").isascii()
    assert text.replace("\n", "").isprintable()


def test_digits_come_with_their_place_and_signs(capsys: Output) -> None:
    """A line has sixteen bytes."""
    lines = shown(capsys, b"\x00hello" + bytes(12)).splitlines()

    assert "00000000  00 68 65 6c 6c 6f 00 00 00 00 00 00 00 00 00 00  .hello.........." == lines[1]
    assert "00000010  00 00" in lines[2]


def test_a_value_is_cut_between_characters(capsys: Output) -> None:
    """A text of long characters is still text; a sentence says how much is cut off."""
    text = shown(capsys, "👍👍👍".encode(), max_bytes=6)

    assert ", 12 bytes:\n👍\n… 6 bytes more: see --max-bytes and --raw.\n" == text


def test_no_value_is_not_an_empty_one(capsys: Output) -> None:
    """A tombstone has no value."""
    assert ": (none)\n" == shown(capsys, None)
