"""A body labelled as JSON: mostly one document, sometimes an array that is a stream."""

from usagepipe.producer.reading.framing.decoding import decoded
from usagepipe.producer.reading.framing.documents import BoundedText


class JsonBody(BoundedText):
    """Held and parsed at the end; a body over the bound is projected as it passes.

    Without `alt=sse` Gemini streams an array of answers, and some gateways send JSON lines with
    this type: several documents are read as a stream.
    """

    steps = 0  # one for each document
    malformed = False

    @property
    def streaming(self) -> bool:
        return self.steps > 1

    def finish(self) -> None:
        """Read the body, which has passed as a whole."""
        if self._projection is None:
            self._parse()
        if self._projection is not None:
            self.malformed = not self._projection.whole
            if self._projection.whole:
                self._tally.end()

    def _parse(self) -> None:
        try:
            answer = decoded(self._held) if self._held else None
        except RecursionError:
            self._projection = self._projected(self._held)
        except ValueError:
            self._parse_pieces()
        else:
            for document in answer if isinstance(answer, list) else [answer]:
                self._add(document)
            self._tally.end()

    def _parse_pieces(self) -> None:
        """Read an array that was cut, or JSON lines. Anything else is not JSON."""
        if self._held.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            self._projection = self._projected(self._held)
            return
        documents: list[object] = []
        try:
            documents.extend(decoded(line) for line in self._held.split(b"\n") if line.strip())
        except (ValueError, RecursionError):
            self.malformed = True
        if len(documents) > 1:
            for document in documents:
                self._add(document)

    def _add(self, document: object) -> None:
        self.steps += 1
        self._tally.add(document)
