"""Passes one WSGI request on, both ways, and tells the exchange of each piece (PEP 3333)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from usagepipe.producer.watching.exchanges import Exchange
from usagepipe.producer.watching.stamps import stamping

Environ = dict[str, Any]
AnswerHeaders = list[tuple[str, str]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Write = Callable[[bytes], object]


class StartResponse(Protocol):
    """What an application calls to begin its answer."""

    def __call__(
        self, status: str, headers: AnswerHeaders, exc_info: ExcInfo | None = ..., /
    ) -> Write: ...


class Start:
    """`start_response` for the application, in place of the server's."""

    def __init__(self, exchange: Exchange, start_response: StartResponse) -> None:
        self._exchange = exchange
        self._start_response = start_response

    def __call__(
        self, status: str, headers: AnswerHeaders, exc_info: ExcInfo | None = None
    ) -> Write:
        # Called once more with `exc_info`, it stands for an answer that was not sent yet; where
        # that is too late, the server raises here.
        if exc_info is None:
            write = self._start_response(status, headers)
        else:
            write = self._start_response(status, headers, exc_info)
        code = str(status)[:3]
        self._exchange.answered(
            int(code) if code.isdecimal() else 0, partial(_value_of, list(headers))
        )
        return partial(self._write, write)

    def _write(self, write: Write, chunk: bytes) -> None:
        try:
            write(chunk)
        except OSError:  # the client has gone
            self._exchange.client_left()
            raise
        self._exchange.passed(chunk)


class Answer:
    """The chunks of an answer as the server asks for them; its `close` concludes the request."""

    def __init__(
        self, chunks: Iterable[bytes], exchange: Exchange, conclude: Callable[[], object]
    ) -> None:
        self._chunks = chunks
        self._iterator: Iterator[bytes] = iter(())
        self._exchange = exchange
        self._conclude: Callable[[], object] | None = conclude

    def __iter__(self) -> Self:
        self._iterator = iter(self._chunks)
        return self

    def __next__(self) -> bytes:
        try:
            with stamping(self._exchange.stamp):
                chunk = next(self._iterator)
        except StopIteration:
            self._exchange.ended()
            raise
        except BaseException as error:
            self._exchange.broke_off(error)
            raise
        self._exchange.passed(chunk)
        return chunk

    def close(self) -> None:
        """The server is done: before the last chunk, because the client has gone."""
        try:
            if (close := getattr(self._chunks, "close", None)) is not None:
                with stamping(self._exchange.stamp):
                    close()
        finally:
            self._end()

    def __del__(self) -> None:
        """Nobody holds it any more: whoever passed it on has forgotten to close it."""
        self._end()

    def _end(self) -> None:
        conclude, self._conclude = self._conclude, None
        if conclude is not None:
            self._exchange.client_left()
            conclude()


class SizedAnswer(Answer):
    """Of an application that answers a list: a server makes a Content-Length of a single chunk."""

    def __init__(
        self, chunks: Sequence[bytes], exchange: Exchange, conclude: Callable[[], object]
    ) -> None:
        super().__init__(chunks, exchange, conclude)
        self._size = len(chunks)

    def __len__(self) -> int:
        return self._size


class Input:
    """The request's body as the application reads it; what else a server's has is the server's."""

    def __init__(self, body: Any, exchange: Exchange) -> None:
        self._body = body
        self._exchange = exchange

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
        # Beyond PEP 3333, and not every server's: Werkzeug prefers the first where it is there.
        if name == "readinto":
            return partial(self._readinto, found)
        return partial(self._read1, found) if name == "read1" else found

    def _read1(self, read1: Callable[..., bytes], *size: int) -> bytes:
        return self._noted(read1(*size))

    def _readinto(self, readinto: Callable[[memoryview], int | None], buffer: Any) -> int | None:
        view = memoryview(buffer)
        size = readinto(view)
        self._exchange.asked(view[: size or 0])
        return size

    def _noted(self, piece: bytes) -> bytes:
        self._exchange.asked(piece)
        return piece


def _value_of(headers: AnswerHeaders, name: str) -> str:
    return next((value.strip() for key, value in headers if key.lower() == name), "")
