"""One request and its answer while they pass, whatever carries them: ASGI, WSGI or a client.

Whoever passes them on takes notes here and decides nothing. A fault in the notes is kept for the
end and never reaches the request.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from usagepipe.producer.process.safe_log import describe
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.extraction import Usage
from usagepipe.producer.telemetry.counters import UnrecordedReason
from usagepipe.producer.watching.openings import Asked, Opening, asks_no_model, model_in_path
from usagepipe.producer.watching.stamps import Stamp

REDIRECTS = (301, 302, 303, 307, 308)
SERVER_ERROR = 500  # what a server answers for an application that raises or never answers

# The value of a header by its name (lower case), or "".
Headers = Callable[[str], str]


def no_headers(name: str) -> str:
    return ""


class Exchange:
    """The notes. `unanswered` is the status of a request that ends without an answer."""

    def __init__(
        self,
        method: str,
        endpoint: str,
        request_header: Headers,
        *,
        max_bytes: int,
        provider: str = "",
        unanswered: int = SERVER_ERROR,
    ) -> None:
        self.occurred_at = datetime.now(UTC)
        self._started = time.perf_counter()
        self._first_byte: float | None = None
        self._ended: float | None = None
        self.method = method
        self.endpoint = endpoint
        self.provider = provider
        self.request_header = request_header
        self.answer_header: Headers = no_headers
        self._max_bytes = max_bytes
        self._unanswered = unanswered
        self._opening: Opening | None = None
        self._asked: Asked | None = None
        self._status: int | None = None
        self._reader: AnswerReader | None = None
        self._raised = False
        self._left = False
        self.fault = ""  # type and place of what went wrong with the notes
        self.seconds = 0.0  # that the notes took, where that is timed
        self.stamp = Stamp()

    def asked(self, piece: bytes | memoryview) -> None:
        """A piece of the request's body was read by the application."""
        try:
            if self._opening is None:
                self._opening = Opening(self.request_header("content-type"))
            self._opening.note(piece)
        except Exception as error:
            self.noting_failed(error)

    def answered(self, status: int, answer_header: Headers) -> None:
        """The answer has begun."""
        self._status = status
        self.answer_header = answer_header

    def passed(self, chunk: bytes) -> None:
        """A chunk of the answer's body went by."""
        if not chunk:
            return
        try:
            if self._first_byte is None:
                self._first_byte = time.perf_counter()
            reader = self._reader or self._reader_of_answer()
            if reader is not None:
                # A view may be of memory that is used again.
                reader.feed(chunk if type(chunk) is bytes else bytes(chunk))
        except Exception as error:
            self.noting_failed(error)

    def ended(self) -> None:
        """The last chunk has gone by. Whatever happens from now on, the answer is complete, and
        tasks in the background take no part in its time."""
        self._ended = self._ended or time.perf_counter()

    @property
    def complete(self) -> bool:
        """The whole answer was seen."""
        return self._ended is not None

    def client_left(self) -> None:
        """The client went away, or stopped reading. Of no account when all was over before."""
        self._left |= not (self.complete or self._raised)

    def broke_off(self, error: BaseException) -> None:
        """The application raised: the server answers 500, or breaks off what had begun.

        Errors that are no `Exception` end a task from outside: the client went away.
        """
        if self.complete:
            return
        if isinstance(error, Exception):
            self._raised = True
        else:
            self._left = True

    def noting_failed(self, error: Exception) -> None:
        """The rest of the answer goes unread."""
        self.fault, self._reader = describe(error), None

    def usage(self) -> Usage | UnrecordedReason:
        """The usage that the answer's body tells, or why it tells none. Asked once, at the end."""
        if self.fault:
            return "record_failed"
        if asks_no_model(self.endpoint):
            return "no_usage"
        try:
            reader = self._reader_of_answer()
            return "no_usage" if reader is None else reader.read(complete=self.complete)
        except Exception as error:
            self.noting_failed(error)
            return "record_failed"

    @property
    def cancelled(self) -> bool:
        """The client did not wait for the end. An answer that was begun and neither ended nor
        broken off by an error counts too: so ends a handler that saw the client leave."""
        begun = self._status is not None and not self._raised
        return not self.complete and (self._left or begun)

    @property
    def redirects(self) -> bool:
        """The answer names another place to ask, and is none itself."""
        return self._status in REDIRECTS and bool(self.answer_header("location"))

    @property
    def failed(self) -> bool:
        """A status of 400 or more, an error in the answer, or no proper end for another reason
        than the client."""
        told = self._reader is not None and self._reader.failed
        return told or self.status >= 400 or (self._raised and not self.cancelled)

    @property
    def status(self) -> int:
        """The status that the client was sent; 0 if it did not wait for one."""
        if self._status is not None:
            return self._status
        return 0 if self._left else self._unanswered

    @property
    def streaming(self) -> bool:
        """The answer was a stream, or would have been one."""
        reader = self._reader_of_answer()
        if reader is not None:
            return reader.streaming
        return self._status is None and self._asked_for().stream

    @property
    def served_model(self) -> str:
        """The model that the answer named, also where it told no usage, or ""."""
        return "" if self._reader is None else self._reader.model

    @property
    def asked_model(self) -> str:
        """The model that the request's body or path names, or ""."""
        return self._asked_for().model or model_in_path(self.endpoint)

    def _reader_of_answer(self) -> AnswerReader | None:
        """Made when it is needed, not when the answer begins: the first byte does not wait."""
        if self._reader is None and self._status is not None and not self.fault:
            self._reader = AnswerReader(
                self.answer_header("content-type"),
                self.answer_header("content-encoding"),
                self._max_bytes,
            )
        return self._reader

    def _asked_for(self) -> Asked:
        if self._asked is None:
            self._asked = Asked() if self._opening is None else self._opening.read()
            self._opening = None
        return self._asked

    @property
    def duration_ms(self) -> int:
        return self._milliseconds(self._ended or time.perf_counter())

    @property
    def ttft_ms(self) -> int | None:
        """Time to the first byte of a stream; null for other answers, which have no first token."""
        if self._first_byte is None or not self.streaming:
            return None
        return self._milliseconds(self._first_byte)

    def _milliseconds(self, moment: float) -> int:
        return int((moment - self._started) * 1000)


class TimedExchange(Exchange):
    """Notes that tell what they cost the request."""

    def asked(self, piece: bytes | memoryview) -> None:
        began = time.perf_counter()
        super().asked(piece)
        self.seconds += time.perf_counter() - began

    def answered(self, status: int, answer_header: Headers) -> None:
        began = time.perf_counter()
        super().answered(status, answer_header)
        self.seconds += time.perf_counter() - began

    def passed(self, chunk: bytes) -> None:
        began = time.perf_counter()
        super().passed(chunk)
        self.seconds += time.perf_counter() - began
