"""JSON lines (NDJSON): one document a line. Ollama's streams are some."""

from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.framing.documents import Documents


class JsonLines:
    """A line feed inside of a document is always escaped, so each one ends a document."""

    malformed = False  # a line that is no JSON is passed over
    streaming = True

    def __init__(self, tally: Tally, max_bytes: int) -> None:
        self._tally = tally
        self._documents = Documents(tally, max_bytes)
        self._between_lines = True
        self.steps = 0

    def feed(self, chunk: bytes) -> None:
        ends = chunk.endswith(b"\n")
        if ends and self._between_lines:
            if self._documents.can_skip(chunk):
                return
            if 0 < chunk.index(b"\n") == len(chunk) - 1:  # one line, as most are sent
                self.steps += 1
                self._documents.offer(chunk)
                return
        first, *others = chunk.split(b"\n")
        self.steps += len(others)
        self._documents.feed(first)
        for line in others:
            self._documents.close()
            self._documents.feed(line)
        self._between_lines = ends

    def finish(self) -> None:
        """The last line may lack its line feed. One line alone may be a whole answer."""
        self._documents.close()
        if self._documents.count == 1:
            self._tally.close()
