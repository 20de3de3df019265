"""The WSGI middleware (PEP 3333), for Flask, Django and others. It records the same as under ASGI.

An answer is over when the server closes it. That is after the application has returned, because a
stream runs afterwards. If the server closes it before the last chunk, the client has disconnected.
"""

from collections.abc import Iterable
from functools import partial
from typing import Unpack
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from usagepipe.producer.delivery.recorder import Recorder
from usagepipe.producer.watching.callers import Identify, at_once
from usagepipe.producer.watching.request_recorder import RequestRecorder, WatchOptions
from usagepipe.producer.watching.requests import environ_header, method_of, paths_of
from usagepipe.producer.watching.stamps import SCOPE_KEY, stamp_of, stamping
from usagepipe.producer.watching.watched_request import WatchedRequest
from usagepipe.producer.watching.wsgi_watchers import (
    SizedWatchedAnswer,
    WatchedAnswer,
    WatchedInput,
    WatchedStart,
)


class UsageWsgiMiddleware:
    """Records one event for each request to a model whose caller is known.

    Events and options are those of `UsageMiddleware`. `identify` gets the WSGI environ and cannot
    be async. WSGI has no shutdown event: the recorder delivers queued events when the interpreter
    ends or SIGTERM arrives. Files that the server sends itself (`wsgi.file_wrapper`) are not
    watched.

    Raises:
        TypeError: `identify` is an async function.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        recorder: Recorder,
        identify: Identify,
        **options: Unpack[WatchOptions],
    ) -> None:
        self.app = app
        self._requests = RequestRecorder(recorder, at_once(identify), **options)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        watched = self._open(environ)
        if watched is None:
            return self.app(environ, start_response)
        environ[SCOPE_KEY] = watched.stamp
        if (body := environ.get("wsgi.input")) is not None:
            environ["wsgi.input"] = WatchedInput(body, watched)
        finish = partial(self._requests.finish, watched, environ)
        try:
            with stamping(watched.stamp):
                answer = self.app(environ, WatchedStart(watched, start_response))
        except BaseException as error:
            watched.raised(error)
            finish()
            raise
        if _is_sent_by_the_server(answer, environ):
            watched.answer_ended()
            finish()
            return answer
        if isinstance(answer, list | tuple):
            return SizedWatchedAnswer(answer, watched, finish)
        return WatchedAnswer(answer, watched, finish)

    def _open(self, environ: WSGIEnvironment) -> WatchedRequest | None:
        if not self._requests.enabled or stamp_of(environ) is not None:
            return None
        path, below_root = paths_of(environ)
        header = partial(environ_header, environ)
        return self._requests.begin(method_of(environ), path, header, below_root=below_root)


def _is_sent_by_the_server(answer: object, environ: WSGIEnvironment) -> bool:
    """Whether it is the server's own file wrapper, which the server sends faster than chunks."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(answer, wrapper)
