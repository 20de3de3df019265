"""One request and its answer, noted while they pass: over ASGI, WSGI or an HTTP client.

Middlewares and transports report here and decide nothing. An error in here is kept until the end
and never reaches the request.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from usagepipe.producer.process.safe_log import describe
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage
from usagepipe.producer.telemetry.counters import UnrecordedReason
from usagepipe.producer.watching.body_prefix import (
    BodyPrefix,
    Requested,
    asks_no_model,
    model_in_path,
)
from usagepipe.producer.watching.stamps import Stamp

REDIRECTS = (301, 302, 303, 307, 308)

# Returns the value of a header by its name (lower case), or "".
Headers = Callable[[str], str]


def no_headers(name: str) -> str:
    return ""


class WatchedRequest:
    """What is known of one request. `unanswered` is its status if it ends without an answer."""

    def __init__(
        self,
        method: str,
        endpoint: str,
        request_header: Headers,
        max_bytes: int,
        provider: str,
        unanswered: int,
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
        self._body: BodyPrefix | None = None
        self._requested: Requested | None = None
        self._status: int | None = None
        self._reader: AnswerReader | None = None
        self._raised = False
        self._left = False
        self.fault = ""  # type and place of an error in here
        self.seconds = 0.0  # spent in here, if that is timed
        self.stamp = Stamp()

    def body_piece(self, piece: bytes | memoryview) -> None:
        """The application has read a piece of the request's body."""
        try:
            if self._body is None:
                self._body = BodyPrefix(self.request_header("content-type"))
            self._body.note(piece)
        except Exception as error:
            self.watching_failed(error)

    def answer_began(self, status: int, answer_header: Headers) -> None:
        """The answer has begun."""
        self._status = status
        self.answer_header = answer_header

    def answer_chunk(self, chunk: bytes) -> None:
        """A chunk of the answer's body has been sent."""
        if not chunk:
            return
        try:
            if self._first_byte is None:
                self._first_byte = time.perf_counter()
            reader = self._reader or self._reader_of_answer()
            if reader is not None:
                # The memory of a view may be reused.
                reader.feed(chunk if type(chunk) is bytes else bytes(chunk))
        except Exception as error:
            self.watching_failed(error)

    def answer_ended(self) -> None:
        """The last chunk has been sent. From now on the answer counts as complete, and the time of
        background tasks does not count."""
        self._ended = self._ended or time.perf_counter()

    @property
    def complete(self) -> bool:
        """Whether the whole answer was seen."""
        return self._ended is not None

    def client_left(self) -> None:
        """The client has disconnected or stopped reading. No effect if the answer was complete."""
        self._left |= not (self.complete or self._raised)

    def raised(self, error: BaseException) -> None:
        """The application raised: the server answers 500, or aborts the answer.

        Other errors than an `Exception` cancel a task from outside: the client has disconnected.
        """
        if self.complete:
            return
        if isinstance(error, Exception):
            self._raised = True
        else:
            self._left = True

    def watching_failed(self, error: Exception) -> None:
        """Stop reading the answer."""
        self.fault, self._reader = describe(error), None

    def usage(self) -> Usage | UnrecordedReason:
        """The usage in the answer's body, or why there is none. Call it once, at the end."""
        if self.fault:
            return "record_failed"
        if asks_no_model(self.endpoint):
            return "no_usage"
        try:
            reader = self._reader_of_answer()
            return "no_usage" if reader is None else reader.read(complete=self.complete)
        except Exception as error:
            self.watching_failed(error)
            return "record_failed"

    @property
    def cancelled(self) -> bool:
        """Whether the client did not wait for the end. An answer that began and neither ended nor
        failed counts too: a handler that notices the disconnect ends like that."""
        begun = self._status is not None and not self._raised
        return not self.complete and (self._left or begun)

    @property
    def redirects(self) -> bool:
        """Whether the answer is a redirect to another URL."""
        return self._status in REDIRECTS and bool(self.answer_header("location"))

    @property
    def failed(self) -> bool:
        """Whether the status is 400 or more, the answer reports an error, or the application
        raised."""
        reported = self._reader is not None and self._reader.failed
        return reported or self.status >= 400 or (self._raised and not self.cancelled)

    @property
    def status(self) -> int:
        """The status that was sent to the client; 0 if the client did not wait for it."""
        if self._status is not None:
            return self._status
        return 0 if self._left else self._unanswered

    @property
    def streaming(self) -> bool:
        """Whether the answer was a stream, or would have been one."""
        reader = self._reader_of_answer()
        if reader is not None:
            return reader.streaming
        return self._status is None and self._read_body().stream

    @property
    def served_model(self) -> str:
        """The model that the answer named, even without usage, or ""."""
        return "" if self._reader is None else self._reader.model

    @property
    def requested_model(self) -> str:
        """The model that the request's body or path names, or ""."""
        return self._read_body().model or model_in_path(self.endpoint)

    def _reader_of_answer(self) -> AnswerReader | None:
        """Made on first use, not when the answer begins, so the first byte is not delayed."""
        if self._reader is None and self._status is not None and not self.fault:
            header = self.answer_header
            content_type, coding = header("content-type"), header("content-encoding")
            self._reader = AnswerReader(content_type, coding, self._max_bytes)
        return self._reader

    def _read_body(self) -> Requested:
        if self._requested is None:
            self._requested = Requested() if self._body is None else self._body.read()
            self._body = None
        return self._requested

    @property
    def duration_ms(self) -> int:
        return self._milliseconds(self._ended or time.perf_counter())

    @property
    def ttft_ms(self) -> int | None:
        """Time to the first byte of a stream. None for other answers, which have no first token."""
        if self._first_byte is None or not self.streaming:
            return None
        return self._milliseconds(self._first_byte)

    def _milliseconds(self, moment: float) -> int:
        return int((moment - self._started) * 1000)


class TimedWatchedRequest(WatchedRequest):
    """Measures the time that watching adds to the request, except for `answer_began`: the clock
    would cost more than the two values that it keeps."""

    def body_piece(self, piece: bytes | memoryview) -> None:
        began = time.perf_counter()
        super().body_piece(piece)
        self.seconds += time.perf_counter() - began

    def answer_chunk(self, chunk: bytes) -> None:
        began = time.perf_counter()
        super().answer_chunk(chunk)
        self.seconds += time.perf_counter() - began
