"""Server-sent events by the WHATWG standard (HTML, section 9.2.6), with one exception: the last
event of a stream counts without its blank line, because proxies cut it.
"""

from typing import Final

from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.framing.documents import Documents
from usagepipe.producer.reading.framing.json_body import JsonBody

BOM: Final = b"\xef\xbb\xbf"
DATA: Final = b"data: "
NAME: Final = b"event: "
FAILURE: Final = b"event: error"
HEAD_BYTES: Final = len(BOM + FAILURE)  # enough of a line to know its field
ENDS_OF_EVENT: Final = (b"\n\n", b"\r\n\r\n")


class ServerSentEvents:
    """The data of each event is a JSON document. Other fields are skipped, except for the name of
    an error event, whose data may be anything."""

    def __init__(self, tally: Tally, max_bytes: int) -> None:
        self._tally = tally
        self._documents = Documents(tally, max_bytes)
        self._at_start = True
        self._between_events = True
        self._head: bytes | None = b""  # the beginning of a line, until its field is known
        self._is_data = False  # the current line is data
        self._has_data = False  # the current event has data
        self._is_error = False
        self.has_events = False  # one had data: a JSON body has no such line
        self._after_cr = False  # a line feed that follows belongs to it
        self.steps = 0

    malformed = False  # by the standard any text is a stream of events
    streaming = True

    def feed(self, chunk: bytes) -> None:
        # Most chunks are whole events, which are read here or skipped by the pre-filter. No line
        # feed of the next chunk can belong to one of these ends.
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
        """End the last line and the last event with the stream."""
        if self._head:
            self._read(b"", ends=True)
        self._end_event()

    def _read(self, text: bytes, *, ends: bool) -> None:
        """Read the next part of a line; `ends` if it is the last part."""
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
        """Find the field of a line, and return the rest of its text."""
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


class JsonOrEvents:
    """A body labelled as an event stream that begins like JSON: it is JSON unless an event comes.

    By the standard of event streams, a line in braces is a field to ignore.
    """

    malformed = False  # like an event stream

    def __init__(self, tally: Tally, max_bytes: int) -> None:
        self._events = ServerSentEvents(tally, max_bytes)
        self._json = JsonBody(tally, max_bytes)

    @property
    def streaming(self) -> bool:
        return self._events.has_events or self._json.streaming

    @property
    def steps(self) -> int:
        return self._events.steps + self._json.steps

    def feed(self, chunk: bytes) -> None:
        self._events.feed(chunk)
        if not self._events.has_events:
            self._json.feed(chunk)

    def finish(self) -> None:
        self._events.finish()
        if not self._events.has_events:
            self._json.finish()


def _data_of(event: bytes) -> bytes | None:
    """The data of an ordinary event: one line, with at most a name before it. None: it is not."""
    line = event.rstrip(b"\r\n")
    if line.startswith(NAME):
        name, _, line = line.partition(b"\n")
        if b"error" in name or b"\r" in name[:-1]:
            return None
    if line.startswith(DATA) and b"\n" not in line and b"\r" not in line:
        return line[len(DATA) :]
    return None
