"""The segment files of one process: the newest is appended to, the oldest is sent first.

A segment is sent as a whole and then deleted. So the existing files are exactly what is left, and
there is no read position that could be wrong. After a crash, the segments in flight are sent again.
Nothing is flushed to the disk: the page cache survives the process (`kill -9`), but not a power
failure.
"""

import errno
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from usagepipe.producer.delivery.spill.frames import (
    Found,
    Record,
    is_event,
    number_of,
    read_frames,
    write_frames,
)
from usagepipe.producer.process.safe_log import describe, log

FAMILY: Final = b"usagepipe spill "
HEADER: Final = FAMILY + b"1\n"
SUFFIX: Final = ".spill"
ASIDE: Final = ".unread"  # unreadable files, kept for people to inspect
MAX_FILE_BYTES: Final = 64 << 20  # a segment has some 2 MiB, or one larger event
# The process lacks a resource that it will have again. All other errors concern the file: it is
# read again each second, and finally set aside so that it does not block the files after it.
SHORTAGES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
MAX_READS: Final = 600


@dataclass(slots=True, eq=False)
class Segment:
    """One file. `frames`, `gaps` and `last_sequence` are known only if this process wrote it."""

    path: Path
    bytes: int
    since: float  # seconds of the epoch: when it was created
    frames: int = 0
    gaps: list[Record] = field(default_factory=list)  # the gap records among the frames
    last_sequence: int = 0  # the greatest number of an event in it
    failed_reads: int = 0
    is_aside: bool = False  # set aside: never deleted

    @property
    def events(self) -> int:
        return self.frames - len(self.gaps)

    def read(self) -> Found:
        """The records in the file, and how many of its events are lost.

        A foreign file is set aside, not deleted. The gap records of a segment that this process
        wrote are never lost: it keeps them in memory.

        Raises:
            OSError: it cannot be read now. Try again later.
        """
        try:
            data = _read(self.path)
        except FileNotFoundError:
            return self._without_file()
        except OSError as error:
            self.failed_reads += 1
            if self.failed_reads == 1:
                log.error("spill_not_read", file=str(self.path), error=describe(error))
            if error.errno in SHORTAGES or self.failed_reads < MAX_READS:
                raise
            return self._set_aside(describe(error))
        if data is None:
            return self._set_aside("no file of this user, or too large")
        if data.startswith(FAMILY) and not data.startswith(HEADER):
            return self._set_aside("written by another version")
        found = read_frames(data.removeprefix(HEADER))
        gaps = [gap for gap in self.gaps if gap not in found.records]
        lost = max(found.lost, self.frames - len(found.records)) - len(gaps)
        return Found(found.records + gaps, max(0, lost))

    def _set_aside(self, problem: str) -> Found:
        self.is_aside = True  # even if it cannot be renamed
        log.error("spill_unreadable", file=str(self.path), problem=problem)
        try:
            self.path.rename(self.path.with_suffix(ASIDE))
        except OSError as error:
            log.error("spill_not_set_aside", file=str(self.path), error=describe(error))
        return self._without_file()

    def _without_file(self) -> Found:
        """What is known of a lost file. The events in another process' file count as one."""
        return Found(list(self.gaps), self.events if self.frames else 1)


class Segments:
    """The segments in `folder`, oldest first. For one thread."""

    def __init__(self, folder: Path, segment_bytes: int) -> None:
        """Find the existing segments. Raises OSError if the folder cannot be read."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._all = [_found(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]
        self._made = 0
        self._open = False  # whether the newest can be appended to
        self.bytes = sum(each.bytes for each in self._all)
        self.events = 0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def since(self) -> float:
        """When the oldest was created. There must be one."""
        return self._all[0].since

    def append(self, records: Sequence[Record]) -> None:
        """Write `records` after all others: all of them, or none (OSError)."""
        if not self._open:
            self._made += 1
            path = self._folder / f"{self._made:010}{SUFFIX}"
            segment = Segment(path, 0, time.time())
        else:
            segment = self._all[-1]
        frames = write_frames(records, segment.frames)
        data = frames if segment.bytes else HEADER + frames
        _append(segment.path, data, segment.bytes)
        if not self._open:
            self._all.append(segment)
        gaps = [record for record in records if not is_event(record)]
        segment.frames += len(records)
        segment.gaps += gaps
        segment.last_sequence = max(segment.last_sequence, *map(number_of, records))
        segment.bytes += len(data)
        self.bytes += len(data)
        self.events += len(records) - len(gaps)
        self._open = segment.bytes < self._segment_bytes

    def take(self, most: int) -> list[Segment]:
        """The `most` oldest segments. They stay until `remove`, and get no more events."""
        taken = self._all[:most]
        if len(taken) == len(self._all):
            self._open = False
        return taken

    def remove(self, segment: Segment) -> None:
        """Delete the segment: its events are in Kafka, or given up."""
        if segment not in self._all:
            return  # removed meanwhile, to make room
        if segment is self._all[-1]:
            self._open = False
        self._all.remove(segment)
        self.bytes -= segment.bytes
        self.events -= segment.events
        if not segment.is_aside:
            segment.path.unlink(missing_ok=True)

    def before(self, busy: Sequence[Segment]) -> Segment | None:
        """The oldest segment that is not in `busy`."""
        return next((each for each in self._all if each not in busy), None)


def _found(path: Path) -> Segment:
    status = path.lstat()
    return Segment(path, status.st_size, status.st_mtime)


def _read(path: Path) -> bytes | None:
    """The bytes of a regular file of this user, of bounded size. None: it is something else."""
    # Do not wait for a named pipe, and do not follow a link.
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if not is_ours or status.st_size > MAX_FILE_BYTES:
            return None
        with open(file, "rb", closefd=False) as readable:
            return readable.read()
    finally:
        os.close(file)


def _append(path: Path, data: bytes, size: int) -> None:
    """Write `data` at `size`, the end of the file. After a failure it is cut to `size` again."""
    # Opened each time, so a forked child inherits no descriptor and no buffer to flush at its end.
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    file = os.open(path, flags, 0o600)
    try:
        written = 0
        while written < len(data):
            written += os.pwrite(file, data[written:], size + written)
    except OSError:
        _cut(file, path, size)
        raise
    finally:
        os.close(file)


def _cut(file: int, path: Path, size: int) -> None:
    try:
        os.ftruncate(file, size)
        if not size:
            path.unlink(missing_ok=True)
    except OSError as error:  # the reader copes with a torn end
        log.warning("spill_not_cut", file=str(path), error=describe(error))
