"""An answer that says it is an event stream and begins as JSON does."""

from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.framing.json_body import JsonBody
from usagepipe.producer.reading.framing.server_sent_events import ServerSentEvents


class JsonOrEvents:
    """It is JSON, unless an event comes: by the standard, a line in braces is a field to ignore."""

    malformed = False  # as an event stream is

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
