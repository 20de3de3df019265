"""Watches the body and the answer of one WSGI request (PEP 3333)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self
from wsgiref.types import StartResponse

from usagepipe.producer.watching.stamps import stamping
from usagepipe.producer.watching.watched_request import WatchedRequest

Sent = list[tuple[str, str]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Write = Callable[[bytes], object]


class AnswerHeaders:
    """The first value of an answer's header by its name (lower case), or ""."""

    def __init__(self, sent: Sent) -> None:
        self._sent = list(sent)  # middlewares around us may change the list
        self._values: dict[str, str] | None = None

    def __call__(self, name: str) -> str:
        if self._values is None:
            self._values = {key.lower(): value for key, value in reversed(self._sent)}
        return self._values.get(name, "").strip()


class WatchedStart:
    """The `start_response` that the application gets instead of the server's."""

    def __init__(self, watched: WatchedRequest, start_response: StartResponse) -> None:
        self._watched = watched
        self._start_response = start_response

    def __call__(self, status: str, headers: Sent, exc_info: ExcInfo | None = None) -> Write:
        # A second call, with `exc_info`, replaces an answer that was not sent yet. If it is too
        # late for that, the server raises here.
        given = () if exc_info is None else (exc_info,)
        write = self._start_response(status, headers, *given)
        digits = str(status)[:3]
        code = int(digits) if digits.isdecimal() else 0
        self._watched.answer_began(code, AnswerHeaders(headers))
        return partial(self._write, write)

    def _write(self, write: Write, chunk: bytes) -> None:
        try:
            write(chunk)
        except OSError:  # the client has disconnected
            self._watched.client_left()
            raise
        self._watched.answer_chunk(chunk)


class WatchedAnswer:
    """The chunks of an answer, as the server asks for them. `close` finishes the request."""

    def __init__(
        self, chunks: Iterable[bytes], watched: WatchedRequest, finish: Callable[[], object]
    ) -> None:
        self._chunks = chunks
        self._iterator: Iterator[bytes] = iter(())
        self._watched = watched
        self._finish: Callable[[], object] | None = finish

    def __iter__(self) -> Self:
        self._iterator = iter(self._chunks)
        return self

    def __next__(self) -> bytes:
        try:
            with stamping(self._watched.stamp):
                chunk = next(self._iterator)
        except StopIteration:
            self._watched.answer_ended()
            raise
        except BaseException as error:
            self._watched.raised(error)
            raise
        self._watched.answer_chunk(chunk)
        return chunk

    def close(self) -> None:
        """The server is done. Before the last chunk: the client has disconnected."""
        try:
            if (close := getattr(self._chunks, "close", None)) is not None:
                with stamping(self._watched.stamp):
                    close()
        finally:
            self._end()

    def __del__(self) -> None:
        """Finish an answer that was never closed."""
        self._end()

    def _end(self) -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            self._watched.client_left()
            finish()


class SizedWatchedAnswer(WatchedAnswer):
    """A list of chunks: for a single chunk, servers derive the Content-Length from `len`."""

    _chunks: Sequence[bytes]

    def __len__(self) -> int:
        return len(self._chunks)


class WatchedInput:
    """The request's body as the application reads it. Other attributes are the server's."""

    def __init__(self, body: Any, watched: WatchedRequest) -> None:
        self._body = body
        self._watched = watched

    def read(self, *size: int) -> bytes:
        return self._noted(self._body.read(*size))

    def readline(self, *size: int) -> bytes:
        return self._noted(self._body.readline(*size))

    def readlines(self, *hint: int) -> list[bytes]:
        return [self._noted(line) for line in self._body.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return map(self._noted, self._body)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._body, name)
        # Not in PEP 3333, but some servers have them, and Werkzeug prefers `readinto`.
        if name == "readinto":
            return partial(self._readinto, found)
        return (lambda *size: self._noted(found(*size))) if name == "read1" else found

    def _readinto(self, readinto: Callable[[memoryview], int | None], buffer: Any) -> int | None:
        view = memoryview(buffer)
        size = readinto(view)
        self._watched.body_piece(view[: size or 0])
        return size

    def _noted(self, piece: bytes) -> bytes:
        self._watched.body_piece(piece)
        return piece
