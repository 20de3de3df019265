"""Server-sent events, to the letter of the WHATWG standard (HTML, section 9.2.6), but for one
thing: an event at the end of the stream counts without its blank line, because proxies cut it.
"""

from typing import Final

from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.framing.documents import Documents

BOM: Final = b"\xef\xbb\xbf"
DATA: Final = b"data: "
NAME: Final = b"event: "
FAILURE: Final = b"event: error"
HEAD_BYTES: Final = len(BOM + FAILURE)  # enough of a line to know its field
ENDS_OF_EVENT: Final = (b"\n\n", b"\r\n\r\n")


class ServerSentEvents:
    """The data of each event is a JSON document. Of other fields, only the name of an error is
    looked at: its data may be anything."""

    def __init__(self, tally: Tally, max_bytes: int) -> None:
        self._tally = tally
        self._documents = Documents(tally, max_bytes)
        self._at_start = True
        self._between_events = True
        self._head: bytes | None = b""  # of a line whose field is not known yet
        self._is_data = False  # of the line, once its field is known
        self._has_data = False  # of the event
        self._is_error = False
        self.has_events = False  # one has data: a body of JSON has no such line
        self._after_cr = False  # a line feed that comes next belongs to it
        self.steps = 0

    malformed = False  # whatever comes is a stream of events by the standard
    streaming = True

    def feed(self, chunk: bytes) -> None:
        # Most chunks are whole events: they are done with here, most of them by a glance. The
        # ends are those that no line feed in the next chunk can belong to.
        if self._between_events and chunk.endswith(ENDS_OF_EVENT):
            if self._documents.can_skip(chunk):
                self._after_cr = False
                return
            data = _data_of(chunk)
            if data is not None:
                self.has_events = True
                self._at_start = self._after_cr = False
                self._documents.offer(data)
                return
        self._split(chunk)

    def _split(self, chunk: bytes) -> None:
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        # Of bytes, unlike of str, this splits at CR, LF and CRLF only, as the standard does.
        lines = chunk.splitlines(keepends=True)
        self.steps += len(lines)
        for line in lines:
            text = line.rstrip(b"\r\n")
            self._read(text, ends=len(text) < len(line))
        begun = self._has_data or self._is_error
        self._between_events = self._head == b"" and not begun

    def finish(self) -> None:
        """The stream has ended: so has its last line, and its last event."""
        if self._head:
            self._read(b"", ends=True)
        self._end_event()

    def _read(self, text: bytes, *, ends: bool) -> None:
        """The next of a line, and whether the line ends with it."""
        if self._head is not None:
            text = self._head + text
            if len(text) < HEAD_BYTES and not ends:
                self._head = text
                return
            text = self._begin_line(text)
        if self._is_data:
            self._documents.feed(text)
        self._head = b"" if ends else None

    def _begin_line(self, text: bytes) -> bytes:
        """The data in the beginning of a line, or all of it."""
        if self._at_start:
            text = text.removeprefix(BOM)
            self._at_start = False
        if not text:
            self._end_event()
        name, _, value = text.partition(b":")
        self._is_data = name == b"data"
        if name == b"event":
            self._is_error = value.strip() == b"error"
        if self._is_data and self._has_data:
            self._documents.feed(b"\n")
        self._has_data = self._has_data or self._is_data
        self.has_events |= self._is_data
        return value.removeprefix(b" ")

    def _end_event(self) -> None:
        if self._has_data:
            self._has_data = False
            if self._is_error:
                self._tally.fail()
            self._documents.close()
        self._is_error = False


def _data_of(event: bytes) -> bytes | None:
    """The data of a usual event: one line of it, at most after a name; None: read it with care."""
    line = event.rstrip(b"\r\n")
    if line.startswith(NAME):
        name, _, line = line.partition(b"\n")
        if b"error" in name or b"\r" in name[:-1]:
            return None
    if line.startswith(DATA) and b"\n" not in line and b"\r" not in line:
        return line[len(DATA) :]
    return None
