"""One request and its answer while they pass: the state of `UsageMiddleware` for one request."""

import time
from datetime import UTC, datetime

from usagepipe.producer.answers import AnswerReader
from usagepipe.producer.asgi import Message, Scope, Send, header
from usagepipe.producer.counters import UnrecordedReason
from usagepipe.producer.events import Course
from usagepipe.producer.extraction import Usage
from usagepipe.producer.stamps import Stamp

SERVER_ERROR = 500  # what a server answers for an application that raises or never answers


class Exchange:
    """Sends the answer on and takes notes. A fault in the notes never reaches the answer."""

    def __init__(self, scope: Scope, send: Send, correlation_header: bytes, max_bytes: int) -> None:
        self._occurred_at = datetime.now(UTC)
        self._started = time.perf_counter()
        self._first_byte: float | None = None
        self._ended: float | None = None
        self._scope = scope
        self._send = send
        self._correlation_header = correlation_header
        self._max_bytes = max_bytes
        self._status: int | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._reader: AnswerReader | None = None
        self._fault: Exception | None = None
        self._raised = False
        self.endpoint = str(scope.get("path", ""))
        self.stamp: Stamp = {}

    async def send(self, message: Message) -> None:
        """Send `message` on, then look at it: what a client that has gone was sent still counts."""
        try:
            await self._send(message)
        finally:
            try:
                self._note(message)
            except Exception as error:
                self._fault, self._reader = error, None

    def _note(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            self._note_body(message)
        elif kind == "http.response.start":
            self._status = message["status"]
            self._headers = headers = list(message.get("headers", ()))
            self._reader = AnswerReader(
                header(headers, b"content-type"),
                header(headers, b"content-encoding"),
                self._max_bytes,
            )

    def _note_body(self, message: Message) -> None:
        chunk = message.get("body", b"")
        if chunk:
            if self._first_byte is None:
                self._first_byte = time.perf_counter()
            if self._reader is not None:
                self._reader.feed(chunk)
        if not message.get("more_body", False):
            self._ended = time.perf_counter()

    def app_raised(self) -> None:
        """The application raised: the server answers 500, or breaks off what had begun."""
        self._raised = True

    def usage(self) -> Usage | UnrecordedReason:
        """The usage that the answer's body tells, or why it tells none.

        Raises:
            Exception: whatever went wrong while the answer passed.
        """
        if self._fault is not None:
            raise self._fault
        return "no_usage" if self._reader is None else self._reader.read()

    @property
    def status(self) -> int:
        return SERVER_ERROR if self._status is None else self._status

    @property
    def failed(self) -> bool:
        return self._raised or self.status >= 400

    def course(self) -> Course:
        """How the request went. It ended with the last byte of its answer, not with the tasks
        that the application runs in the background afterwards."""
        streaming = self._reader is not None and self._reader.streaming
        return Course(
            occurred_at=self._occurred_at,
            endpoint=self.endpoint,
            request_id=header(self._headers, self._correlation_header)
            or header(self._scope.get("headers", ()), self._correlation_header),
            status_code=self.status,
            failed=self.failed,
            streaming=streaming,
            duration_ms=self._milliseconds(self._ended or time.perf_counter()),
            ttft_ms=self._milliseconds(self._first_byte)
            if streaming and self._first_byte is not None
            else None,
        )

    def _milliseconds(self, moment: float) -> int:
        return int((moment - self._started) * 1000)
