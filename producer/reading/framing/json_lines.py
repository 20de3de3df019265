"""JSON lines (NDJSON): one document per line, as in Ollama's streams."""

from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.framing.documents import Documents


class JsonLines:
    """Each line feed ends a document: inside a document it is always escaped."""

    malformed = False  # a line that is not JSON is skipped
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
            if 0 < chunk.index(b"\n") == len(chunk) - 1:  # one line: the usual chunk
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
        """Read the last line, which may lack a line feed. A single line may be a whole answer."""
        self._documents.close()
        if self._documents.count == 1:
            self._tally.close()
