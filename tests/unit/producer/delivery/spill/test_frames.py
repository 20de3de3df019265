"""Frames: what was written is read, and of a broken file all that is whole, nothing invented."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from usagepipe.producer.delivery.spill.frames import FRAME_BYTES, MARK, read_frames, write_frames

RECORDS = [(b"key-%d" % n, b'{"n":%d}' % n + b"x" * (n % 7)) for n in range(20)]
records = st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=300)), max_size=20)


@given(records)
def test_what_was_written_is_read(some: list[tuple[bytes, bytes]]) -> None:
    """Any keys and values come back in their order, those that hold a frame's mark as well."""
    found = read_frames(write_frames(some, 0))

    assert (some, 0) == found


def test_mark_is_in_no_text() -> None:
    """What begins a frame cannot stand in an event's text, so a search for it finds frames."""
    assert MARK not in "\U0010ffff\uffff\u0080".encode()
    assert "\ufffd" in MARK.decode(errors="replace")


def test_file_cut_at_any_byte_yields_the_whole_frames_before_the_cut() -> None:
    """A write torn at any byte costs the frame it tore, counted as one, and none before it."""
    data = write_frames(RECORDS, 0)
    ends = [len(write_frames(RECORDS[:count], 0)) for count in range(len(RECORDS) + 1)]

    for cut in range(len(data)):
        whole = sum(end <= cut for end in ends) - 1

        assert (RECORDS[:whole], int(cut not in ends)) == read_frames(data[:cut]), cut


@settings(deadline=None)
@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_byte_costs_one_record(place: int, change: int) -> None:
    """A byte that a disk got wrong costs the record it is in; later ones are found again."""
    data = bytearray(write_frames(RECORDS, 0))
    data[place % len(data)] ^= change

    found = read_frames(bytes(data))

    assert 1 == found.lost
    assert len(RECORDS) - 1 == len(found.records)
    assert set(found.records) <= set(RECORDS)


def test_hole_in_the_middle_is_counted_exactly() -> None:
    """The numbers around an overwritten range show how many records it held."""
    data = write_frames(RECORDS, 0)
    start, end = (len(write_frames(RECORDS[:count], 0)) for count in (5, 9))

    found = read_frames(data[: start + 3] + bytes(end - start) + data[end + 3 :])

    assert (RECORDS[:5] + RECORDS[10:], 5) == found


def test_rubbish_is_no_record() -> None:
    """Random bytes, with marks strewn in, yield nothing."""
    rng = random.Random(7)
    pieces = [rng.randbytes(rng.randrange(3 * FRAME_BYTES)) for _ in range(2_000)]

    found = read_frames(MARK.join(pieces))

    assert ([], 1) == found


def test_write_that_was_made_again_loses_nothing() -> None:
    """After a failed write that could not be cut off, the same records follow once more."""
    torn = write_frames(RECORDS[5:], 5)[:200]

    found = read_frames(write_frames(RECORDS[:5], 0) + torn + write_frames(RECORDS[5:], 5))

    assert 0 == found.lost
    assert RECORDS == list(dict.fromkeys(found.records))
