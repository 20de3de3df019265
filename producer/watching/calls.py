"""The calls that a program makes to providers, watched until their answers are read.

httpx and httpx2 are alike and share no class, so nothing here knows either: the transports of both
(`transports.py`) send requests on by it.
"""

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from usagepipe.producer.delivery.recorder import Recorder
from usagepipe.producer.watching.callers import Caller, at_once
from usagepipe.producer.watching.conclusions import Conclusions, WatchOptions
from usagepipe.producer.watching.exchanges import Exchange
from usagepipe.producer.watching.stamps import Stamp, stamp_of

NEVER_ANSWERED = 0  # no server's status: the call came to nothing on its way
NotReadError = RuntimeError  # what both raise for content that is still to come is one


class Url(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def host(self) -> str: ...


class Request(Protocol):
    """What is looked at of a request."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> Url: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...


class Response(Protocol):
    """What is looked at of an answer; its stream is replaced by one that is watched."""

    status_code: int
    stream: Any

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...


Req = TypeVar("Req", bound=Request)
Res = TypeVar("Res", bound=Response)
# From an answer's stream and its call, a stream of the same library that is watched.
Watched = Callable[[Any, "Call"], Any]


class Calls:
    """Sends calls on and watches those that are to be recorded."""

    def __init__(
        self,
        recorder: Recorder,
        caller: Caller | Callable[[Any], Caller | None],
        options: WatchOptions,
    ) -> None:
        options.setdefault("correlation_header", "x-request-id")
        identify = (lambda request: caller) if isinstance(caller, Caller) else at_once(caller)
        self._conclusions = Conclusions(recorder, identify, **options)

    def send(self, handle: Callable[[Req], Res], request: Req, watched: Watched) -> Res:
        """The answer of `handle`, with a stream that is watched."""
        call = self._begin(request)
        if call is None:
            return handle(request)
        with call.breaking_off():
            response = handle(request)
        return call.answered(response, watched)

    async def send_async(
        self, handle: Callable[[Req], Awaitable[Res]], request: Req, watched: Watched
    ) -> Res:
        call = self._begin(request)
        if call is None:
            return await handle(request)
        with call.breaking_off():
            response = await handle(request)
        return call.answered(response, watched)

    def _begin(self, request: Request) -> "Call | None":
        """None: it is not watched."""
        if not self._conclusions.enabled:
            return None
        exchange = self._conclusions.open(
            request.method,
            request.url.path,
            lambda name: request.headers.get(name, ""),
            unanswered=NEVER_ANSWERED,
        )
        if exchange is None:
            return None
        exchange.provider = exchange.provider or request.url.host
        return Call(exchange, request, self._conclusions, stamp_of({}))


class Call:
    """One call and its exchange, concluded once.

    Made for a request that is watched, it waits for that one's end, if it has not come: where the
    request tells tokens itself, they are the same ones, and the call is no event of its own.
    """

    def __init__(
        self,
        exchange: Exchange,
        request: Request,
        conclusions: Conclusions,
        handled: Stamp | None,
    ) -> None:
        self._handled = handled
        self._exchange = exchange
        self._request = request
        self._conclusions: Conclusions | None = conclusions

    def answered(self, response: Res, watched: Watched) -> Res:
        """The answer has begun. A body that was read already is looked at now."""
        headers = response.headers
        try:
            body = response.content
        except NotReadError:
            self._exchange.answered(response.status_code, lambda name: headers.get(name, ""))
            response.stream = watched(response.stream, self)
        else:
            plain = {**headers, "content-encoding": ""}  # it is unpacked already
            self._exchange.answered(response.status_code, lambda name: plain.get(name, ""))
            self._exchange.passed(body)
            self._read_to_the_end()
        return response

    def passing(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The bytes of the answer as they came, compressed ones too."""
        with self.breaking_off():
            for chunk in chunks:
                self._exchange.passed(chunk)
                yield chunk
        self._read_to_the_end()

    async def passing_async(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        with self.breaking_off():
            async for chunk in chunks:
                self._exchange.passed(chunk)
                yield chunk
        self._read_to_the_end()

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Whatever is raised inside ends the call."""
        try:
            yield
        except BaseException as error:
            self._exchange.broke_off(error)
            self.conclude()
            raise

    def _read_to_the_end(self) -> None:
        self._exchange.ended()
        self.conclude()

    def conclude(self) -> None:
        """Nobody reads on: an answer that did not come to its end was left."""
        conclusions, self._conclusions = self._conclusions, None
        # Of a redirected call the last request counts, which the client makes next.
        if conclusions is None or self._exchange.redirects:
            return
        with suppress(NotReadError):  # sent from a stream: its model stays unknown
            self._exchange.asked(self._request.content)
        handled = self._handled
        if handled is None or (handled.over and not handled.told):
            conclusions.conclude(self._exchange, self._request)
        elif not handled.over and (record := conclusions.hold(self._exchange, self._request)):
            handled.calls += (record,)
