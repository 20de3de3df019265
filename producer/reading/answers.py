"""Reads one answer as it passes, chunk by chunk, in bounded memory. It never changes the answer.

The bytes are decompressed (`framing.compression`) and cut into JSON documents (`framing`). Their
usage is added up (`extraction`), as each provider means it (`shapes`).
"""

from collections.abc import Callable
from typing import Final, Protocol

from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.framing.aws_event_stream import AwsEventStream
from usagepipe.producer.reading.framing.compression import (
    GRACE_STEPS,
    PIECE_BYTES,
    codings_of,
    unpacking_of,
)
from usagepipe.producer.reading.framing.json_body import JsonBody
from usagepipe.producer.reading.framing.json_lines import JsonLines
from usagepipe.producer.reading.framing.kinds import BLANK, STREAMS, AnswerKind, kind_by, label_of
from usagepipe.producer.reading.framing.server_sent_events import JsonOrEvents, ServerSentEvents
from usagepipe.producer.reading.usage import Usage
from usagepipe.producer.telemetry.counters import UnrecordedReason
from usagepipe.schemas.errors import TooLargeError


class Framing(Protocol):
    """Cuts the bytes of an answer into JSON documents for the tally."""

    @property
    def malformed(self) -> bool:
        """Whether the bytes contradict the answer's type."""

    @property
    def streaming(self) -> bool:
        """Whether the answer is a stream of documents."""

    @property
    def steps(self) -> int:
        """How many documents or lines were cut: the cost of reading the answer."""

    def feed(self, chunk: bytes) -> None: ...
    def finish(self) -> None: ...


# Some servers send blank lines before an answer, to keep the connection alive. After more of them
# the label decides: it may be a bomb, whose lines must be counted.
MAX_BLANKS: Final = 4_096
FRAMINGS: Final[dict[AnswerKind, Callable[[Tally, int], Framing]]] = {
    "json": JsonBody,
    "lines": JsonLines,
    "events": ServerSentEvents,
    "json or events": JsonOrEvents,
    "aws": AwsEventStream,
}


class AnswerReader:
    """The body of one answer: `feed` it as it passes, `read` its usage at the end."""

    def __init__(self, content_type: str, content_encoding: str, max_bytes: int) -> None:
        self._tally = Tally()
        self._max_bytes = max_bytes
        self._framing: Framing | None = None
        self._finished = False
        self._head = b""  # of the body, until its format is known
        self._label = label_of(content_type)
        self._refused: UnrecordedReason | None = "no_usage" if self._label == "other" else None
        self._most_steps = GRACE_STEPS
        codings = codings_of(content_encoding)
        self._unpacking = unpacking_of(codings) if codings else None
        if codings and self._unpacking is None:
            self._refused = self._refused or "compressed"

    @property
    def streaming(self) -> bool:
        """Whether the answer is a stream. For a JSON body this is known at its end."""
        return self._label in STREAMS if self._framing is None else self._framing.streaming

    @property
    def model(self) -> str:
        """The model that the answer has named so far, or ""."""
        return self._tally.model

    @property
    def failed(self) -> bool:
        """Whether the answer has reported a failure so far."""
        return self._tally.failed

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. They are read and released, or held within the bound."""
        if self._framing is not None and self._unpacking is None and 0 < len(chunk) <= PIECE_BYTES:
            self._framing.feed(chunk)  # as nearly all chunks
            return
        for at in range(0, len(chunk), PIECE_BYTES):  # so that few lines are cut at once
            self._feed(chunk[at : at + PIECE_BYTES])

    def _feed(self, chunk: bytes) -> None:
        if self._refused is not None:
            return
        if self._unpacking is None:
            self._pass_on(chunk)
            return
        self._most_steps += len(chunk)
        try:
            for piece in self._unpacking.pieces(chunk):
                self._pass_on(piece)
                if self._framing is not None and self._framing.steps > self._most_steps:
                    raise TooLargeError
        except TooLargeError:
            self._refused = "too_large"
        except ValueError:
            self._refused = "parse_failed"

    def read(self, complete: bool = True) -> Usage | UnrecordedReason:
        """The usage in the answer, or the reason why there is none.

        `complete` is False for an answer that was cut: the client disconnected, or the application
        raised. The usage so far counts, and is partial unless the end was seen.
        """
        if not self._finished:
            if self._head:
                self._frame(self._head, ended=True)
            if self._framing is not None:
                self._framing.finish()
        self._finished = True
        usage = self._tally.usage(complete and self._refused is None)
        if usage is not None:
            return usage
        if self._refused is None and self._framing is not None and self._framing.malformed:
            # Text does not claim to be JSON.
            return "no_usage" if self._label == "text" else "parse_failed"
        return self._refused or "no_usage"

    def _pass_on(self, chunk: bytes) -> None:
        if self._framing is not None:
            self._framing.feed(chunk)
        elif self._refused is None:
            self._frame(self._head + chunk)

    def _frame(self, begun: bytes, *, ended: bool = False) -> None:
        """Choose the framing by the body's first bytes, once there are enough."""
        head = begun.lstrip(BLANK)
        ended = ended or len(begun) - len(head) > MAX_BLANKS
        kind = kind_by(head, self._label, ended=ended)
        self._head = begun if kind is None else b""
        if kind == "other":
            self._refused = "no_usage"
        elif kind is not None:
            self._framing = FRAMINGS[kind](self._tally, self._max_bytes)
            self._framing.feed(begun)
