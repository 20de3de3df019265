"""The JSON documents of a stream, one after the other, each in bounded memory."""

from typing import Final

from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.framing.decoding import decoded
from usagepipe.producer.reading.framing.prefilter import may_matter
from usagepipe.producer.reading.framing.projection import Projection

# Always parsed: they name the model, which the last may not repeat, and show that a chat begins.
FIRST_DOCUMENTS: Final = 2
END_OF_CHAT: Final = b"[DONE]"


class BoundedText:
    """JSON that comes in pieces: held up to `max_bytes`, and projected beyond that."""

    def __init__(self, tally: Tally, max_bytes: int) -> None:
        self._tally = tally
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._projection: Projection | None = None

    def feed(self, piece: bytes) -> None:
        if self._projection is None:
            if len(self._held) + len(piece) <= self._max_bytes:
                self._held += piece
                return
            self._projection = self._projected(self._held)
            self._held = bytearray()
        self._projection.feed(piece)

    def _projected(self, text: bytes | bytearray) -> Projection:
        projection = Projection(self._add)
        projection.feed(bytes(text))
        return projection

    def _add(self, document: object) -> None:
        self._tally.add(document)


class Documents(BoundedText):
    """Takes a document in pieces; `close` ends it. Anything but JSON is skipped.

    A document larger than `max_bytes` is projected: only the parts with usage are kept.
    """

    count = 0  # of documents that were not skipped, since the last end

    def can_skip(self, text: bytes | bytearray) -> bool:
        """Whether whole documents can be skipped, because nothing in them can matter."""
        return self.count >= FIRST_DOCUMENTS and not may_matter(text, self._tally.of_claude)

    def close(self) -> None:
        """The document is complete."""
        text, self._held = self._held, bytearray()
        if self._projection is not None:
            self.count += 1
            self._projection = None
        elif text and not self.can_skip(text):
            self.offer(text)

    def offer(self, text: bytes | bytearray) -> None:
        """Take a whole document."""
        self.count += 1
        if text.strip() == END_OF_CHAT:
            self._tally.end()
            self.count = 0  # another chat may follow
            return
        try:
            self._tally.add(decoded(text))
        except ValueError:
            pass
        except RecursionError:
            self._projected(text)
