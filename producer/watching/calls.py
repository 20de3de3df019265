"""Watches the calls that a program makes to providers until their answers are read.

httpx and httpx2 are alike but share no class, so this module imports neither. The transports of
both (`transports.py`) use it.
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
from usagepipe.producer.watching.request_recorder import RequestRecorder, WatchOptions
from usagepipe.producer.watching.stamps import Stamp, stamp_of
from usagepipe.producer.watching.watched_request import WatchedRequest

NEVER_ANSWERED = 0  # the status of a call that got no answer
NotReadError = RuntimeError  # base class of what both raise for content that was not read yet


class Url(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def host(self) -> str: ...


class Request(Protocol):
    """The parts of a request that we read."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> Url: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...


class Response(Protocol):
    """The parts of an answer that we use. Its stream is replaced by a watched one."""

    status_code: int
    stream: Any

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...


Req = TypeVar("Req", bound=Request)
Res = TypeVar("Res", bound=Response)
# Makes a watched stream of the same library, from an answer's stream and its call.
Watch = Callable[[Any, "Call"], Any]


class Calls:
    """Sends calls, and watches those that are to be recorded."""

    def __init__(
        self,
        recorder: Recorder,
        caller: Caller | Callable[[Any], Caller | None],
        options: WatchOptions,
    ) -> None:
        options.setdefault("correlation_header", "x-request-id")
        identify = (lambda request: caller) if isinstance(caller, Caller) else at_once(caller)
        self._requests = RequestRecorder(recorder, identify, **options)

    def send(self, handle: Callable[[Req], Res], request: Req, watch: Watch) -> Res:
        """The answer of `handle`, with a watched stream."""
        call = self._begin(request)
        if call is None:
            return handle(request)
        with call.finished_by_errors():
            response = handle(request)
        return call.answered(response, watch)

    async def send_async(
        self, handle: Callable[[Req], Awaitable[Res]], request: Req, watch: Watch
    ) -> Res:
        call = self._begin(request)
        if call is None:
            return await handle(request)
        with call.finished_by_errors():
            response = await handle(request)
        return call.answered(response, watch)

    def _begin(self, request: Request) -> "Call | None":
        """Begin to watch a call. None: it is not watched."""
        if not self._requests.enabled:
            return None
        watched = self._requests.begin(
            request.method,
            request.url.path,
            lambda name: request.headers.get(name, ""),
            unanswered=NEVER_ANSWERED,
        )
        if watched is None:
            return None
        watched.provider = watched.provider or request.url.host
        return Call(watched, request, self._requests, stamp_of({}))


class Call:
    """One watched call. It is finished once.

    A call that is made while a watched request is handled waits for the end of that request. If the
    request has tokens itself, they are the same ones, and the call is no event of its own.
    """

    def __init__(
        self,
        watched: WatchedRequest,
        request: Request,
        requests: RequestRecorder,
        handled: Stamp | None,
    ) -> None:
        self._handled = handled
        self._watched = watched
        self._request = request
        self._requests: RequestRecorder | None = requests

    def answered(self, response: Res, watch: Watch) -> Res:
        """The answer has begun. A body that was read already is watched now."""
        headers = response.headers
        try:
            body = response.content
        except NotReadError:
            self._watched.answer_began(response.status_code, lambda name: headers.get(name, ""))
            response.stream = watch(response.stream, self)
        else:
            plain = {**headers, "content-encoding": ""}  # already decompressed
            self._watched.answer_began(response.status_code, lambda name: plain.get(name, ""))
            self._watched.answer_chunk(body)
            self._read_to_the_end()
        return response

    def passing(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The raw bytes of the answer, still compressed."""
        with self.finished_by_errors():
            for chunk in chunks:
                self._watched.answer_chunk(chunk)
                yield chunk
        self._read_to_the_end()

    async def passing_async(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        with self.finished_by_errors():
            async for chunk in chunks:
                self._watched.answer_chunk(chunk)
                yield chunk
        self._read_to_the_end()

    @contextmanager
    def finished_by_errors(self) -> Iterator[None]:
        """An exception inside finishes the call."""
        try:
            yield
        except BaseException as error:
            self._watched.raised(error)
            self.finish()
            raise

    def _read_to_the_end(self) -> None:
        self._watched.answer_ended()
        self.finish()

    def finish(self) -> None:
        """Nobody reads on. An answer that was not read to its end counts as abandoned."""
        requests, self._requests = self._requests, None
        # Of a redirected call only the last request counts, which the client makes next.
        if requests is None or self._watched.redirects:
            return
        with suppress(NotReadError):  # the body is a stream: its model stays unknown
            self._watched.body_piece(self._request.content)
        handled = self._handled
        if handled is None or (handled.over and not handled.has_usage):
            requests.finish(self._watched, self._request)
        elif not handled.over and (record := requests.deferred(self._watched, self._request)):
            handled.calls += (record,)
