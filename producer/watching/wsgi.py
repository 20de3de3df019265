"""The WSGI middleware (PEP 3333), for Flask, Django and any other: the same records as by ASGI.

An answer is over when the server closes it, not when the application returns: a stream runs
afterwards. Where the server closes before the last chunk, the client has gone.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Unpack

from usagepipe.producer.delivery.recorder import Recorder
from usagepipe.producer.watching.callers import Identify, at_once
from usagepipe.producer.watching.conclusions import Conclusions, WatchOptions
from usagepipe.producer.watching.exchanges import Exchange
from usagepipe.producer.watching.requests import header_of, method_of, paths_of
from usagepipe.producer.watching.stamps import SCOPE_KEY, stamp_of, stamping
from usagepipe.producer.watching.wsgi_passages import (
    Answer,
    Environ,
    Input,
    SizedAnswer,
    Start,
    StartResponse,
)

App = Callable[[Environ, StartResponse], Iterable[bytes]]


class UsageWsgiMiddleware:
    """Records one event for each request to a model whose caller is known.

    What is recorded, and the options, are those of `UsageMiddleware`; `identify` takes the WSGI
    environ and cannot be async. WSGI tells no shutdown: the recorder delivers what is queued when
    the interpreter ends or SIGTERM comes. Files that the server sends by itself
    (`wsgi.file_wrapper`) are left to it.

    Raises:
        TypeError: `identify` is an async function.
    """

    def __init__(
        self,
        app: App,
        *,
        recorder: Recorder,
        identify: Identify,
        **options: Unpack[WatchOptions],
    ) -> None:
        self.app = app
        self._conclusions = Conclusions(recorder, at_once(identify), **options)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        exchange = self._open(environ)
        if exchange is None:
            return self.app(environ, start_response)
        environ[SCOPE_KEY] = exchange.stamp
        if (body := environ.get("wsgi.input")) is not None:
            environ["wsgi.input"] = Input(body, exchange)
        conclude = partial(self._conclusions.conclude, exchange, environ)
        try:
            with stamping(exchange.stamp):
                answer = self.app(environ, Start(exchange, start_response))
        except BaseException as error:
            exchange.broke_off(error)
            conclude()
            raise
        if _is_sent_by_the_server(answer, environ):
            exchange.ended()
            conclude()
            return answer
        if isinstance(answer, list | tuple):
            return SizedAnswer(answer, exchange, conclude)
        return Answer(answer, exchange, conclude)

    def _open(self, environ: Environ) -> Exchange | None:
        if not self._conclusions.enabled or stamp_of(environ) is not None:
            return None
        path, below_root = paths_of(environ)
        header = partial(header_of, environ)
        return self._conclusions.open(method_of(environ), path, header, below_root=below_root)


def _is_sent_by_the_server(answer: object, environ: Environ) -> bool:
    """A server knows its own wrapper again and sends the file faster than by chunks."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(answer, wrapper)
