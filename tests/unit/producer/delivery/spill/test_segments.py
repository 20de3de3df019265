"""Segments: files that are appended to at one end and sent from the other."""

import os
import resource
import signal
from pathlib import Path

import pytest

from tests.support.logs import capture_logs
from usagepipe.producer.delivery.spill import Record
from usagepipe.producer.delivery.spill import segments as module
from usagepipe.producer.delivery.spill.segments import ASIDE, HEADER, Segments

BYTES = 4_096


def some(count: int, first: int = 0) -> list[Record]:
    return [(b"k", b"value-%d" % number) for number in range(first, first + count)]


def read_all(segments: Segments) -> list[Record]:
    return [record for each in segments.take(1_000) for record in each.read().records]


def test_another_process_finds_what_was_appended(tmp_path: Path) -> None:
    """Several appends make one file, a full one begins the next, and all is read in order."""
    writer = Segments(tmp_path, BYTES)
    for first in range(0, 200, 10):
        writer.append(some(10, first))

    reader = Segments(tmp_path, BYTES)

    assert some(200) == read_all(reader)
    assert len(reader) == len(writer) > 1
    assert reader.bytes == writer.bytes == sum(f.stat().st_size for f in tmp_path.iterdir())
    assert 200 == writer.events


def test_what_was_taken_grows_no_more(tmp_path: Path) -> None:
    """Events that come while a segment is sent go into another, so removing it loses none."""
    segments = Segments(tmp_path, BYTES)
    segments.append(some(1))
    (taken,) = segments.take(5)

    segments.append(some(1, first=1))
    segments.remove(taken)

    assert some(1, first=1) == read_all(segments)
    assert (1, 1) == (segments.events, len(segments))


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """Events hold names: nobody else may read them."""
    Segments(tmp_path, BYTES).append(some(1))

    (path,) = tmp_path.iterdir()
    assert 0o600 == path.stat().st_mode & 0o777


def test_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """A file that may not grow: the append raises, and what was there before is still whole."""
    segments = Segments(tmp_path, 1_000_000)
    segments.append(some(10))
    size, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (segments.bytes + 50, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            segments.append(some(10, first=10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        signal.signal(signal.SIGXFSZ, before)

    assert (some(10), segments.bytes) == (
        read_all(Segments(tmp_path, BYTES)),
        sum(f.stat().st_size for f in tmp_path.iterdir()),
    )
    segments.append(some(10, first=10))
    assert some(20) == read_all(segments)


@pytest.mark.parametrize("size", [0, 1, len(HEADER) - 1, len(HEADER)])
def test_file_torn_in_its_header_is_read(tmp_path: Path, size: int) -> None:
    """A crash while the file was made leaves a part of its header, or nothing."""
    (tmp_path / "0000000001.spill").write_bytes(HEADER[:size])

    segments = Segments(tmp_path, BYTES)

    assert [] == read_all(segments)


def test_file_of_another_version_is_set_aside(tmp_path: Path) -> None:
    """A file that this version cannot read is kept, logged and counted."""
    path = tmp_path / "0000000001.spill"
    path.write_bytes(b"usagepipe spill 2\nwhatever")
    segments = Segments(tmp_path, BYTES)
    (segment,) = segments.take(1)

    with capture_logs() as logs:
        found = segment.read()
        segments.remove(segment)

    assert ([], 1) == found
    assert ["spill_unreadable"] == [entry["event"] for entry in logs]
    assert b"usagepipe spill 2\nwhatever" == path.with_suffix(ASIDE).read_bytes()
    assert not len(Segments(tmp_path, BYTES))


def test_lost_file_is_counted_by_its_events(tmp_path: Path) -> None:
    """The writer of a file knows how many events are lost with it."""
    segments = Segments(tmp_path, BYTES)
    segments.append(some(7))
    (segment,) = segments.take(1)
    os.unlink(segment.path)

    assert ([], 7) == segment.read()


def test_process_without_descriptors_reads_the_file_later(tmp_path: Path) -> None:
    """Too many open files is no fault of the file: nothing is counted as lost, and it stays."""
    segments = Segments(tmp_path, BYTES)
    segments.append(some(7))
    (segment,) = segments.take(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            segment.read()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert (some(7), 0) == segment.read()


def test_file_that_is_never_readable_is_set_aside_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not block later files: after many tries it is logged and counted."""
    monkeypatch.setattr(module, "MAX_READS", 3)
    segments = Segments(tmp_path, BYTES)
    segments.append(some(7))
    (segment,) = segments.take(1)
    _replace_by_link(segment.path)

    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(OSError, match="symbolic links"):
                segment.read()
        found = segment.read()

    assert ([], 7) == found
    assert ["spill_not_read", "spill_unreadable"] == [entry["event"] for entry in logs]
    assert segment.path.with_suffix(ASIDE).is_symlink()


def _replace_by_link(path: Path) -> None:
    """No link is followed, not even by root, who may read anything."""
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def test_file_that_cannot_be_set_aside_is_not_deleted(tmp_path: Path) -> None:
    """Something stands where it would go: it stays for people to look at, under its name."""
    path = tmp_path / "0000000001.spill"
    path.write_bytes(b"usagepipe spill 2\nwhatever")
    path.with_suffix(ASIDE).mkdir()
    segments = Segments(tmp_path, BYTES)
    (segment,) = segments.take(1)

    segment.read()
    segments.remove(segment)

    assert (True, 0) == (path.exists(), len(segments))


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A named pipe among the files would hold the outbox for ever: it is set aside."""
    os.mkfifo(tmp_path / "0000000001.spill")
    segments = Segments(tmp_path, BYTES)
    (segment,) = segments.take(1)

    assert ([], 1) == segment.read()


def test_file_beyond_any_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process may read of a folder at once is bounded."""
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 100)
    (tmp_path / "0000000001.spill").write_bytes(HEADER + bytes(100))
    segments = Segments(tmp_path, BYTES)
    (segment,) = segments.take(1)

    assert ([], 1) == segment.read()


GAP = b"p", b'{"usage_gap":{"producer_id":"p","last_sequence":9,"lost":{}}}'


def test_gap_records_are_no_events(tmp_path: Path) -> None:
    """A file counts its events apart from its frames, and knows the last number in it."""
    segments = Segments(tmp_path, BYTES)
    segments.append([*some(3), GAP, *some(2, first=3)])
    (segment,) = segments.take(1)

    assert (5, 5, [GAP], 9) == (
        segments.events,
        segment.events,
        segment.gaps,
        segment.last_sequence,
    )
    assert ([*some(3), GAP, *some(2, first=3)], 0) == segment.read()
    segments.remove(segment)
    assert 0 == segments.events


@pytest.mark.parametrize("damage", ["gap", "event", "file"])
def test_gap_records_outlive_the_damage_of_their_file(tmp_path: Path, damage: str) -> None:
    """The writer of a gap record still has it: only damaged events count as lost."""
    segments = Segments(tmp_path, BYTES)
    segments.append([*some(3), GAP])
    (segment,) = segments.take(1)
    data = segment.path.read_bytes()
    wrong = {"gap": (b"usage_gap", b"usage-gap"), "event": (b"value-1", b"value-x")}
    if damage == "file":
        segment.path.unlink()
    else:
        segment.path.write_bytes(data.replace(*wrong[damage]))

    found = segment.read()

    lost = {"gap": 0, "event": 1, "file": 3}[damage]
    assert (3 - lost + 1, lost, GAP) == (len(found.records), found.lost, found.records[-1])
