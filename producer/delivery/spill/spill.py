"""The events that a process keeps on disk: its own, and those of a dead process it has adopted.

Only the delivery thread calls this. `write` adds events in the order of their numbers; `take` and
`remove` get them out again. A crash anywhere in between leaves them in their file, and
the next process sends them again. At least once is enough here: an event that is sent twice is
stored once, by its `event_id`.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from usagepipe.producer.delivery.spill.folders import HeldFolder, adopt_folder, make_folder
from usagepipe.producer.delivery.spill.frames import FRAME_BYTES, Record
from usagepipe.producer.delivery.spill.segments import HEADER, Segment, Segments
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.schemas.errors import UsagePipeError
from usagepipe.schemas.settings import ProducerSettings

SEGMENT_BYTES: Final = 1 << 20  # this much may be sent twice after a crash
SHARES: Final = 16  # a segment of a small spill is at most this fraction of it
AGAIN_SECONDS: Final = 30.0  # after a failure, mostly a full disk
ADOPT_SECONDS: Final = 30.0  # between two looks for the folder of a dead process


class Kept(NamedTuple):
    """The result of a write."""

    records: int  # how many of the records, from the first, are on disk
    given_up: list[Segment]  # deleted to make room


class Spill:
    """Files of events. `open` comes first. No method raises OSError."""

    def __init__(self, settings: ProducerSettings, name: str) -> None:
        self._settings = settings
        self._root: Path | None = None  # known after `open`
        self._name = name
        self._limit = settings.spill_megabytes << 20
        self._overwrites = settings.spill_policy == "oldest"
        self._segment_bytes = min(SEGMENT_BYTES, self._limit // SHARES)
        self._own: Segments | None = None
        self._own_folder: HeldFolder | None = None
        self._adopted: Segments | None = None
        self._adopted_folder: HeldFolder | None = None
        self._left: set[Path] = set()  # adopted folders that could not be emptied
        self._is_missing = False  # and that was logged
        self._broken_until = 0.0
        self._adopt_at = 0.0
        self.is_full = False

    def open(self) -> None:
        """Make this process' folder, unless it exists. A failure is logged once; events then stay
        in memory, and a call `AGAIN_SECONDS` later tries again."""
        if self._own is not None or time.monotonic() < self._broken_until:
            return
        try:
            self._root = self._root or spill_root(self._settings)
            if self._root is None:
                self._broken_until = math.inf  # no spill is configured
                return
            self._own_folder = self._own_folder or make_folder(self._root, self._name)
            self._own = Segments(self._own_folder.path, self._segment_bytes)
        except Exception as error:  # no home, no such folder, no valid path (a NUL in it)
            self._broken_until = time.monotonic() + AGAIN_SECONDS
            if not self._is_missing:
                self._log_missing(error)
            self._is_missing = True
            return
        if self._is_missing:
            log.warning("spill_available", folder=str(self._root))

    def _log_missing(self, error: Exception) -> None:
        # An error of our own: its message is safe and names the cure.
        why = str(error) if isinstance(error, UsagePipeError) else describe(error)
        folder = str(self._root or self._settings.spill_dir)
        log.warning("spill_unavailable", folder=folder, error=why)

    @property
    def takes_events(self) -> bool:
        """Whether `write` is worth trying: there is a folder, and no recent failure."""
        return self._own is not None and time.monotonic() >= self._broken_until

    @property
    def is_empty(self) -> bool:
        return not self._own and not self._adopted

    @property
    def has_own(self) -> bool:
        """Whether there is any record of this process, even a gap record."""
        return bool(self._own)

    @property
    def events(self) -> int:
        """Events of this process on disk, which Kafka has not acknowledged."""
        return self._own.events if self._own else 0

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in (self._own, self._adopted) if each)

    @property
    def oldest(self) -> float | None:
        """When the oldest segment was created, in seconds of the epoch."""
        return min((each.since for each in (self._own, self._adopted) if each), default=None)

    def write(self, records: Sequence[Record], busy: Sequence[Segment]) -> Kept:
        """Write `records` to disk while there is room.

        The caller keeps the rest: the spill is full (`is_full`), or cannot be written. `busy`
        segments are in flight and never deleted to make room.
        """
        kept, given_up = 0, list[Segment]()
        while self._own is not None and kept < len(records):
            piece, size = self._piece(records, kept)
            given_up += self._make_room(size, busy)
            self.is_full = self._own.bytes + size > self._limit
            if self.is_full or not self._append(piece):
                break
            kept += len(piece)
        return Kept(kept, given_up)

    def write_gap(self, record: Record) -> bool:
        """Write a gap record, even if the spill is full: it reports what was dropped because of
        that. Returns whether it was written."""
        return self.takes_events and self._append([record])

    def _piece(self, records: Sequence[Record], start: int) -> tuple[list[Record], int]:
        """Records from `start` on, about one segment of them, and their size in the file."""
        piece: list[Record] = []
        size = len(HEADER)
        for key, value in records[start:]:
            frame = FRAME_BYTES + len(key) + len(value)
            if piece and size + frame > self._segment_bytes:
                break
            piece.append((key, value))
            size += frame
        return piece, size

    def _make_room(self, size: int, busy: Sequence[Segment]) -> list[Segment]:
        given_up: list[Segment] = []
        while self._own and self._overwrites and self._own.bytes + size > self._limit:
            if (oldest := self._own.before(busy)) is None:
                break
            given_up.append(oldest)
            self._own.remove(oldest)
        return given_up

    def _append(self, piece: Sequence[Record]) -> bool:
        assert self._own is not None
        try:
            try:
                self._own.append(piece)
            except FileNotFoundError:
                self._restore_folder()
                self._own.append(piece)
        except OSError as error:
            self._broken_until = time.monotonic() + AGAIN_SECONDS
            log.warning("spill_write_failed", folder=str(self._root), error=describe(error))
            return False
        return True

    def _restore_folder(self) -> None:
        """Somebody deleted the folder. Its events are counted as lost when they are to be sent."""
        assert self._root is not None
        if self._own_folder is not None:
            self._own_folder.release()
            self._own_folder = None
        self._own_folder = make_folder(self._root, self._name)
        log.warning("spill_folder_restored", folder=self._name)

    def take(self, most: int) -> list[Segment]:
        """The next segments to send, oldest first: those of an adopted folder before our own."""
        if self._adopted is not None and not len(self._adopted):
            self._leave_adopted()
        return next((each.take(most) for each in (self._adopted, self._own) if each), [])

    def is_own(self, segment: Segment) -> bool:
        return segment.path.parent.name == self._name

    def remove(self, segment: Segment) -> None:
        segments = self._own if self.is_own(segment) else self._adopted
        assert segments is not None
        try:
            segments.remove(segment)
        except OSError as error:  # it is sent again: better twice than never
            log.warning("spill_not_removed", file=str(segment.path), error=describe(error))
        self.is_full = False

    def adopt(self) -> bool:
        """Look for events of a dead process, every `ADOPT_SECONDS`. Whether there are any."""
        if self._root is None or self._own is None or self._adopted is not None:
            return False
        if time.monotonic() < self._adopt_at:
            return False
        if (folder := adopt_folder(self._root, self._left)) is None:
            self._adopt_at = time.monotonic() + ADOPT_SECONDS
            return False
        self._adopted_folder = folder
        try:
            self._adopted = Segments(folder.path, self._segment_bytes)
        except OSError as error:
            log.warning("spill_not_adopted", folder=folder.path.name, error=describe(error))
            self._leave_adopted()
            return False
        log.warning("spill_adopted", folder=folder.path.name, bytes=self._adopted.bytes)
        return True

    def _leave_adopted(self) -> None:
        """Release the adopted folder. If it cannot be emptied, never adopt it again: its files
        would be sent again and again."""
        folder, self._adopted, self._adopted_folder = self._adopted_folder, None, None
        if folder is not None and not folder.release():
            self._left.add(folder.path)

    def close(self) -> None:
        """Release the folders. The next process adopts what they hold."""
        self._leave_adopted()
        if self._own_folder is not None:
            self._own_folder.release()
        self._own = self._own_folder = None


def spill_root(settings: ProducerSettings) -> Path | None:
    """The folder for events of these servers and this topic. None: no spill is configured.

    Events of one topic or cluster must never be sent to another one that shares the spill folder.
    """
    path = settings.spill_path
    if path is None:
        return None
    servers = ",".join(sorted(settings.kafka.split(",")))
    # Absolute: the application may change its working directory later.
    return path.absolute() / f"{settings.topic}-{crc32(servers.encode()):08x}"
