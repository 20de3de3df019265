"""The file of `usagepipe export`: a line with the version, one line per event, a last line.

Events are in the order of `occurred_at`, then `event_id`, each once and as `encode` writes it: the
same events give the same bytes. The last line holds their number and a digest of all lines before
it, so a reader learns only at the end whether the file was cut off or changed.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from uuid import UUID

from usagepipe.schemas.codec import decode, encode
from usagepipe.schemas.errors import EventRejectedError, ExportFileError
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.topics import MAX_RECORD_BYTES

FORMAT: Final = 1
HEAD: Final = "usagepipe_export"
END: Final = "usagepipe_export_end"
_END_BEGINS: Final = b'{"%b"' % END.encode()

Place = tuple[datetime, UUID]  # in the order of the file


class Output(Protocol):
    """What an export is written to."""

    def write(self, data: bytes, /) -> object: ...


class Input(Protocol):
    """What an export is read from."""

    def readline(self, limit: int = -1, /) -> bytes: ...


class ExportWriter:
    """Writes one export. It is complete after `finish`."""

    def __init__(self, out: Output, start: datetime, end: datetime) -> None:
        """`start` and `end`: the half-open range of the events' time, for the first line."""
        self.events = 0
        self._out = out
        self._digest = hashlib.sha256()
        self._write(_line({HEAD: FORMAT, "from": _text(start), "to": _text(end)}))

    def add(self, event: UsageEvent) -> None:
        """Write the next event, in the file's order."""
        self.events += 1
        self._write(encode(event) + b"\n")

    def finish(self) -> None:
        self._write(_line(_end(self.events, self._digest.hexdigest())))

    def _write(self, line: bytes) -> None:
        self._digest.update(line)
        self._out.write(line)


class ExportReader:
    """Reads one export line by line, and checks it as a whole at the end."""

    def __init__(self, file: Input) -> None:
        self._file = file
        self._number = 0  # of the line that was read last
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[UsageEvent]:
        """Yield the events. Call it once.

        Raises:
            ExportFileError: names the first wrong line, after the events before it.
        """
        line = self._line()
        self._check_head(line)
        events = 0
        before: Place | None = None
        while True:
            self._digest.update(line)
            if (line := self._line()).startswith(_END_BEGINS):
                break
            event = self._event(line[:-1])
            if before is not None and place_of(event) <= before:
                raise self._wrong("occurred_at, event_id: this event belongs before the last one.")
            before = place_of(event)
            events += 1
            yield event
        self._check_end(line, _end(events, self._digest.hexdigest()))
        if self._file.readline(1):
            self._number += 1
            raise self._wrong("it follows the export's last line.")

    def check(self) -> int:
        """Read the whole file; returns the number of events.

        Raises:
            ExportFileError: names the first wrong line.
        """
        return sum(1 for _ in self)

    def _line(self) -> bytes:
        line = self._file.readline(MAX_RECORD_BYTES)
        self._number += 1
        if line.endswith(b"\n"):
            return line
        if len(line) < MAX_RECORD_BYTES:
            raise self._wrong("the file ends here, without its last line: it was cut off.")
        raise self._wrong(f"it is longer than the {MAX_RECORD_BYTES:,} bytes of any event.")

    def _check_head(self, line: bytes) -> None:
        found = _object(line).get(HEAD)
        if type(found) is not int:
            verdict = "this file is not an export of usagepipe. "
            raise ExportFileError(self._number, f"{HEAD}: it has no version.", verdict)
        if found != FORMAT:
            raise self._wrong(
                f"{HEAD}: version {found} is not supported: this usagepipe reads version {FORMAT}."
            )

    def _event(self, line: bytes) -> UsageEvent:
        try:
            event = decode(line)
        except EventRejectedError as error:
            raise self._wrong(f"it is not a valid event: {error}.") from None
        if encode(event) != line:  # the import would lose fields that this version does not know
            raise self._wrong("this event is not as this version of usagepipe writes it.")
        return event

    def _check_end(self, line: bytes, expected: dict[str, Any]) -> None:
        found = _object(line)
        for name, value in expected.items():
            if found.get(name) != value:
                raise self._wrong(
                    f"{name}: it is not what the lines before it give: the file was changed."
                )

    def _wrong(self, detail: str) -> ExportFileError:
        return ExportFileError(self._number, detail)


def place_of(event: UsageEvent) -> Place:
    """The position of an event in an export."""
    return event.occurred_at, event.event_id


def _end(events: int, digest: str) -> dict[str, Any]:
    return {END: FORMAT, "events": events, "sha256": digest}


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    """The fields of a line; empty if it is not a JSON object."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
